"""What an agent is shown: bounded, and what files say marked as data."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from cervella_rag.domain import Citation
from cervella_rag.messages import message
from cervella_rag.tokens import estimate_tokens

MOST_TOKENS = 5000
"""Of one answer, by the project's estimate: an agent's window is for its work."""


def framed(text: str, language: str) -> str:
    """Return `text` between two lines that say whose words these are.

    The mark is new every time, so that no file can close the frame and speak outside of it.
    """
    mark = secrets.token_hex(4)
    return message("mcp.frame", language, mark=mark, text=text)


def fitting(parts: Iterable[str], language: str) -> str:
    """Return as many whole parts as fit, and how many are left out; a first one too long is cut."""
    shown: list[str] = []
    left_out, room = 0, MOST_TOKENS
    for part in parts:
        text = part if shown else cut(part, MOST_TOKENS)
        room -= estimate_tokens(text) + 2
        if left_out or room < 0:
            left_out += 1
        else:
            shown.append(text)
    if left_out:
        shown.append(message("mcp.left_out", language, count=left_out))
    return "\n\n".join(shown)


def cut(text: str, tokens: int) -> str:
    """Return the whole lines of `text` that fit, or the beginning of a line that is longer than that."""
    lines: list[str] = []
    for line in text.split("\n"):
        tokens -= estimate_tokens(line) + 1
        if tokens < 0:
            return "\n".join([*(lines or [line[: max(tokens + estimate_tokens(line), 0)]]), "…"])
        lines.append(line)
    return text


def cited(citation: Citation) -> str:
    """Return what a citation's mark stands for, in one line."""
    place = f"{citation.path}:{citation.start_line}-{citation.end_line}"
    return " ".join(f"[{citation.number}] {place} {citation.date or ''}".split())
