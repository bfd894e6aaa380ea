"""Vectors as a server would give them: real enough to be near where words are shared, and cheap."""

from __future__ import annotations

import hashlib
import math

WINDOW = 40
"""Longest text, in words standing for tokens."""


def embed(text: str, length: int = 48) -> list[float]:
    """Return the words of a text hashed into one L2-normalised vector."""
    vector = [1e-3] * length
    for word in text.lower().split():
        vector[hashlib.sha256(word.encode()).digest()[0] % length] += 1
    norm = math.sqrt(sum(value * value for value in vector))
    return [value / norm for value in vector]
