"""What is asked: the text to search with, from the question and what was said before it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cervella_rag.domain import Message
from cervella_rag.memory.lexical import words

_OPENS_WITH_CONJUNCTION = re.compile(r"(?i)^\W*(?:e|ed|ma|o|allora|invece|and|but|so|mas|ou)\b")
_FEWEST_WORDS = 2


def search_text(question: str, history: Sequence[Message]) -> str:
    """Return the text to search with.

    A question that leans on the one before ("E quanto costava?") is searched together with it; one
    that stands alone is left as it is.
    """
    asked = [message.content for message in history if message.role == "user"]
    return f"{asked[-1]}\n{question}" if asked and _is_elliptic(question) else question


def _is_elliptic(question: str) -> bool:
    return bool(_OPENS_WITH_CONJUNCTION.match(question)) or len(words(question)) < _FEWEST_WORDS
