"""Candidates become numbers that the ranker weighs: one row a candidate, one column a reason.

Everything here is relative to the other candidates of the same question, so that one set of weights serves
any embedder: scores of two models are not on one scale, their order is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cervella_rag.domain import Chunk, Kind, Scores
from cervella_rag.memory.lexical import fold, numbered, stems
from cervella_rag.retrieval.answer_types import asked_type, asks_reason
from cervella_rag.retrieval.reading import Readings, reading_of

Features = NDArray[np.float32]
OtherNames = Mapping[str, Sequence[str]]
"""A word, and what it is called in other languages."""
NO_NAMES: OtherNames = MappingProxyType({})

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


def features(
    question: str, candidates: Sequence[tuple[Chunk, Scores]], also: OtherNames = NO_NAMES
) -> Features:
    """Return shape (len(candidates), len(NAMES)), float32; see `ranker.rerank`."""
    others = {stem: stems(names) for word, names in also.items() for stem in stems([word])}
    asked = {stem: others.get(stem, frozenset()) for stem in sorted(stems(numbered(question)))}
    readings = Readings([reading_of(chunk) for chunk, _ in candidates], asked)
    found = [scores for _, scores in candidates]
    weights = [_weight(count, len(candidates)) for count in readings.counts]
    columns = {
        "lexical": _shares([scores.lexical or 0.0 for scores in found]),
        "dense": _standard([scores.dense for scores in found]),
        "window": _standard([scores.dense if scores.window is None else scores.window for scores in found]),
        "window_coverage": readings.best_share(weights),
        **_of_answer(fold(question), readings),
        "specification": [float(chunk.metadata.kind == Kind.SPECIFICATION) for chunk, _ in candidates],
    }
    return np.array([columns[name] for name in NAMES], np.float32).T


def _of_answer(question: str, readings: Readings) -> dict[str, Sequence[float]]:
    """Columns about what sort of thing answers; `question` is folded."""
    wanted = asked_type(question)
    absent = [0.0] * len(readings.texts)
    return {
        "answer_type": readings.gives(wanted) if wanted and wanted != "reason" else absent,
        "reason": readings.gives("reason") if asks_reason(question) else absent,
        "number": readings.any_of([stem[0].isdigit() for stem in readings.asked]),
    }


def _weight(count: int, total: int) -> float:
    """Return how much a word tells: the rarer among the candidates, the more (BM25's formula)."""
    return math.log(1 + (total - count + 0.5) / (count + 0.5))


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
