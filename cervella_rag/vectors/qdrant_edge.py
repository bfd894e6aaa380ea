"""Qdrant's own engine inside this process: one shard in one folder.

A shard that is published is never written again, so any number of processes may load it.

Reference: https://qdrant.tech/documentation/edge/
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import cycle, islice
from pathlib import Path
from sys import intern
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import qdrant_edge as edge

from cervella_rag.domain import Chunk, Filters, Metadata, Point
from cervella_rag.errors import StoreError
from cervella_rag.protocols import Manifest, Search, Vectors
from cervella_rag.vectors.batches import batches
from cervella_rag.vectors.payload import (
    DATE_FIELD,
    DENSE,
    KEYWORD_FIELDS,
    LEXICAL,
    WINDOWS,
    from_payload,
    to_payload,
)
from cervella_rag.vectors.ranking import Found, Scored, rank_each

_PAGE = 1000
_BATCH = 256
_REMEMBERED = 20_000
"""Most chunks kept in memory, without their texts: a third of a search is reading a hundred of them."""

_METADATA = tuple(field.name for field in fields(Metadata))

T = TypeVar("T")
P = ParamSpec("P")


class EdgeShard:
    """One shard of the embedded engine.

    Raises:
        StoreError: The files are damaged, or the engine refused an operation.
    """

    def __init__(self, shard: edge.EdgeShard, manifest: Manifest | None = None) -> None:
        self._shard = shard
        self._manifest = manifest
        self._remembered: dict[str, Chunk] = {}

    @classmethod
    def create(cls, folder: Path, dimension: int) -> EdgeShard:
        """Make an empty shard; a dimension of 0 makes a lexical-only one."""
        folder.mkdir(parents=True)
        config = edge.EdgeConfig(
            vectors=_vectors(dimension) if dimension else None,
            sparse_vectors={LEXICAL: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
            # A generation is published whole or thrown away: a log would only be a second copy of it.
            wal_enabled=False,
        )
        shard = cls(_guard(edge.EdgeShard.create, str(folder), config))
        keyword = edge.KeywordIndexParams(prefix=True, memory=edge.Memory.Cold)
        for name in KEYWORD_FIELDS:
            shard._update(edge.UpdateOperation.create_field_index(name, keyword))
        shard._update(edge.UpdateOperation.create_field_index(DATE_FIELD, edge.PayloadSchemaType.Datetime))
        return shard

    @classmethod
    def load(cls, folder: Path, manifest: Manifest | None = None) -> EdgeShard:
        """Open an existing shard."""
        return cls(_guard(edge.EdgeShard.load, str(folder)), manifest)

    @property
    def manifest(self) -> Manifest:
        """How this generation was made; only a published shard has one."""
        if self._manifest is None:
            raise StoreError(reason="the generation is not published yet")
        return self._manifest

    def search(self, search: Search) -> list[Found]:
        """Return the candidates of both lists, each with all its scores.

        Each list is asked for its best; then each way of scoring about all that were found; then come the
        payloads. In one planned batch with prefetches and payloads the same takes 5 ms at 2,000 points and
        15 at 20,000, instead of 2: the engine finds both lists once for every way of scoring, and reads
        payloads ten times slower while it scores.
        """
        lexical = edge.SparseVector(list(search.lexical.indices), list(search.lexical.values))
        queries = {LEXICAL: edge.Query.Nearest(lexical, using=LEXICAL)}
        if search.dense is not None:
            queries[DENSE] = edge.Query.Nearest(list(search.dense), using=DENSE)
        conditions = [_filter(one) for one in (search.named, search.filters) if one is not None]
        lists = self._points(queries.values(), conditions, search.candidates)
        names = {point.id: str(point.id) for points in lists for point in points}
        members = [
            {names[point.id] for points in lists[first : first + len(queries)] for point in points}
            for first in range(0, len(lists), len(queries))
        ]
        if search.dense is not None and names:
            if search.windows:
                queries[WINDOWS] = edge.Query.Nearest([list(search.dense)], using=WINDOWS)
            these = edge.Filter(must=[edge.HasIdCondition(set(names))])
            lists = self._points(queries.values(), [these], len(names))
        scores: dict[str, dict[str, float]] = {LEXICAL: {}, DENSE: {}, WINDOWS: {}}
        for name, points in zip(cycle(queries), lists, strict=False):
            scores[name] |= {names[point.id]: point.score for point in points}
        scored = Scored(scores[LEXICAL], scores[DENSE], scores[WINDOWS])
        return rank_each(self._chunks(set(names.values())), scored, members, search)

    def _points(
        self, queries: Collection[edge.Query], conditions: Sequence[edge.Filter | None], limit: int
    ) -> list[list[edge.ScoredPoint]]:
        """Return the best points of each query under each condition: one planned batch."""
        requests = [
            edge.QueryRequest(limit=limit, query=query, filter=condition)
            for condition in conditions
            for query in queries
        ]
        return _guard(self._shard.query_batch, edge.QueryBatchRequest(requests))

    def whole(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """See `StoreReader`."""
        read = self._read([chunk.chunk_id for chunk in chunks if not chunk.index_text])
        try:
            return [chunk if chunk.index_text else read[chunk.chunk_id] for chunk in chunks]
        except KeyError as missing:
            raise StoreError(reason=f"chunk {missing} is not in the index") from missing

    def _chunks(self, ids: set[str]) -> dict[str, Chunk]:
        """Return the chunks of some points; those of a published shard are remembered, for they stay."""
        known = {point_id: self._remembered[point_id] for point_id in ids & self._remembered.keys()}
        read = self._read(list(ids - known.keys()))
        if self._manifest is not None and read:
            if len(self._remembered) + len(read) > _REMEMBERED:
                newest = islice(self._remembered.items(), _REMEMBERED // 2, None)
                self._remembered = dict(newest)
            self._remembered.update((name, _light(chunk)) for name, chunk in read.items())
        return known | read

    def _read(self, ids: list[edge.PointId]) -> dict[str, Chunk]:
        records = _guard(self._shard.retrieve, ids, True, False) if ids else []
        return {str(one.id): from_payload(str(one.id), one.payload or {}) for one in records}

    def chunks(self) -> Iterator[Chunk]:
        """Return every chunk, in the order of the ids."""
        offset: edge.PointId | None = None
        while True:
            request = edge.ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=False)
            records, offset = _guard(self._shard.scroll, request)
            for record in records:
                yield from_payload(str(record.id), record.payload or {})
            if offset is None:
                return

    def warm(self) -> Iterable[Chunk]:
        """See `StoreReader`: remember chunks, as many as may be remembered."""
        for chunk in islice(self.chunks(), _REMEMBERED):
            self._remembered[chunk.chunk_id] = _light(chunk)
        return list(self._remembered.values())

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors of those chunks that are here and have any."""
        wanted = [DENSE, WINDOWS]
        records = _guard(self._shard.retrieve, list(chunk_ids), False, wanted) if chunk_ids else []
        found: dict[str, Vectors] = {}
        for record in records:
            named = cast(dict[str, list[float]], record.vector or {})
            if DENSE in named:
                rows = [named[DENSE], *cast(list[list[float]], named.get(WINDOWS, []))]
                found[str(record.id)] = np.array(rows, np.float32)
        return found

    def upsert(self, points: Iterable[Point]) -> None:
        """Insert or replace points."""
        for batch in batches(points, _BATCH):
            self._update(edge.UpdateOperation.upsert_points([_point(point) for point in batch]))

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """Remove points; ids that are not here are ignored."""
        if chunk_ids:
            self._update(edge.UpdateOperation.delete_points(list(chunk_ids)))

    def count(self) -> int:
        """Return how many points there are."""
        return int(_guard(self._shard.count, edge.CountRequest(exact=True)))

    def optimize(self) -> None:
        """Build what makes large shards fast, merge what is fragmented."""
        _guard(self._shard.optimize)

    def close(self) -> None:
        """Write everything to disk and let go of the files."""
        _guard(self._shard.flush)
        _guard(self._shard.close)

    def _update(self, operation: edge.UpdateOperation) -> None:
        _guard(self._shard.update, operation)


def _vectors(dimension: int) -> dict[str, edge.EdgeVectorParams]:
    """Chunks are searched; windows only score what was found: they need no graph, and half floats do.

    Neither is read into memory when a shard is opened: at 10,000 chunks that is 120 MB, and at a few
    hundred 96 MB of nothing, because the engine makes its files in steps of 32 MB.
    """
    return {
        DENSE: edge.EdgeVectorParams(
            size=dimension, distance=edge.Distance.Cosine, memory=edge.Memory.Cold
        ),
        WINDOWS: edge.EdgeVectorParams(
            size=dimension,
            distance=edge.Distance.Cosine,
            multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
            datatype=edge.VectorStorageDatatype.Float16,
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10),
            memory=edge.Memory.Cold,
        ),
    }


def _light(chunk: Chunk) -> Chunk:
    """Return a chunk as it is remembered: without its texts, for only the best are shown, two thirds of it.

    What the chunks of a file have in common is kept once.
    """
    if not chunk.reading:
        return chunk
    metadata = Metadata(*(_once(getattr(chunk.metadata, name)) for name in _METADATA))
    root, path, headings = intern(chunk.root), intern(chunk.path), tuple(map(intern, chunk.headings))
    paths = tuple(map(intern, chunk.paths))
    return replace(
        chunk,
        root=root,
        path=path,
        paths=paths,
        headings=headings,
        metadata=metadata,
        text="",
        index_text="",
    )


def _once(value: Any) -> Any:
    return intern(value) if type(value) is str else value


def _guard(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the engine and map what it raises."""
    try:
        return call(*args, **kwargs)
    except Exception as error:  # the engine raises bare `Exception`, so none narrower
        raise StoreError(reason=error) from error


def _point(point: Point) -> edge.Point:
    vector: dict[str, list[float] | edge.SparseVector | list[list[float]]] = {
        LEXICAL: edge.SparseVector(list(point.lexical.indices), list(point.lexical.values))
    }
    if point.dense is not None:
        whole, *parts = point.dense.tolist()
        vector[DENSE] = whole
        if parts:
            vector[WINDOWS] = parts
    return edge.Point(id=point.chunk.chunk_id, vector=vector, payload=to_payload(point.chunk))


def _filter(filters: Filters) -> edge.Filter | None:
    equal = {"project": filters.project, "kind": filters.kind, "sessions": filters.session}
    must: list[edge.ConditionType] = [
        edge.FieldCondition(name, match=edge.MatchValue(value.lower()))
        for name, value in equal.items()
        if value
    ]
    if filters.path_prefix:
        must.append(edge.FieldCondition("paths", match=edge.MatchPrefix(filters.path_prefix)))
    if filters.since or filters.until:
        days = edge.RangeDateTime(gte=filters.since, lte=filters.until)
        must.append(edge.FieldCondition(DATE_FIELD, range=days))
    return edge.Filter(must=must) if must else None
