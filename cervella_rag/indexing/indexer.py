"""Folders become the next generation of the index, and only what changed is embedded again.

What the index holds is asked of the points themselves: there is no second book that can disagree.
A file that disappears is retired, not deleted: its chunks stay, marked with the day it was last
seen. A file that could not be read this time keeps what is known of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

import numpy as np

from cervella_rag.domain import (
    Chunk,
    IndexReport,
    Metadata,
    Point,
    Root,
    Scan,
    Source,
    Verification,
)
from cervella_rag.errors import (
    IndexAbsentError,
    MemoryEmptyError,
    MemoryVanishedError,
    PathPresentError,
    PathUnknownError,
)
from cervella_rag.indexing.plan import Key, Plan, Stored, is_refused, plan, stored_documents
from cervella_rag.indexing.verify import verify
from cervella_rag.memory.chunker import Chunker
from cervella_rag.memory.lexical import encode_document
from cervella_rag.memory.sncp import DocumentReader, Place, relate
from cervella_rag.memory.sources import SourceReader
from cervella_rag.memory.windows import windows
from cervella_rag.protocols import Embedder, Manifest, StoreWriter, Vectors, VectorStore
from cervella_rag.retrieval.reading import reading_of

Progress = Callable[[str, int, int], None]
"""Stage ("read" or "embed"), how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class IndexerParts:
    """What an indexer is made of; an embedder of None makes a lexical-only index.

    Attributes:
        home: Where the index is looked for; named when there is none.
        redaction: Name of the rules by which `documents` takes secrets out.
        embed_at_once: Chunks given to the embedder in one call.
        enrich: Called once a run, gives what tells of a chunk what a model wrote of it, "" for nothing.
        forget: Removes for good what a model wrote of chunks.
    """

    sources: SourceReader
    documents: DocumentReader
    chunker: Chunker
    chunking: str
    embedder: Embedder | None
    store: VectorStore
    home: str
    redaction: str = "none"
    embed_at_once: int = 64
    enrich: Callable[[], Callable[[Chunk], str]] = lambda: lambda chunk: ""
    forget: Callable[[Sequence[Chunk]], None] = lambda chunks: None

    @property
    def made(self) -> tuple[Embedder | None, str, str]:
        """What an index must have been made with."""
        return self.embedder, self.chunking, self.redaction


class Indexer:
    """Brings the index to the state of the folders."""

    def __init__(self, parts: IndexerParts) -> None:
        self._parts = parts

    def run(
        self,
        roots: Sequence[Root],
        *,
        rebuild: bool = False,
        dry_run: bool = False,
        accept_deletions: bool = False,
        progress: Progress = lambda stage, done, total: None,
    ) -> IndexReport:
        """Read the roots and publish a new generation if anything changed.

        Raises:
            RootMissingError: A root cannot be listed.
            MemoryEmptyError, MemoryVanishedError: A root holds nothing to index, or most of its files are
                gone, and `accept_deletions` was not asked for; the index stays as it is.
            IndexMismatchError: The index was made otherwise and `rebuild` was not asked for.
            IndexLockedError: Another process is writing.
            EmbedderError, StoreError: A part failed; the index stays as it is.
        """
        started = time.perf_counter()
        with self._parts.store.write(afresh=rebuild) as writer:
            current = writer.current
            if current and not rebuild:
                current.manifest.require(*self._parts.made)
            scan = self._parts.sources.read(roots)
            stored = stored_documents(current.chunks()) if current else {}
            if not (accept_deletions and current):
                _check_not_empty(roots, scan)
                _check_not_vanished(roots, scan, stored)
            todo = plan(scan, frozenset(root.name for root in roots), stored, rebuild=rebuild)
            locations = {root.name: str(root.location) for root in roots}
            before = current.manifest.roots if current else {}
            enrich = self._parts.enrich()
            changed = _changed_enrichments(todo, stored, enrich)
            is_same = todo.is_empty and not changed and current is not None and before == locations
            embedded, redacted = 0, Counter[str]()
            if not (dry_run or is_same):
                job = _Job(todo, stored, writer, rebuild, progress, redacted)
                chunks = [replace(chunk, enrichment=enrich(chunk)) for chunk in self._read(job)]
                chunks += [*_carried(job), *changed]
                embedded = self._fill(job, chunks)
                self._publish(job, locations, chunks)
        reader = self._parts.store.read()
        return IndexReport(
            **todo.counts,
            skipped=scan.skipped,
            refused=scan.refused,
            redacted=dict(redacted),
            enriched=len(changed),
            documents=reader.manifest.documents if reader else 0,
            chunks=reader.manifest.chunks if reader else 0,
            embedded=embedded,
            generation=reader.manifest.generation if reader else 0,
            took_ms=round((time.perf_counter() - started) * 1000, 1),
            roots=locations,
            dropped_roots={name: place for name, place in before.items() if name not in locations},
        )

    def verify(self, roots: Sequence[Root]) -> Verification:
        """Compare folders and index, file by file; nothing is written.

        Raises:
            IndexAbsentError: There is no index.
            RootMissingError, IndexMismatchError, StoreError: They cannot be compared.
        """
        reader = self._parts.store.read()
        if reader is None:
            raise IndexAbsentError(home=self._parts.home)
        reader.manifest.require(*self._parts.made)
        return verify(self._parts.sources.read(roots), stored_documents(reader.chunks()), self._cut)

    def _cut(self, source: Source, paths: tuple[str, ...]) -> frozenset[str]:
        document = self._parts.documents.read(source, paths)
        return frozenset(chunk.chunk_id for chunk in self._parts.chunker.chunk(document))

    def forget(self, path: str) -> int:
        """Remove every document that was at `path` and is gone from the folders; return its chunks' number.

        Raises:
            PathUnknownError: The index knows no such path.
            PathPresentError: The file is still there, and would come back.
        """
        with self._parts.store.write() as writer:
            current = writer.current
            stored = stored_documents(current.chunks()) if current else {}
            known = [document for document in stored.values() if path in document.paths]
            if current is None or not known:
                raise PathUnknownError(path=path)
            if any(not document.retired for document in known):
                raise PathPresentError(path=path)
            gone = [chunk for document in known for chunk in document.chunks]
            writer.begin(dimension=current.manifest.dimension, fresh=False)
            writer.delete([chunk.chunk_id for chunk in gone])
            now = datetime.now(UTC).isoformat(timespec="seconds")
            writer.publish(
                replace(current.manifest, generation=writer.generation, created=now, chunks=writer.count())
            )
            writer.purge()  # for good: no earlier generation may keep it
        self._parts.forget(gone)
        return len(gone)

    def draw_line(self, line: float) -> int:
        """Keep with the index above which chance of having no answer a question is turned away.

        Returns:
            The generation that knows it.

        Raises:
            IndexAbsentError: Nothing is indexed.
        """
        with self._parts.store.write() as writer:
            current = writer.current
            if current is None:
                raise IndexAbsentError(home=self._parts.home)
            writer.begin(dimension=current.manifest.dimension, fresh=False)
            writer.publish(replace(current.manifest, generation=writer.generation, line=line))
        return writer.generation

    def _read(self, job: _Job) -> list[Chunk]:
        """Read and cut every document to write."""
        total = len(job.todo.write)
        documents = []
        for done, (source, paths) in enumerate(job.todo.write, 1):
            documents.append(self._parts.documents.read(source, paths))
            job.redacted.update(documents[-1].redacted)
            job.progress("read", done, total)
        related = relate(documents, _neighbours(job.stored))
        return [chunk for document in related for chunk in self._parts.chunker.chunk(document)]

    def _fill(self, job: _Job, chunks: Sequence[Chunk]) -> int:
        """Put chunks into the next generation; return how many of them had to be embedded."""
        embedder = self._parts.embedder
        vectors, embedded = self._vectors(job, chunks, embedder) if embedder else ({}, 0)
        job.writer.begin(dimension=self._dimension(job), fresh=job.rebuild)
        if not job.rebuild:
            job.writer.delete([c.chunk_id for key in job.todo.drop for c in job.stored[key].chunks])
        job.writer.upsert(
            Point(
                replace(chunk, reading=reading_of(chunk)),
                vectors.get(chunk.searched_text),
                encode_document(chunk.searched_text),
            )
            for chunk in chunks
        )
        return embedded

    def _vectors(
        self, job: _Job, chunks: Sequence[Chunk], embedder: Embedder
    ) -> tuple[dict[str, Vectors], int]:
        """Return vectors by searched text, and how many chunks had to be embedded.

        A chunk whose searched text was in a document that is replaced, moved or retired keeps its
        vector.
        """
        vectors = {} if job.rebuild else _known_vectors(job, chunks)
        missing = list({c.searched_text: c for c in chunks if c.searched_text not in vectors}.values())
        size = self._parts.embed_at_once
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            texts = [
                (chunk.index_text, *windows(chunk)) if embedder.sees_windows else (chunk.searched_text,)
                for chunk in batch
            ]
            made = embedder.embed_documents([text for group in texts for text in group])
            if job.writer.current and not job.rebuild:
                job.writer.current.manifest.require_dimension(made.shape[1])
            parts = np.split(made, np.cumsum([len(group) for group in texts])[:-1])
            vectors.update(zip((chunk.searched_text for chunk in batch), parts, strict=True))
            job.progress("embed", start + len(batch), len(missing))
        return vectors, len(missing)

    def _dimension(self, job: _Job) -> int:
        """Length of the next generation's vectors; a model is asked only where a new one is begun."""
        if job.writer.current and not job.rebuild:
            return job.writer.current.manifest.dimension
        return self._parts.embedder.dimension if self._parts.embedder else 0

    def _line(self, job: _Job) -> float | None:
        """Return the line of the generation before, where it was drawn for the same embedder."""
        before = job.writer.current.manifest if job.writer.current else None
        name = Manifest.wanted(*self._parts.made)["embedder"]
        return before.line if before and before.embedder == name else None

    def _publish(self, job: _Job, locations: dict[str, str], written: Sequence[Chunk]) -> None:
        known = _known(job, written)
        job.writer.publish(
            Manifest(
                **Manifest.wanted(*self._parts.made),
                dimension=self._dimension(job),
                generation=job.writer.generation,
                roots=locations,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                documents=_live_files(job),
                chunks=job.writer.count(),
                projects=tuple(sorted({metadata.project for metadata in known if metadata.project})),
                newest=max((metadata.date for metadata in known if metadata.date), default=""),
                line=self._line(job),
            )
        )


@dataclass(frozen=True, slots=True)
class _Job:
    """One run's plan, what it starts from and where it writes."""

    todo: Plan
    stored: Mapping[Key, Stored]
    writer: StoreWriter
    rebuild: bool
    progress: Progress
    redacted: Counter[str]


def _check_not_empty(roots: Iterable[Root], scan: Scan) -> None:
    filled = {source.root for source in scan.sources}
    for root in roots:
        if root.name not in filled:
            raise MemoryEmptyError(
                path=str(root.location), skipped=len(scan.skipped), refused=len(scan.refused)
            )


_MOST_GONE = 0.5
_FEWEST_GONE = 10


def _check_not_vanished(roots: Iterable[Root], scan: Scan, stored: Mapping[Key, Stored]) -> None:
    """Refuse to retire most of a root at once; what only moved within it or changed is there."""
    places = {(source.root, source.path) for source in scan.sources}
    contents = {(source.root, source.sha256) for source in scan.sources}
    for root in roots:
        live = [
            (key, path)
            for key, document in stored.items()
            if key.root == root.name
            and not document.retired
            and not is_refused(key.root, document.paths, scan)
            for path in document.paths
        ]
        gone = [
            path for key, path in live if (root.name, path) not in places and tuple(key) not in contents
        ]
        if len(gone) >= _FEWEST_GONE and len(gone) > _MOST_GONE * len(live):
            raise MemoryVanishedError(path=str(root.location), gone=len(gone), known=len(live))


def _neighbours(stored: Mapping[Key, Stored]) -> dict[Place, Metadata]:
    return {
        (key.root, path): document.chunks[0].metadata
        for key, document in stored.items()
        for path in document.paths
    }


def _carried(job: _Job) -> Iterator[Chunk]:
    """Chunks to mark as retired; in a rebuild also those of documents that nothing was said of.

    Those are the ones retired before and the ones whose file could not be read this time.
    """
    current = job.writer.current
    last_seen = current.manifest.created[:10] if current else ""
    for key, paths in job.todo.retire:
        for chunk in job.stored[key].chunks:
            yield replace(chunk, paths=paths, path=paths[0], retired=last_seen)
    if job.rebuild:
        settled = {*job.todo.drop, *(key for key, _ in job.todo.retire), *_written(job)}
        for key, document in job.stored.items():
            if key not in settled:
                yield from document.chunks


def _written(job: _Job) -> Iterator[Key]:
    return (Key(source.root, source.sha256) for source, _ in job.todo.write)


def _live_files(job: _Job) -> int:
    """How many files the next generation shows as they are in the folders."""
    gone = {*job.todo.drop, *(key for key, _ in job.todo.retire), *_written(job)}
    kept = [document for key, document in job.stored.items() if key not in gone and not document.retired]
    return sum(len(document.paths) for document in kept) + sum(len(paths) for _, paths in job.todo.write)


def _known(job: _Job, written: Sequence[Chunk]) -> list[Metadata]:
    """What the files of the next generation say of themselves, retired ones left out."""
    gone = {*job.todo.drop, *(key for key, _ in job.todo.retire), *_written(job)}
    kept = [] if job.rebuild else [d.chunks[0] for key, d in job.stored.items() if key not in gone]
    return [chunk.metadata for chunk in (*kept, *written) if not chunk.retired]


def _known_vectors(job: _Job, chunks: Sequence[Chunk]) -> dict[str, Vectors]:
    """Vectors by searched text, of the documents that this run replaces, moves or retires.

    The same lines of the same content keep their vector under another file name too, though the name
    is part of what was embedded: what they say has not changed.
    """
    keys = chain(job.todo.drop, (key for key, _ in job.todo.retire))
    known = {chunk.chunk_id: chunk for key in keys for chunk in job.stored[key].chunks}
    vectors = job.writer.current.vectors(list(known)) if job.writer.current else {}
    by_text = {known[chunk_id].searched_text: vector for chunk_id, vector in vectors.items()}
    by_place = {_place(known[chunk_id]): vector for chunk_id, vector in vectors.items()}
    renamed = {
        chunk.searched_text: by_place[_place(chunk)] for chunk in chunks if _place(chunk) in by_place
    }
    return renamed | by_text


def _place(chunk: Chunk) -> tuple[str, str, int, int, str, str]:
    return chunk.root, chunk.sha256, chunk.start_line, chunk.end_line, chunk.text, chunk.enrichment


def _changed_enrichments(
    todo: Plan, stored: Mapping[Key, Stored], enrich: Callable[[Chunk], str]
) -> list[Chunk]:
    """Chunks of documents that this run leaves as they are, of which something else is written now."""
    settled = {*todo.drop, *(key for key, _ in todo.retire)}
    kept = (document for key, document in stored.items() if key not in settled)
    return [
        replace(chunk, enrichment=written)
        for document in kept
        for chunk in document.chunks
        if (written := enrich(chunk)) != chunk.enrichment
    ]
