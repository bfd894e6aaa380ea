"""Ranks become the figures of trec_eval, question by question: the seam to ir-measures.

A passage that is not among the hits is still relevant, so a question without it counts, as nothing found.

Reference: MacAvaney et al., Streamlining Evaluation with ir-measures (2022).
"""

from __future__ import annotations

from collections.abc import Mapping

from ir_measures import RR, Success, iter_calc

from cervella_rag.evaluation.retrieval import TOP_K

MEASURES = {
    "hit@1": Success @ 1,
    "hit@5": Success @ 5,
    f"hit@{TOP_K}": Success @ TOP_K,
    f"mrr@{TOP_K}": RR @ TOP_K,
}
"""Our names, and what they are in ir-measures."""

_NAMES = {measure: name for name, measure in MEASURES.items()}
_SOUGHT = "sought"


def by_question(ranks: Mapping[str, int | None]) -> dict[str, dict[str, float]]:
    """Return every measure of every question.

    Args:
        ranks: 1-based rank of the first right hit by question; None where there is none.
    """
    judged = {question: {_SOUGHT: 1} for question in ranks}
    found = {question: _hits(rank) for question, rank in ranks.items()}
    values: dict[str, dict[str, float]] = {question: {} for question in ranks}
    for metric in iter_calc(list(MEASURES.values()), judged, found) if ranks else ():
        values[metric.query_id][_NAMES[metric.measure]] = float(metric.value)
    return values


def _hits(rank: int | None) -> dict[str, float]:
    """Return a list of hits by score with the right one at its rank, as trec_eval reads it."""
    others = {f"other-{place}": 1.0 / place for place in range(1, (rank or TOP_K + 1))}
    return others if rank is None else {**others, _SOUGHT: 1.0 / rank}
