"""A Qdrant server or cluster: many readers, one writer, and never half a document.

    cervella            alias: the collection that readers use
    cervella_000007_…   made by generation 7; its metadata holds the manifest of the current one

Every point carries the generation it was written for and the first one it is no longer part of. A
reader sees the points of one generation only, so what a run has written stays invisible until the
manifest names it, which is one write. A rebuild fills a collection of its own and moves the alias.
What a writer that died left behind is undone by the next one.

Reference: https://qdrant.tech/documentation/concepts/collections/#collection-aliases
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID, uuid4, uuid5

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.common.version_check import is_compatible
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from cervella_rag.domain import Chunk, Filters, Point
from cervella_rag.errors import (
    CervellaError,
    IndexLockedError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
)
from cervella_rag.protocols import Manifest, Search, StoreReader
from cervella_rag.vectors.batches import batches
from cervella_rag.vectors.payload import (
    DATE_FIELD,
    DENSE,
    KEYWORD_FIELDS,
    LEXICAL,
    from_payload,
    to_payload,
)
from cervella_rag.vectors.ranking import TIES, Found, rank
from cervella_rag.vectors.writer_lock import locked

_PAGE = 1000
_BATCH = 256
_MANIFEST = "cervella"
"""Key of the collection's metadata. Its value is text, because a server merges objects."""
_BORN = "generation"
_GONE = "until_generation"
_FOREVER = 2**31 - 1

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class QdrantOptions:
    """Where the server is and how it is spoken to.

    Attributes:
        collection: Alias of the current collection; others are named after it.
        key: "" for a server that asks for none.
        grpc_port: Port to speak gRPC to instead of HTTP, or None.
    """

    url: str
    collection: str
    key: str
    grpc_port: int | None
    timeout_seconds: int


def connect(options: QdrantOptions) -> QdrantClient:
    """Return a client; nothing is sent yet."""
    with warnings.catch_warnings():
        # Between containers and on one machine there is no TLS, and no one to listen in.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=options.url,
            api_key=options.key or None,
            prefer_grpc=options.grpc_port is not None,
            grpc_port=options.grpc_port or 6334,
            timeout=options.timeout_seconds,
            check_compatibility=False,  # it only warns; `_Wire` refuses
        )


class QdrantStore:
    """A `VectorStore` on a server.

    Args:
        options: Which server.
        lock: File that the writing process of this machine holds.
        client: Makes the client, once, when it is first needed.
    """

    def __init__(
        self, options: QdrantOptions, lock: Path, client: Callable[[QdrantOptions], QdrantClient] = connect
    ) -> None:
        self._wire = _Wire(options, client)
        self._alias = options.collection
        self._lock = lock

    def read(self) -> Reader | None:
        """See `VectorStore`.

        Raises:
            StoreUnavailableError, StoreRefusedError, StoreVersionError: The server cannot be used.
        """
        collection = self._wire.aliased(self._alias)
        if collection is None:
            return None
        metadata = self._wire.call(self._wire.client.get_collection, collection).config.metadata
        try:
            manifest = Manifest(**json.loads((metadata or {})[_MANIFEST]))
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(reason=f"collection {collection!r}, manifest: {error}") from error
        return Reader(self._wire, collection, manifest)

    @contextmanager
    def write(self, *, afresh: bool = False) -> Iterator[Writer]:
        """See `VectorStore`."""
        with locked(self._lock):
            read = self._read_to_replace if afresh else self.read
            current = read()
            self._sweep(current)
            writer = Writer(self._wire, self._alias, current, read)
            try:
                yield writer
            finally:
                writer.discard()

    def _read_to_replace(self) -> Reader | None:
        try:
            return self.read()
        except (StoreUnavailableError, StoreRefusedError, StoreVersionError):
            raise
        except StoreError:
            return None  # a manifest that cannot be read must not stand in the way of its own repair

    def _sweep(self, current: Reader | None) -> None:
        """Delete collections that were replaced; a run ago, so that no reader is in them any more."""
        if current is None:
            return
        for found in self._wire.call(self._wire.client.get_collections).collections:
            ours = re.fullmatch(rf"{re.escape(self._alias)}_\d{{6,}}_[0-9a-f]{{8}}", found.name)
            if ours and found.name != current.collection:
                self._wire.call(self._wire.client.delete_collection, found.name)


class Reader:
    """The `StoreReader` of a server: the points of one generation in one collection."""

    def __init__(self, wire: _Wire, collection: str, manifest: Manifest) -> None:
        self._wire = wire
        self._live = _live(manifest.generation)
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
        requests = [
            models.QueryRequest(
                query=models.NearestQuery(nearest=vector),
                using=name,
                filter=condition,
                limit=search.candidates,
            )
            for name, vector in lists.items()
        ]
        fused = models.QueryRequest(
            prefetch=[
                models.Prefetch(
                    query=models.NearestQuery(nearest=vector),
                    using=name,
                    filter=condition,
                    limit=search.candidates,
                )
                for name, vector in lists.items()
                for _ in range(votes[name])
            ],
            query=models.RrfQuery(rrf=models.Rrf(k=search.rrf_k)),
            limit=search.limit + TIES,
            with_payload=True,
        )
        *ranked, best = self._wire.call(
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
        for batch in batches(chunk_ids, _BATCH):
            these = models.Filter(must=[*self._live, _any_of(batch)])
            for record in self._wire.scroll(self.collection, these, with_vectors=[DENSE]):
                named = cast(dict[str, list[float]], record.vector or {})
                if DENSE in named:
                    found[(record.payload or {})["chunk_id"]] = tuple(named[DENSE])
        return found


class Writer:
    """The `StoreWriter` of a server; made by `QdrantStore.write`."""

    def __init__(
        self, wire: _Wire, alias: str, current: Reader | None, read: Callable[[], Reader | None]
    ) -> None:
        self._wire = wire
        self._alias = alias
        self._read = read
        self._reader = current
        self._collection = ""
        self.generation = current.manifest.generation + 1 if current else 1

    @property
    def current(self) -> StoreReader | None:
        """See `StoreWriter`."""
        return self._reader

    def begin(self, *, dimension: int, fresh: bool) -> None:
        """See `StoreWriter`."""
        if fresh or self._reader is None:
            # Nobody else's, whatever another machine is doing: it is deleted where this run fails.
            self._collection = f"{self._alias}_{self.generation:06d}_{uuid4().hex[:8]}"
            self._create(dimension)
        else:
            self._collection = self._reader.collection
            self._roll_back()  # what a writer that died has left

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """See `StoreWriter`."""
        for batch in batches(chunk_ids, _BATCH):
            written_now = models.FieldCondition(key=_BORN, match=models.MatchValue(value=self.generation))
            self._remove(models.Filter(must=[written_now, _any_of(batch)]))
            self._end(batch)

    def upsert(self, points: Iterable[Point]) -> None:
        """See `StoreWriter`."""
        for batch in batches(points, _BATCH):
            self._end([point.chunk.chunk_id for point in batch])
            made = [self._point(point) for point in batch]
            self._wire.call(self._wire.client.upsert, self._started(), made)

    def count(self) -> int:
        """See `StoreWriter`."""
        these = models.Filter(must=_live(self.generation))
        return self._wire.call(self._wire.client.count, self._started(), these, exact=True).count

    def publish(self, manifest: Manifest) -> None:
        """See `StoreWriter`.

        Raises:
            IndexLockedError: Somebody on another machine has published since this run began.
        """
        collection = self._started()
        now = self._read()
        if (now and now.manifest) != (self._reader and self._reader.manifest):
            raise IndexLockedError(holder="another machine")
        self._wire.call(
            self._wire.client.update_collection,
            collection,
            metadata={_MANIFEST: json.dumps(asdict(manifest))},
        )
        if self._reader is None or self._reader.collection != collection:
            self._move_alias(collection)
        self._collection = ""

    def discard(self) -> None:
        """Drop what was not published; the next writer does it where the server is gone by now."""
        if not self._collection:
            return
        try:
            if self._reader and self._reader.collection == self._collection:
                self._roll_back()
            else:
                self._wire.call(self._wire.client.delete_collection, self._collection)
        except (StoreError, StoreUnavailableError):
            return
        finally:
            self._collection = ""

    def _create(self, dimension: int) -> None:
        client, collection = self._wire.client, self._collection
        dense = models.VectorParams(size=max(dimension, 1), distance=models.Distance.COSINE)
        self._wire.call(
            client.create_collection,
            collection,
            vectors_config={DENSE: dense} if dimension else {},
            sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
        fields: dict[str, Any] = {
            **dict.fromkeys((*KEYWORD_FIELDS, "chunk_id"), keyword),
            DATE_FIELD: models.PayloadSchemaType.DATETIME,
            _BORN: models.PayloadSchemaType.INTEGER,
            _GONE: models.PayloadSchemaType.INTEGER,
        }
        for name, schema in fields.items():
            self._wire.call(client.create_payload_index, collection, name, schema)

    def _roll_back(self) -> None:
        later = models.Range(gte=self.generation)
        self._remove(models.Filter(must=[models.FieldCondition(key=_BORN, range=later)]))
        ended = models.Range(gte=self.generation, lt=_FOREVER)
        self._set_end(models.Filter(must=[models.FieldCondition(key=_GONE, range=ended)]), _FOREVER)
        # What ended with the generations before is seen by nobody any more.
        past = models.Range(lt=self.generation)
        self._remove(models.Filter(must=[models.FieldCondition(key=_GONE, range=past)]))

    def _end(self, chunk_ids: list[str]) -> None:
        """Let the points of these chunks end with the current generation."""
        if self._reader and self._reader.collection == self._collection:
            live = _live(self._reader.manifest.generation)
            self._set_end(models.Filter(must=[*live, _any_of(chunk_ids)]), self.generation)

    def _set_end(self, these: models.Filter, generation: int) -> None:
        self._wire.call(self._wire.client.set_payload, self._started(), {_GONE: generation}, these)

    def _remove(self, these: models.Filter) -> None:
        selector = models.FilterSelector(filter=these)
        self._wire.call(self._wire.client.delete, self._started(), selector)

    def _move_alias(self, collection: str) -> None:
        operations: list[models.CreateAliasOperation | models.DeleteAliasOperation] = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=self._alias)
            )
        ]
        if self._wire.aliased(self._alias):
            drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._alias))
            operations.insert(0, drop)
        self._wire.call(self._wire.client.update_collection_aliases, operations)

    def _point(self, point: Point) -> models.PointStruct:
        vector: dict[str, Any] = {
            LEXICAL: models.SparseVector(
                indices=list(point.lexical.indices), values=list(point.lexical.values)
            )
        }
        if point.dense is not None:
            vector[DENSE] = list(point.dense)
        chunk_id = point.chunk.chunk_id
        versions = {"chunk_id": chunk_id, _BORN: self.generation, _GONE: _FOREVER}
        return models.PointStruct(
            id=str(uuid5(UUID(chunk_id), str(self.generation))),
            vector=vector,
            payload={**to_payload(point.chunk), **versions},
        )

    def _started(self) -> str:
        if not self._collection:
            raise StoreError(reason="the next generation was not begun")
        return self._collection


class _Wire:
    """The client, made and checked once, and what its errors mean."""

    def __init__(self, options: QdrantOptions, make: Callable[[QdrantOptions], QdrantClient]) -> None:
        self._options = options
        self._make = make
        self._client: QdrantClient | None = None

    @property
    def client(self) -> QdrantClient:
        """The client.

        Raises:
            StoreVersionError: It and the server are more than one minor version apart.
            StoreUnavailableError: Nothing that speaks Qdrant is there.
        """
        if self._client is None:
            client = self._make(self._options)
            theirs, ours = self.call(client.info).version, version("qdrant-client")
            if not is_compatible(ours, theirs):
                client.close()
                raise StoreVersionError(url=self._options.url, server=theirs, client=ours)
            self._client = client
        return self._client

    def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the client and map what it raises."""
        try:
            return method(*args, **kwargs)
        except (ApiException, QdrantException, grpc.RpcError, ValueError, RuntimeError, OSError) as error:
            raise self._mapped(error) from error

    def aliased(self, alias: str) -> str | None:
        """Return the collection that an alias names, or None where there is no such alias."""
        aliases = self.call(self.client.get_aliases).aliases
        return next((found.collection_name for found in aliases if found.alias_name == alias), None)

    def scroll(
        self, collection: str, these: models.Filter, with_vectors: list[str] | None = None
    ) -> Iterator[models.Record]:
        """Yield every point that matches."""
        offset: Any = None
        while True:
            records, offset = self.call(
                self.client.scroll,
                collection,
                these,
                limit=_PAGE,
                offset=offset,
                with_vectors=with_vectors or False,
            )
            yield from records
            if offset is None:
                return

    def _mapped(self, error: Exception) -> CervellaError:
        url = self._options.url
        match error:
            case UnexpectedResponse(status_code=401 | 403):
                return StoreRefusedError(url=url)
            case UnexpectedResponse():
                return StoreError(reason=f"{url}: {error.status_code} {_said(error.content)}")
            case ResponseHandlingException():
                return StoreUnavailableError(url=url, reason=error.source)
            case json.JSONDecodeError():
                return StoreUnavailableError(url=url, reason="something else than Qdrant is there")
            case grpc.RpcError():
                return _mapped_grpc(url, error)
            case _:
                return StoreError(reason=f"{url}: {error}")


def _mapped_grpc(url: str, error: grpc.RpcError) -> CervellaError:
    code, details = getattr(error, "code", lambda: None)(), getattr(error, "details", lambda: "")()
    match code:
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return StoreRefusedError(url=url)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return StoreUnavailableError(url=url, reason=details)
        case _:
            return StoreError(reason=f"{url}: {code} {details}")


def _said(content: bytes) -> str:
    """Return what the server gave as its reason."""
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")


def _live(generation: int) -> list[models.Condition]:
    """Conditions that the points of one generation meet."""
    return [
        models.FieldCondition(key=_BORN, range=models.Range(lte=generation)),
        models.FieldCondition(key=_GONE, range=models.Range(gt=generation)),
    ]


def _any_of(chunk_ids: Sequence[str]) -> models.FieldCondition:
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
