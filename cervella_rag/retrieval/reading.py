"""A chunk as the ranker reads it: made once, when it is indexed, so that no question has to.

Text, so that a person can read it too: what sorts of thing it gives, then the stems of the file's name and
the headings, then a line a window with the stems that stand in it. Reading the hundred candidates of a
question anew took 5 ms of its 12, and 15 where a sort of thing is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

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
_ABOVE = 1
"""Lines before the windows: a head and what stands above the text, the latter at this place."""


def reading_of(chunk: Chunk) -> str:
    """Return the reading that a chunk carries, or make it."""
    if chunk.reading.startswith(_HEAD):
        return chunk.reading  # of an index made by these rules; an older one is read anew
    return _read(chunk)


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
        shares[self._starts + _ABOVE] = 0.0
        best: list[float] = np.maximum.reduceat(shares, self._starts).tolist()
        return best

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        """Number of each candidate's first line."""
        lengths = [text.count("\n") + 1 for text in self.texts]
        starts: NDArray[np.intp] = np.cumsum([0, *lengths[:-1]])
        return starts

    @cached_property
    def _by_line(self) -> NDArray[np.float64]:
        """Shape (stems, lines): 1 where a stem stands in a line of all candidates, less where another name does."""
        text = "\n".join(self.texts).encode()
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
        present = np.zeros((len(self.asked), len(ends) + 1))
        for row, (stem, others) in enumerate(self.asked.items()):
            for name, value in (*((other, _BY_ANOTHER_NAME) for other in others), (stem, 1.0)):
                present[row, np.searchsorted(ends, _places(text, f" {name} ".encode()))] = value
        return present

    @cached_property
    def _by_candidate(self) -> NDArray[np.bool_]:
        """Shape (stems, candidates)."""
        by_candidate: NDArray[np.bool_] = np.logical_or.reduceat(self._by_line > 0, self._starts, axis=1)
        return by_candidate


def _places(text: bytes, part: bytes) -> list[int]:
    places, place = [], text.find(part)
    while place >= 0:
        places.append(place)
        place = text.find(part, place + 1)
    return places
