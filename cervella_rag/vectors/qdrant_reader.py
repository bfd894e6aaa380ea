"""One generation of a server's collection, read: its points become chunks with scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
from qdrant_client import models

from cervella_rag.domain import Chunk, Filters
from cervella_rag.protocols import Manifest, Search, Vectors
from cervella_rag.vectors.batches import batches
from cervella_rag.vectors.payload import DATE_FIELD, DENSE, LEXICAL, WINDOWS, from_payload
from cervella_rag.vectors.qdrant_layout import search_params
from cervella_rag.vectors.qdrant_wire import Wire
from cervella_rag.vectors.ranking import Found, Scored, rank_each

BATCH = 256
"""Points or ids in one request."""
BORN = "generation"
GONE = "until_generation"


class Reader:
    """The `StoreReader` of a server: the points of one generation in one collection."""

    def __init__(self, wire: Wire, collection: str, manifest: Manifest) -> None:
        self._wire = wire
        self._live = live(manifest.generation)
        self._rescored, self._whole = search_params(wire.layout)
        self.collection = collection
        self.manifest = manifest

    def search(self, search: Search) -> list[Found]:
        """See `StoreReader`: each list for its best, then each way of scoring about all that were found."""
        lexical = models.SparseVector(
            indices=list(search.lexical.indices), values=list(search.lexical.values)
        )
        nearest: dict[str, Any] = {LEXICAL: lexical}
        if search.dense is not None:
            nearest[DENSE] = list(search.dense)
        lists = list(nearest)
        if search.dense is not None and search.windows:
            nearest[WINDOWS] = [list(search.dense)]
        queries = {name: models.NearestQuery(nearest=vector) for name, vector in nearest.items()}
        conditions = [
            models.Filter(must=[*self._live, *_conditions(filters)])
            for filters in (search.named, search.filters)
            if filters is not None
        ]
        requests = [
            models.QueryRequest(
                prefetch=[
                    models.Prefetch(
                        query=queries[one],
                        using=one,
                        filter=condition,
                        limit=search.candidates,
                        params=self._rescored if one == DENSE else None,
                    )
                    for one in lists
                ],
                query=query,
                using=name,
                params=self._whole if name == DENSE else None,
                limit=len(lists) * search.candidates,
                with_payload=name == lists[-1],
            )
            for condition in conditions
            for name, query in queries.items()
        ]
        answers = self._wire.ask(self._wire.client.query_batch_points, self.collection, requests)
        chunks = {
            str(point.id): _chunk(point.payload)
            for found in answers
            for point in found.points
            if point.payload
        }
        scores: dict[str, dict[str, float]] = {LEXICAL: {}, DENSE: {}, WINDOWS: {}}
        members: list[set[str]] = [set() for _ in conditions]
        for number, found in enumerate(answers):
            points = {str(point.id): point.score for point in found.points}
            scores[list(queries)[number % len(queries)]] |= points
            members[number // len(queries)] |= points.keys()
        scored = Scored(scores[LEXICAL], scores[DENSE], scores[WINDOWS])
        return rank_each(chunks, scored, members, search)

    def whole(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """See `StoreReader`: they came whole, in one request."""
        return list(chunks)

    def chunks(self) -> Iterator[Chunk]:
        """See `StoreReader`."""
        for record in self._wire.scroll(self.collection, models.Filter(must=self._live)):
            yield _chunk(record.payload)

    def warm(self) -> Iterable[Chunk]:
        """See `StoreReader`: a server keeps warm by itself, and chunks come anew with every answer."""
        return ()

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, Vectors]:
        """See `StoreReader`."""
        found: dict[str, Vectors] = {}
        for batch in batches(chunk_ids, BATCH):
            these = models.Filter(must=[*self._live, any_of(batch)])
            for record in self._wire.scroll(self.collection, these, with_vectors=[DENSE, WINDOWS]):
                named = cast(dict[str, Any], record.vector or {})
                if DENSE in named:
                    rows = [named[DENSE], *named.get(WINDOWS, [])]
                    found[(record.payload or {})["chunk_id"]] = np.array(rows, np.float32)
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
