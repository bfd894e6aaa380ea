"""One generation of a server's collection, read: its points become chunks with scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from qdrant_client import models

from cervella_rag.domain import Chunk, Filters
from cervella_rag.protocols import Manifest, Search
from cervella_rag.vectors.batches import batches
from cervella_rag.vectors.payload import DATE_FIELD, DENSE, LEXICAL, from_payload
from cervella_rag.vectors.qdrant_wire import Wire
from cervella_rag.vectors.ranking import TIES, Found, rank

BATCH = 256
"""Points or ids in one request."""
BORN = "generation"
GONE = "until_generation"


class Reader:
    """The `StoreReader` of a server: the points of one generation in one collection."""

    def __init__(self, wire: Wire, collection: str, manifest: Manifest) -> None:
        self._wire = wire
        self._live = live(manifest.generation)
        self.collection = collection
        self.manifest = manifest

    def search(self, search: Search) -> list[Found]:
        """See `StoreReader`; fusion happens in the engine, each list asked for once more for its scores."""
        condition = models.Filter(must=[*self._live, *_conditions(search.filters)])
        lists: dict[str, models.SparseVector | list[float]] = {
            LEXICAL: models.SparseVector(
                indices=list(search.lexical.indices), values=list(search.lexical.values)
            )
        }
        votes = {LEXICAL: search.lexical_votes, DENSE: 1}
        if search.dense is not None:
            lists[DENSE] = list(search.dense)
        asked: dict[str, dict[str, Any]] = {
            name: {
                "query": models.NearestQuery(nearest=vector),
                "using": name,
                "filter": condition,
                "limit": search.candidates,
            }
            for name, vector in lists.items()
        }
        requests = [models.QueryRequest(**query) for query in asked.values()]
        fused = models.QueryRequest(
            prefetch=[
                models.Prefetch(**query) for name, query in asked.items() for _ in range(votes[name])
            ],
            query=models.RrfQuery(rrf=models.Rrf(k=search.rrf_k)),
            limit=search.limit + TIES,
            with_payload=True,
        )
        *ranked, best = self._wire.ask(
            self._wire.client.query_batch_points, self.collection, [*requests, fused]
        )
        scores = {
            name: {str(point.id): point.score for point in found.points}
            for name, found in zip(lists, ranked, strict=True)
        }
        fusion = ((str(point.id), _chunk(point.payload), point.score) for point in best.points)
        return rank(fusion, scores[LEXICAL], scores.get(DENSE, {}), search.limit)

    def chunks(self) -> Iterator[Chunk]:
        """See `StoreReader`."""
        for record in self._wire.scroll(self.collection, models.Filter(must=self._live)):
            yield _chunk(record.payload)

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, tuple[float, ...]]:
        """See `StoreReader`."""
        found: dict[str, tuple[float, ...]] = {}
        for batch in batches(chunk_ids, BATCH):
            these = models.Filter(must=[*self._live, any_of(batch)])
            for record in self._wire.scroll(self.collection, these, with_vectors=[DENSE]):
                named = cast(dict[str, list[float]], record.vector or {})
                if DENSE in named:
                    found[(record.payload or {})["chunk_id"]] = tuple(named[DENSE])
        return found


def live(generation: int) -> list[models.Condition]:
    """Conditions that the points of one generation meet."""
    return [
        models.FieldCondition(key=BORN, range=models.Range(lte=generation)),
        models.FieldCondition(key=GONE, range=models.Range(gt=generation)),
    ]


def any_of(chunk_ids: Sequence[str]) -> models.FieldCondition:
    """Condition that the points of these chunks meet, whatever their generation."""
    return models.FieldCondition(key="chunk_id", match=models.MatchAny(any=list(chunk_ids)))


def _conditions(filters: Filters) -> list[models.Condition]:
    equal = {"project": filters.project, "kind": filters.kind, "sessions": filters.session}
    conditions: list[models.Condition] = [
        models.FieldCondition(key=name, match=models.MatchValue(value=value.lower()))
        for name, value in equal.items()
        if value
    ]
    if filters.path_prefix:
        conditions.append(
            models.FieldCondition(key="paths", match=models.MatchPrefix(prefix=filters.path_prefix))
        )
    if filters.since or filters.until:
        days = models.DatetimeRange.model_validate({"gte": filters.since, "lte": filters.until})
        conditions.append(models.FieldCondition(key=DATE_FIELD, range=days))
    return conditions


def _chunk(payload: dict[str, Any] | None) -> Chunk:
    values = payload or {}
    return from_payload(values["chunk_id"], values)
