"""Where to draw the line between answering and saying it is not in memory, for the memory at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cervella_rag.errors import EvaluationFileError
from cervella_rag.evaluation.retrieval import Item
from cervella_rag.retrieval.retriever import Retriever

_FEWEST = 20
"""Answerable questions below which one in twenty is no question at all."""
_COUNTED = "count_exist"


def find_line(
    items: Sequence[Item],
    retriever: Retriever,
    wrong: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return the lowest line that turns away at most `wrong` of the answerable questions.

    Args:
        items: Questions; those that code counts the answer of are left out.
        retriever: What they are asked.
        wrong: Share from 0 to 1.
        progress: Told how many are asked.

    Raises:
        EvaluationFileError: Too few questions can be answered to tell.
    """
    asked = [item for item in items if item.kind != _COUNTED]
    doubts = []
    for done, item in enumerate(asked, 1):
        doubts.append(retriever.retrieve(item.question).doubt)
        progress(done, len(asked))
    answerable = sorted(doubt for item, doubt in zip(asked, doubts, strict=True) if item.gold)
    others = [doubt for item, doubt in zip(asked, doubts, strict=True) if not item.gold]
    if len(answerable) < _FEWEST:
        raise EvaluationFileError(
            path="-", reason=f"{len(answerable)} answerable questions, at least {_FEWEST} are needed"
        )
    allowed = math.floor(wrong * len(answerable))
    line = answerable[len(answerable) - 1 - allowed]
    return {
        "line": line,
        "questions": len(asked),
        "turned_away_wrongly": sum(doubt > line for doubt in answerable) / len(answerable),
        "unanswerable": len(others),
        "turned_away_rightly": sum(doubt > line for doubt in others) / len(others) if others else None,
    }
