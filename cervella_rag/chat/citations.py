"""Numbered citations: which lines a hit is quoted by, and which numbers an answer may carry."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from itertools import takewhile

from cervella_rag.domain import Citation, Hit
from cervella_rag.marks import MARK, OPEN_MARK
from cervella_rag.memory.lexical import stems, words

_HEADING = re.compile(r"\s*#{1,6}\s")

QUOTE_LINES = 6
"""Most lines that may hold words in one quote; enough for a short table or list with its answer."""


def cite(hits: Iterable[Hit], question: str) -> tuple[Citation, ...]:
    """Number the hits from 1, each with the lines that tell most about the question."""
    return tuple(_citation(number, hit, question) for number, hit in enumerate(hits, 1))


def _citation(number: int, hit: Hit, question: str) -> Citation:
    chunk = hit.chunk
    lines = chunk.text.split("\n")
    first, last = _telling_lines(lines, question)
    return Citation(
        number=number,
        path=chunk.path,
        title=chunk.metadata.title,
        headings=chunk.headings,
        start_line=chunk.start_line + first,
        end_line=chunk.start_line + last,
        date=chunk.metadata.date,
        session=chunk.metadata.session,
        status=chunk.metadata.status,
        retired=chunk.retired,
        quote="\n".join(lines[first : last + 1]),
    )


def _telling_lines(lines: Sequence[str], question: str) -> tuple[int, int]:
    """Return the first and last of the consecutive lines that share most with the question.

    A heading may open a quote and never stands inside one. Every distinct stem of the question counts
    twice where the text has it and once where only the heading does; at equal counts the window that
    starts with the match wins, since an answer follows the words that announce it.
    """
    asked = stems(words(question))
    filled = [number for number, line in enumerate(lines) if words(line)]
    if not filled:
        return 0, len(lines) - 1
    best = (-1, -1, 0, 0)
    for position, first in enumerate(filled):
        following = takewhile(
            lambda number: not _HEADING.match(lines[number]),
            filled[position + 1 : position + QUOTE_LINES],
        )
        window = [first, *following]
        is_heading = bool(_HEADING.match(lines[first]))
        opening = asked & stems(lines[first])
        text = asked & stems("\n".join(lines[number] for number in window[is_heading:]))
        best = max(best, (len(text) + len(text | opening), len(opening), -first, window[-1]))
    return -best[2], best[3]


class CitationCheck:
    """Lets through the citations that were given and takes out all others.

    Attributes:
        used: Numbers that the answer carried and was entitled to, in order of appearance.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = frozenset(numbers)
        self.used: list[int] = []
        self.removed: list[int] = []

    async def filter(self, pieces: AsyncIterator[str]) -> AsyncIterator[str]:
        """Yield the pieces with unknown citations removed; a mark cut between pieces is kept whole."""
        held = ""
        async for piece in pieces:
            text = held + piece
            cut = OPEN_MARK.search(text)
            ready, held = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
            if checked := MARK.sub(self._judge, ready):
                yield checked
        if checked := MARK.sub(self._judge, held):
            yield checked

    def _judge(self, mark: re.Match[str]) -> str:
        number = int(mark[1])
        if number not in self._numbers:
            self.removed.append(number)
            return ""
        if number not in self.used:
            self.used.append(number)
        return mark[0]
