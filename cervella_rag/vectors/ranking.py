"""Scores of two lists become candidates in an order that never changes, by reciprocal rank fusion.

Reference: Cormack, Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet (2009). Fused here
and not in the engine: every candidate is asked for its scores anyway, and the engine's weights divide ranks
instead of scaling scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cervella_rag.domain import Chunk, Scores
from cervella_rag.protocols import Search

Found = tuple[Chunk, Scores]


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of candidates, by point id.

    Attributes:
        lexical: BM25, where words are shared.
        dense: Cosine similarity.
        windows: Cosine similarity of the best window.
    """

    lexical: Mapping[str, float]
    dense: Mapping[str, float]
    windows: Mapping[str, float]


def rank_each(
    chunks: Mapping[str, Chunk], scored: Scored, members: Iterable[Collection[str]], search: Search
) -> list[Found]:
    """Return what was found under each condition, one after the other; what both found, as the last did.

    Args:
        chunks: Candidates by point id.
        scored: Their scores.
        members: The point ids that each condition found.
        search: How many of each list count, and how much.
    """
    found: dict[str, Found] = {}
    for ids in members:
        found |= {one[0].chunk_id: one for one in rank(chunks, scored, ids, search)}
    return list(found.values())


def rank(
    chunks: Mapping[str, Chunk], scored: Scored, members: Collection[str], search: Search
) -> list[Found]:
    """Return those of the candidates that are `members`, with their scores, best first. See `rank_each`."""
    lexical, dense, windows = scored.lexical, scored.dense, scored.windows
    fused: dict[str, float] = defaultdict(float)
    for scores, votes in ((lexical, search.lexical_votes), (dense, 1)):
        listed = [point_id for point_id in members if point_id in scores]
        best = sorted(listed, key=lambda point_id: (-scores[point_id], point_id))[: search.candidates]
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
