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
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from qdrant_client import QdrantClient, models

from cervella_rag.domain import Point
from cervella_rag.errors import (
    CervellaError,
    IndexOvertakenError,
    StoreError,
    StoreNameTakenError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
)
from cervella_rag.protocols import Manifest, StoreReader
from cervella_rag.vectors.batches import batches
from cervella_rag.vectors.payload import DATE_FIELD, DENSE, KEYWORD_FIELDS, LEXICAL, WINDOWS, to_payload
from cervella_rag.vectors.qdrant_layout import vector_params
from cervella_rag.vectors.qdrant_lease import FREE, Lease, held_by
from cervella_rag.vectors.qdrant_reader import BATCH, BORN, GONE, Reader, any_of, live
from cervella_rag.vectors.qdrant_wire import QdrantOptions, Wire, connect
from cervella_rag.vectors.writer_lock import locked

_log = logging.getLogger(__name__)

_MANIFEST = "cervella"
"""Key of the collection's metadata. Its value is text, because a server merges objects."""
_FOREVER = 2**31 - 1


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
        self._wire = Wire(options, client)
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
        try:
            manifest = Manifest(**json.loads(self._wire.metadata(collection)[_MANIFEST]))
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(reason=f"collection {collection!r}, manifest: {error}") from error
        return Reader(self._wire, collection, manifest)

    @contextmanager
    def write(self, *, afresh: bool = False) -> Iterator[Writer]:
        """See `VectorStore`."""
        with locked(self._lock):
            read = self._read_to_replace if afresh else self.read
            writer = Writer(self._wire, self._alias, read)
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


class Writer:
    """The `StoreWriter` of a server; made by `QdrantStore.write`."""

    def __init__(self, wire: Wire, alias: str, read: Callable[[], Reader | None]) -> None:
        self._wire = wire
        self._alias = alias
        self._read = read
        self._reader = read()
        self._collection = ""
        self._lease: Lease | None = None
        self.generation = self._reader.manifest.generation + 1 if self._reader else 1

    @property
    def current(self) -> StoreReader | None:
        """See `StoreWriter`."""
        return self._reader

    def begin(self, *, dimension: int, fresh: bool) -> None:
        """See `StoreWriter`.

        Raises:
            IndexLockedError: A writer on another machine is at work.
            IndexOvertakenError: One has published since this run began.
        """
        self._check_not_overtaken()
        self._sweep()
        if fresh or self._reader is None:
            self._collection = self._create(dimension)
            self._lease = Lease(self._wire, self._collection)
        else:
            self._collection = self._reader.collection
            self._lease = Lease(self._wire, self._collection)
            self._roll_back()  # what a writer that died has left

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """See `StoreWriter`."""
        for batch in batches(chunk_ids, BATCH):
            self._held().keep()
            written_now = models.FieldCondition(key=BORN, match=models.MatchValue(value=self.generation))
            self._remove(models.Filter(must=[written_now, any_of(batch)]))
            self._end(batch)

    def upsert(self, points: Iterable[Point]) -> None:
        """See `StoreWriter`."""
        for batch in batches(points, BATCH):
            self._held().keep()
            self._end([point.chunk.chunk_id for point in batch])
            made = [self._point(point) for point in batch]
            self._wire.call(self._wire.client.upsert, self._started(), made)

    def count(self) -> int:
        """See `StoreWriter`."""
        these = models.Filter(must=live(self.generation))
        return self._wire.call(self._wire.client.count, self._started(), these, exact=True).count

    def publish(self, manifest: Manifest) -> None:
        """See `StoreWriter`.

        Raises:
            IndexOvertakenError: Somebody on another machine has published since this run began.
        """
        collection = self._started()
        self._check_not_overtaken()
        self._held().keep()
        self._wire.set_metadata(collection, {_MANIFEST: json.dumps(asdict(manifest)), **FREE})
        if self._reader is None or self._reader.collection != collection:
            self._move_alias(collection)
        self._collection = ""

    def purge(self) -> None:
        """See `StoreWriter`."""
        if current := self._read():
            past = models.Range(lte=current.manifest.generation)
            these = models.Filter(must=[models.FieldCondition(key=GONE, range=past)])
            selector = models.FilterSelector(filter=these)
            self._wire.call(self._wire.client.delete, current.collection, selector)

    def discard(self) -> None:
        """Drop what was not published, and nothing else; what cannot be told apart now is for the next."""
        collection, self._collection = self._collection, ""
        if not collection:
            return
        try:
            if self._reader and self._reader.collection == collection:
                if self._lease and self._lease.is_held():
                    self._collection = collection
                    self._roll_back()
                    self._wire.set_metadata(collection, FREE)
            elif self._wire.aliased(self._alias) != collection:  # published, though nobody heard of it
                self._wire.call(self._wire.client.delete_collection, collection)
        except CervellaError as error:
            _log.warning("%s", error)
        finally:
            self._collection = ""

    def _check_not_overtaken(self) -> None:
        now = self._read()
        if (now and now.manifest) != (self._reader and self._reader.manifest):
            raise IndexOvertakenError

    def _sweep(self) -> None:
        """Delete collections that were replaced a run ago, or whose writer is dead."""
        for found in self._wire.call(self._wire.client.get_collections).collections:
            if found.name == self._alias:
                raise StoreNameTakenError(name=self._alias)
            ours = re.fullmatch(rf"{re.escape(self._alias)}_\d{{6,}}_[0-9a-f]{{8}}", found.name)
            is_current = self._reader and found.name == self._reader.collection
            if ours and not is_current and not held_by(self._wire.metadata(found.name)):
                self._wire.call(self._wire.client.delete_collection, found.name)

    def _create(self, dimension: int) -> str:
        client = self._wire.client
        # Nobody else's, whatever another machine is doing: it is deleted where this run fails.
        collection = f"{self._alias}_{self.generation:06d}_{uuid4().hex[:8]}"
        self._wire.call(
            client.create_collection,
            collection,
            vectors_config=vector_params(dimension, self._wire.layout) if dimension else {},
            sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            shard_number=self._wire.layout.shards,
            replication_factor=self._wire.layout.replicas,
            write_consistency_factor=self._wire.layout.write_consistency,
        )
        keyword = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
        fields: dict[str, Any] = {
            **dict.fromkeys((*KEYWORD_FIELDS, "chunk_id"), keyword),
            DATE_FIELD: models.PayloadSchemaType.DATETIME,
            BORN: models.PayloadSchemaType.INTEGER,
            GONE: models.PayloadSchemaType.INTEGER,
        }
        for name, schema in fields.items():
            self._wire.call(client.create_payload_index, collection, name, schema)
        return collection

    def _roll_back(self) -> None:
        later = models.Range(gte=self.generation)
        self._remove(models.Filter(must=[models.FieldCondition(key=BORN, range=later)]))
        ended = models.Range(gte=self.generation, lt=_FOREVER)
        self._set_end(models.Filter(must=[models.FieldCondition(key=GONE, range=ended)]), _FOREVER)
        # What ended with the generations before is seen by nobody any more.
        past = models.Range(lt=self.generation)
        self._remove(models.Filter(must=[models.FieldCondition(key=GONE, range=past)]))

    def _end(self, chunk_ids: list[str]) -> None:
        """Let the points of these chunks end with the current generation."""
        if self._reader and self._reader.collection == self._collection:
            now = live(self._reader.manifest.generation)
            self._set_end(models.Filter(must=[*now, any_of(chunk_ids)]), self.generation)

    def _set_end(self, these: models.Filter, generation: int) -> None:
        self._wire.call(self._wire.client.set_payload, self._started(), {GONE: generation}, these)

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
            whole, *parts = point.dense.tolist()
            vector[DENSE] = whole
            if parts:
                vector[WINDOWS] = parts
        chunk_id = point.chunk.chunk_id
        versions = {"chunk_id": chunk_id, BORN: self.generation, GONE: _FOREVER}
        return models.PointStruct(
            id=str(uuid5(UUID(chunk_id), str(self.generation))),
            vector=vector,
            payload={**to_payload(point.chunk), **versions},
        )

    def _held(self) -> Lease:
        if self._lease is None:
            raise StoreError(reason="the next generation was not begun")
        return self._lease

    def _started(self) -> str:
        if not self._collection:
            raise StoreError(reason="the next generation was not begun")
        return self._collection
