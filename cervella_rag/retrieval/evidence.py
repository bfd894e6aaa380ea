"""Is what was found enough to answer from, or is it only the closest there is?

A first, plain gate: it turns away what has nothing to do with the memory. A question in the memory's
own words about something that never happened still passes; see docs/retrieval.md for what it
reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervella_rag.domain import Hit
from cervella_rag.memory.lexical import stems

_LOOKED_AT = 5
_ENOUGH = 0.7
"""Least coverage plus twice the similarity. Below it lie 5 % of the questions that the sample memory can
answer, 1 % of those of a real one, and 11 and 7 of 14 questions about something else entirely."""
_ENOUGH_LEXICAL = 0.34
"""Least coverage where there are no vectors: more than a third of the words."""


def is_enough(asked: Sequence[str], hits: Sequence[Hit]) -> bool:
    """Tell whether the best hits share enough words or meaning with the question.

    Args:
        asked: Words of the question, folded, stop words left out.
        hits: What was found, best first.
    """
    best = hits[:_LOOKED_AT]
    if not best:
        return False
    wanted = stems(asked)
    coverage = max(len(wanted & stems(hit.chunk.index_text)) for hit in best) / max(1, len(wanted))
    similar = [hit.scores.dense for hit in best if hit.scores.dense is not None]
    if not similar:
        return coverage >= _ENOUGH_LEXICAL
    return coverage + 2 * max(similar) >= _ENOUGH
