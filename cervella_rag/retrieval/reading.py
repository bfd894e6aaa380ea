"""A chunk as the ranker reads it: made once, when it is indexed, so that no question has to.

Text, so that a person can read it too: what sorts of thing it gives, then the stems of the file's name and
the headings, then a line a window with the stems that stand in it. Reading the hundred candidates of a
question anew took 5 ms of its 12, and 15 where a sort of thing is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cervella_rag.domain import Chunk
from cervella_rag.memory.lexical import fold, stems
from cervella_rag.memory.windows import windows
from cervella_rag.retrieval.answer_types import TYPES, gives

_BY_ANOTHER_NAME = 0.5
"""What a word counts that stands there in another language."""
VERSION = "1"
"""Raised where stems, windows or the sorts of thing change: what was read before is then read anew."""
_HEAD = f"{VERSION}:"
_BITS = 0xFFF
_ABOVE = 1
"""Lines before the windows: a head and what stands above the text, the latter at this place."""


def is_read(chunk: Chunk) -> bool:
    """Tell whether a chunk carries a reading by these rules; one of an older index may not."""
    return chunk.reading.startswith(_HEAD)


def reading_of(chunk: Chunk) -> str:
    """Return the reading that a chunk carries; where it carries none, make it of its text."""
    return chunk.reading if is_read(chunk) else _read(chunk)


def prepare(chunks: Iterable[Chunk]) -> None:
    """Look at chunks before anybody asks, where they stay in memory."""
    for chunk in chunks:
        _stems_of(reading_of(chunk))


def stems_in(chunk: Chunk) -> frozenset[str]:
    """Return every stem of a chunk: of its file's name, its headings and its text."""
    return frozenset(reading_of(chunk).partition("\n")[2].split())


@lru_cache(maxsize=4096)
def _read(chunk: Chunk) -> str:
    folded = tuple(map(fold, windows(chunk)))
    given = [name for name in TYPES if any(gives(name, window) for window in folded)]
    above = " ".join(chunk.index_text.split("\n", 2)[:2])  # the file's name and the headings
    return "\n".join(
        [
            f"{_HEAD},{','.join(given)},",
            *(f" {' '.join(sorted(stems(text)))} " for text in (above, *folded)),
        ]
    )


@dataclass(frozen=True)
class Readings:
    """The readings of all candidates, looked through together.

    Attributes:
        texts: One reading a candidate.
        asked: Distinct stems to look for, each with the stems of its other names.
    """

    texts: Sequence[str]
    asked: Mapping[str, Iterable[str]]

    def gives(self, name: str) -> list[bool]:
        """Tell of each candidate whether it has something of the named sort."""
        sign = f",{name},"
        return [sign in text[: text.index("\n")] for text in self.texts]

    def any_of(self, asked: Sequence[bool]) -> list[bool]:
        """Tell of each candidate whether it has one of the chosen stems."""
        found: list[bool] = np.any(self._by_candidate[np.flatnonzero(asked)], axis=0).tolist()
        return found

    @property
    def counts(self) -> list[int]:
        """How many candidates have each stem, by whatever name."""
        counts: list[int] = self._by_candidate.sum(axis=1).tolist()
        return counts

    def best_share(self, weights: Sequence[float]) -> list[float]:
        """Return of each candidate the largest share of the stems' weights that one of its windows has."""
        total = sum(weights)
        if not total:
            return [0.0] * len(self.texts)
        shares = np.zeros(self._by_line.shape[1])
        for weight, lines in zip(weights, self._by_line, strict=True):
            shares += weight * lines
        shares /= total
        shares[self._starts[:-1] + _ABOVE] = 0.0
        best: list[float] = np.maximum.reduceat(shares, self._starts[:-1]).tolist()
        return best

    @cached_property
    def _stems(self) -> list[_Stems]:
        return [_stems_of(text) for text in self.texts]

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        """Number of each candidate's first line and, last, of all lines."""
        starts: NDArray[np.intp] = np.cumsum([0, *(one.length for one in self._stems)])
        return starts

    @cached_property
    def _by_line(self) -> NDArray[np.float64]:
        """Shape (stems, lines): 1 where a stem stands in the line, less where another name of it does."""
        wanted = [
            (row, hash(name), value)
            for row, (stem, others) in enumerate(self.asked.items())
            for name, value in (*((other, _BY_ANOTHER_NAME) for other in others), (stem, 1.0))
        ]
        numbers = np.concatenate([one.numbers for one in self._stems])
        sizes = [len(one.lines) for one in self._stems]
        lines = np.concatenate([one.lines for one in self._stems]) + np.repeat(self._starts[:-1], sizes)
        likely = np.zeros(_BITS + 1, np.bool_)  # what shares its last bits with a wanted one: few of all
        likely[[number & _BITS for _, number, _ in wanted]] = True
        near = np.flatnonzero(likely[numbers & _BITS])
        numbers, lines = numbers[near], lines[near]
        present = np.zeros((len(self.asked), int(self._starts[-1])))
        for row, number, value in wanted:
            present[row, lines[numbers == number]] = value
        return present

    @cached_property
    def _by_candidate(self) -> NDArray[np.bool_]:
        """Shape (stems, candidates)."""
        by_candidate: NDArray[np.bool_] = np.logical_or.reduceat(
            self._by_line > 0, self._starts[:-1], axis=1
        )
        return by_candidate


@dataclass(frozen=True, slots=True)
class _Stems:
    """The stems of one reading, in numbers of this process.

    Attributes:
        numbers: Of each stem, line after line.
        lines: In which line it stands.
        length: How many lines there are.
    """

    numbers: NDArray[np.int64]
    lines: NDArray[np.int16]
    length: int


@lru_cache(maxsize=20_000)  # as many chunks as a server remembers, a kilobyte or three each
def _stems_of(reading: str) -> _Stems:
    rows = [line.split() for line in reading.split("\n")]
    rows[0] = []  # what it gives is no text
    sizes = [len(row) for row in rows]
    numbers = np.fromiter(map(hash, chain.from_iterable(rows)), np.int64, sum(sizes))
    return _Stems(numbers, np.repeat(np.arange(len(rows), dtype=np.int16), sizes), len(rows))
