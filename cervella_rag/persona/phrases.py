"""Phrases as data: `word*` stands for every word that begins so; found in folded text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cervella_rag.memory.lexical import fold


def phrase_pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Return what finds any of the phrases in folded text; the longest at a place is taken."""
    parts = []
    for phrase in sorted(phrases, key=len, reverse=True):
        words = fold(phrase).replace("'", " ").split()
        parts.append(r"[\s,']+".join(re.escape(word).replace(r"\*", r"\w*") for word in words))
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)")
