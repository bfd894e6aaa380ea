"""Scores of two lists become candidates in an order that never changes, by reciprocal rank fusion.

Reference: Cormack, Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet (2009). Fused here
and not in the engine: every candidate is asked for its scores anyway, and the engine's weights divide ranks
instead of scaling scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from cervella_rag.domain import Chunk, Scores
from cervella_rag.protocols import Search

Found = tuple[Chunk, Scores]


def rank(
    chunks: Mapping[str, Chunk],
    lexical: Mapping[str, float],
    dense: Mapping[str, float],
    windows: Mapping[str, float],
    search: Search,
) -> list[Found]:
    """Return the candidates with their scores, best first.

    Args:
        chunks: Candidates by point id.
        lexical: BM25 score by point id, where words are shared.
        dense: Cosine similarity by point id.
        windows: Cosine similarity of the best window by point id.
        search: How many of each list count, and how much.
    """
    fused: dict[str, float] = defaultdict(float)
    for scores, votes in ((lexical, search.lexical_votes), (dense, 1)):
        best = sorted(scores, key=lambda point_id: (-scores[point_id], point_id))[: search.candidates]
        for place, point_id in enumerate(best, 1):
            fused[point_id] += votes / (search.rrf_k + place)
    order = sorted(fused.keys() & chunks.keys(), key=lambda point_id: (-fused[point_id], point_id))
    return [
        (
            chunks[point_id],
            Scores(
                lexical=lexical.get(point_id),
                dense=dense.get(point_id),
                window=windows.get(point_id),
                fused=fused[point_id],
            ),
        )
        for point_id in order
    ]
