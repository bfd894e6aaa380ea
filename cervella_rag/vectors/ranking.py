"""Two ranked lists and their fusion become hits, in an order that never changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cervella_rag.domain import Chunk, Scores

TIES = 10
"""Asked for beyond the limit: ranks fuse to equal scores, which the engine orders by chance."""

Found = tuple[Chunk, Scores]


def rank(
    fused: Iterable[tuple[str, Chunk, float]],
    lexical: Mapping[str, float],
    dense: Mapping[str, float],
    limit: int,
) -> list[Found]:
    """Return the best chunks with their scores, best first.

    Args:
        fused: Point id, chunk and fused score.
        lexical: BM25 score by point id, of the lexical list.
        dense: Cosine similarity by point id, of the dense list.
        limit: How many to return at most.
    """
    found = [
        (chunk, Scores(lexical=lexical.get(point_id), dense=dense.get(point_id), fused=score))
        for point_id, chunk, score in fused
    ]
    return sorted(found, key=_best_first)[:limit]


def _best_first(found: Found) -> tuple[float, float, float, str]:
    chunk, scores = found
    return -(scores.fused or 0), -(scores.lexical or 0), -(scores.dense or 0), chunk.chunk_id
