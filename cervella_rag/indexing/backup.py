"""Everything she keeps in one file, and back: the index with its vectors, the conversations, enrichments.

The file is a tar archive of plain parts, the same whichever store the index came from: an index backed
up from the embedded engine can be restored to a server. A restored index is a new generation, shown
when it is whole; nothing is touched before every part was found to be what was written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from cervella_rag.domain import Chunk, Point
from cervella_rag.errors import BackupFileError, IndexAbsentError
from cervella_rag.memory.enrichment import Enrichments
from cervella_rag.memory.lexical import encode_document
from cervella_rag.protocols import Manifest, StoreReader, Vectors, VectorStore

_FORMAT = 2
_ABOUT, _CHUNKS, _VECTORS, _ROWS, _CONVERSATIONS, _ENRICHMENTS = (
    "about.json",
    "chunks.jsonl",
    "vectors.npy",
    "rows.npy",
    "conversations.sqlite",
    "enrichments.jsonl",
)
"""`rows` tells how many of the vectors belong to each chunk."""
_BATCH = 1000
_CHUNK: TypeAdapter[Chunk] = TypeAdapter(Chunk)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds."""

    chunks: int
    documents: int
    has_conversations: bool


def back_up(
    store: VectorStore, conversations: Path, file: Path, home: str, enrichments: Path | None = None
) -> BackupReport:
    """Write the index and what is kept beside it to a new file, readable by its owner alone.

    Args:
        store: Where the index is.
        conversations: The conversations' SQLite file; one that is not there is left out.
        file: Written whole or not at all; one that exists is not replaced.
        home: Named where there is no index.
        enrichments: What a model wrote of chunks; left out where it is not there.

    Raises:
        IndexAbsentError: Nothing is indexed.
        BackupFileError: The file is there already or cannot be written.
    """
    reader = store.read()
    if reader is None:
        raise IndexAbsentError(home=home)
    if file.exists():
        raise BackupFileError(path=str(file), reason="it is there already")
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with TemporaryDirectory() as folder:
            parts = _write_parts(reader, conversations, enrichments, Path(folder))
            _write_archive(parts, partial)
        partial.rename(file)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise BackupFileError(path=str(file), reason=error) from error
    manifest = reader.manifest
    return BackupReport(
        manifest.chunks, manifest.documents, _CONVERSATIONS in {part.name for part in parts}
    )


def restore(
    store: VectorStore, conversations: Path, file: Path, enrichments: Enrichments | None = None
) -> BackupReport:
    """Make what a backup holds the current index and the conversations; add its enrichments to those there.

    Raises:
        BackupFileError: It is not a backup, or not as it was written; nothing was changed.
        IndexLockedError, StoreError: The index cannot be written.
    """
    with TemporaryDirectory() as folder:
        about = _extracted(file, Path(folder))
        try:
            manifest = Manifest(**about["manifest"])
            chunks = [_CHUNK.validate_json(line) for line in _lines(Path(folder) / _CHUNKS)]
            vectors = np.load(Path(folder) / _VECTORS, allow_pickle=False)
            rows = np.load(Path(folder) / _ROWS, allow_pickle=False)
            said = _checked_conversations(Path(folder) / _CONVERSATIONS)
            written = Path(folder) / _ENRICHMENTS
        except (KeyError, TypeError, ValueError, OSError, EOFError, sqlite3.Error) as error:
            raise BackupFileError(path=str(file), reason=error) from error
        whole = (manifest.chunks, (rows.sum(), manifest.dimension))
        if (len(chunks), vectors.shape) != whole or len(rows) != len(chunks):
            raise BackupFileError(path=str(file), reason="it does not hold what it says")
        with store.write(afresh=True) as writer:
            writer.begin(dimension=manifest.dimension, fresh=True)
            writer.upsert(_points(chunks, vectors, rows))
            writer.publish(replace(manifest, generation=writer.generation))
        if enrichments and written.exists():
            enrichments.add(written.read_bytes())
        if said:
            _replace_conversations(said, conversations)
    return BackupReport(manifest.chunks, manifest.documents, said is not None)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from lines


def _write_parts(
    reader: StoreReader, conversations: Path, enrichments: Path | None, folder: Path
) -> list[Path]:
    chunks, vectors, rows = list(reader.chunks()), folder / _VECTORS, folder / _ROWS
    with (folder / _CHUNKS).open("wb") as lines:
        for chunk in chunks:
            lines.write(_CHUNK.dump_json(chunk) + b"\n")
    made = _vectors(reader, chunks)
    empty = np.zeros((0, reader.manifest.dimension), np.float32)
    np.save(vectors, np.concatenate([empty, *made]), allow_pickle=False)
    np.save(rows, np.array([len(one) for one in made], np.int64), allow_pickle=False)
    parts = [folder / _CHUNKS, vectors, rows]
    if enrichments and enrichments.exists():
        parts.append(Path(shutil.copyfile(enrichments, folder / _ENRICHMENTS)))
    if conversations.exists():
        parts.append(folder / _CONVERSATIONS)
        # By SQLite itself, so that a turn that is being written is in it or not.
        with closing(sqlite3.connect(conversations)) as source, closing(sqlite3.connect(parts[-1])) as copy:
            source.backup(copy)
    about = {
        "format": _FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "manifest": asdict(reader.manifest),
        "sha256": {part.name: _digest(part) for part in parts},
    }
    (folder / _ABOUT).write_text(json.dumps(about, indent=1))
    return [folder / _ABOUT, *parts]


def _vectors(reader: StoreReader, chunks: Sequence[Chunk]) -> list[Vectors]:
    """Return each chunk's vectors, none of them in a lexical-only index."""
    if not reader.manifest.dimension:
        return [np.zeros((0, 0), np.float32) for _ in chunks]
    made: list[Vectors] = []
    for start in range(0, len(chunks), _BATCH):
        ids = [chunk.chunk_id for chunk in chunks[start : start + _BATCH]]
        found = reader.vectors(ids)
        made += [found[chunk_id] for chunk_id in ids]
    return made


def _points(chunks: Sequence[Chunk], vectors: Vectors, rows: NDArray[np.int64]) -> Iterator[Point]:
    for chunk, dense in zip(chunks, np.split(vectors, np.cumsum(rows)[:-1]), strict=True):
        yield Point(chunk, dense if len(dense) else None, encode_document(chunk.searched_text))


def _write_archive(parts: Sequence[Path], file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as raw,
        tarfile.open(fileobj=raw, mode="w:gz", compresslevel=3) as archive,
    ):
        for part in parts:
            archive.add(part, part.name)
        archive.close()
        raw.flush()
        os.fsync(descriptor)


def _extracted(file: Path, folder: Path) -> dict[str, Any]:
    """Take the known parts out, and no other, and check each against what was written of it."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            about = json.loads(_content(archive, _ABOUT))
            for name in {_CHUNKS, _VECTORS, _ROWS, _CONVERSATIONS, _ENRICHMENTS} & _digests(about).keys():
                _extract(archive, name, folder / name, _digests(about)[name])
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupFileError(path=str(file), reason=error) from error
    return dict(about)


def _digests(about: dict[str, Any]) -> dict[str, str]:
    if about["format"] != _FORMAT:
        raise ValueError(f"format {about['format']!r}, not {_FORMAT}")
    return dict(about["sha256"])


def _extract(archive: tarfile.TarFile, name: str, file: Path, digest: str) -> None:
    file.write_bytes(_content(archive, name))
    if _digest(file) != digest:
        raise ValueError(f"{name} is damaged")


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    with member:
        return member.read()


def _checked_conversations(file: Path) -> Path | None:
    """Return the file where there is one that SQLite finds whole."""
    if not file.exists():
        return None
    with closing(sqlite3.connect(file)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise ValueError(verdict)
    return file


def _replace_conversations(restored: Path, conversations: Path) -> None:
    """Put the restored file in the place of the present one, which stays beside it."""
    conversations.parent.mkdir(parents=True, exist_ok=True)
    beside = conversations.with_suffix(".before-restore.sqlite")
    with closing(sqlite3.connect(restored)) as source, closing(sqlite3.connect(conversations)) as target:
        with closing(sqlite3.connect(beside)) as kept:
            target.backup(kept)
        source.backup(target)  # page by page under SQLite's own lock, for whoever has it open
    for database_file in (conversations, beside):
        database_file.chmod(0o600)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(io.DEFAULT_BUFFER_SIZE * 64):
            digest.update(block)
    return digest.hexdigest()
