"""Candidates become numbers that the ranker weighs: one row a candidate, one column a reason.

Everything here is relative to the other candidates of the same question, so that one set of weights serves
any embedder: scores of two models are not on one scale, their order is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cervella_rag.domain import Chunk, Kind, Scores
from cervella_rag.memory.lexical import fold, numbered, stems
from cervella_rag.memory.windows import windows
from cervella_rag.retrieval.answer_types import asked_type, asks_reason, gives

Features = NDArray[np.float32]

NAMES = (
    "lexical",  # BM25, as a share of the best candidate's
    "dense",  # similarity of the whole chunk, in standard deviations above the candidates' mean
    "window",  # the same of its best window
    "window_coverage",  # share of the question's words that one window has, rare words counting more
    "answer_type",  # it has the sort of thing that is asked for
    "reason",  # a reason is asked for, and it speaks of reasons
    "number",  # it has a number that the question names
    "specification",  # it is an example or a specification, not a record
)


@dataclass(frozen=True, slots=True)
class _Read:
    """A chunk's words, read once: of all of it and of each window; the windows themselves, folded."""

    stems: frozenset[str]
    window_stems: tuple[frozenset[str], ...]
    windows: tuple[str, ...]


@lru_cache(maxsize=4096)
def _read(chunk: Chunk) -> _Read:
    folded = tuple(map(fold, windows(chunk)))
    by_window = tuple(map(stems, folded))
    above = chunk.index_text.split("\n", 2)[:2]  # the file's name and the headings
    return _Read(stems(" ".join(above)).union(*by_window), by_window, folded)


def features(question: str, candidates: Sequence[tuple[Chunk, Scores]]) -> Features:
    """Return shape (len(candidates), len(NAMES)), float32."""
    read = [_read(chunk) for chunk, _ in candidates]
    weights = _weights(stems(numbered(question)), [one.stems for one in read])
    found = [scores for _, scores in candidates]
    columns = {
        "lexical": _shares([scores.lexical or 0.0 for scores in found]),
        "dense": _standard([scores.dense for scores in found]),
        "window": _standard([scores.dense if scores.window is None else scores.window for scores in found]),
        "window_coverage": [max(_share(weights, window) for window in one.window_stems) for one in read],
        **_of_answer(fold(question), weights, read),
        "specification": [float(chunk.metadata.kind == Kind.SPECIFICATION) for chunk, _ in candidates],
    }
    return np.array([columns[name] for name in NAMES], np.float32).T


def _of_answer(question: str, weights: dict[str, float], read: Sequence[_Read]) -> dict[str, list[float]]:
    """Columns about what sort of thing answers; `question` is folded."""
    wanted, wants_reason = asked_type(question), asks_reason(question)
    numbers = {stem for stem in weights if stem[0].isdigit()}

    def has(name: str | None, one: _Read) -> float:
        return float(name is not None and any(gives(name, window) for window in one.windows))

    return {
        "answer_type": [has(None if wanted == "reason" else wanted, one) for one in read],
        "reason": [has("reason" if wants_reason else None, one) for one in read],
        "number": [float(not numbers.isdisjoint(one.stems)) for one in read],
    }


def _weights(asked: frozenset[str], candidates: Sequence[frozenset[str]]) -> dict[str, float]:
    """Return how much each word tells: the rarer among the candidates, the more (BM25's formula)."""
    counts = Counter(stem for stems_ in candidates for stem in stems_ & asked)
    total = len(candidates)
    return {
        stem: math.log(1 + (total - counts[stem] + 0.5) / (counts[stem] + 0.5)) for stem in sorted(asked)
    }


def _share(weights: dict[str, float], found: frozenset[str]) -> float:
    total = sum(weights.values())
    return sum(weight for stem, weight in weights.items() if stem in found) / total if total else 0.0


def _shares(values: Sequence[float]) -> list[float]:
    best = max(values, default=0.0)
    return [value / best if best else 0.0 for value in values]


def _standard(values: Sequence[float | None]) -> list[float]:
    """Return values in standard deviations from their mean; what is absent is at the mean."""
    present = np.array([value for value in values if value is not None], np.float64)
    if present.size < 2 or not (spread := float(present.std())):
        return [0.0] * len(values)
    mean = float(present.mean())
    return [(value - mean) / spread if value is not None else 0.0 for value in values]
