"""Embedded Qdrant for many processes: one writer in private, readers on whole published generations.

    index/
      lock                  held by the writer, says who that is
      current               number of the published generation, replaced by renaming
      generations/000007/   manifest.json and the shard, its points never written again
      next-4711/            what the writer (process 4711) is filling

The engine has no aliases and one process per open shard for writing. So the writer copies the
published shard (sparse files: 10,000 points in tens of milliseconds), changes the copy, closes it,
moves it among the generations and renames the pointer. A reader sees the old generation or the new
one. A writer that dies leaves a folder that the next writer deletes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from cervella_rag.domain import Point
from cervella_rag.errors import StoreError
from cervella_rag.protocols import Manifest, StoreReader
from cervella_rag.vectors.qdrant_edge import EdgeShard
from cervella_rag.vectors.writer_lock import locked

_log = logging.getLogger(__name__)

_KEPT = 2
"""Published generations that stay on disk: the current one, and the one a reader may be opening."""
_ATTEMPTS = 5
"""Tries to open the current generation; only a reader slower than several publications needs more."""


class EmbeddedStore:
    """A `VectorStore` in one folder.

    Args:
        folder: Where the index lives; made when first written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: EdgeShard | None = None
        self._open_name = ""

    def read(self) -> StoreReader | None:
        """See `VectorStore`. An open generation is kept while it is the current one."""
        for _ in range(_ATTEMPTS):
            name = self._current()
            if not name:
                return None
            if self._open is not None and name == self._open_name:
                return self._open
            try:
                shard = self._load(name)
            except StoreError:
                if self._current() == name:
                    raise
                continue  # it was replaced and removed between reading its name and opening it
            self._open, self._open_name = shard, name
            return shard
        raise StoreError(reason=f"generation {name} vanished while being opened")

    @contextmanager
    def write(self, *, afresh: bool = False) -> Iterator[Writer]:
        """See `VectorStore`."""
        with locked(self._folder / "lock"):
            self._sweep()
            current = self._read_to_replace() if afresh else self.read()
            writer = Writer(self._folder, current, self._sweep)
            try:
                yield writer
            finally:
                writer.discard()
                self._sweep()

    def _read_to_replace(self) -> StoreReader | None:
        try:
            return self.read()
        except StoreError as error:
            _log.warning("%s", error)
            return None

    def _current(self) -> str:
        return _current(self._folder)

    def _load(self, name: str) -> EdgeShard:
        folder = self._folder / "generations" / name
        try:
            manifest = Manifest(**json.loads((folder / "manifest.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(reason=f"{folder / 'manifest.json'}: {error}") from error
        return EdgeShard.load(folder / "shard", manifest)

    def _sweep(self, kept: int = _KEPT) -> None:
        """Delete what a writer that died left behind and generations nobody can ask for.

        A generation is moved away first, because one that is being opened cannot be emptied: opening
        writes into it. What resists is left to the next writer.
        """
        current, published = self._current(), _published(self._folder)
        keep = [name for name in published if name <= current][-kept:]
        for name in set(published) - set(keep):
            with suppress(OSError):
                (self._folder / "generations" / name).rename(self._folder / f"swept-{name}-{os.getpid()}")
        for leftover in (*self._folder.glob("next-*"), *self._folder.glob("swept-*")):
            shutil.rmtree(leftover, ignore_errors=True)


class Writer:
    """The `StoreWriter` of the embedded engine; made by `EmbeddedStore.write`."""

    def __init__(self, folder: Path, current: StoreReader | None, sweep: Callable[[int], None]) -> None:
        self._folder = folder
        self._sweep = sweep
        self._staging = folder / f"next-{os.getpid()}"
        self._shard: EdgeShard | None = None
        self.current = current
        self.generation = int(max(_published(folder), default="0")) + 1

    def begin(self, *, dimension: int, fresh: bool) -> None:
        """See `StoreWriter`."""
        shard = self._staging / "shard"
        with _files():
            if fresh or self.current is None:
                self._shard = EdgeShard.create(shard, dimension)
            else:
                name = _generation_name(self.current.manifest.generation)
                _copy_sparse(self._folder / "generations" / name / "shard", shard)
                self._shard = EdgeShard.load(shard)

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """See `StoreWriter`."""
        self._started().delete(chunk_ids)

    def upsert(self, points: Iterable[Point]) -> None:
        """See `StoreWriter`."""
        self._started().upsert(points)

    def count(self) -> int:
        """See `StoreWriter`."""
        return self._started().count()

    def publish(self, manifest: Manifest) -> None:
        """See `StoreWriter`."""
        shard = self._started()
        shard.optimize()
        shard.close()
        self._shard = None
        with _files():
            (self._staging / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1))
            target = self._folder / "generations" / _generation_name(manifest.generation)
            target.parent.mkdir(exist_ok=True)
            _sync_tree(self._staging)
            self._staging.rename(target)
            _sync(target.parent)
            pointer = self._folder / "current.next"
            pointer.write_text(target.name)
            _sync(pointer)
            pointer.replace(self._folder / "current")
            _sync(self._folder)

    def purge(self) -> None:
        """See `StoreWriter`."""
        self._sweep(1)

    def discard(self) -> None:
        """Drop what was not published."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None
        shutil.rmtree(self._staging, ignore_errors=True)

    def _started(self) -> EdgeShard:
        if self._shard is None:
            raise StoreError(reason="the next generation was not begun")
        return self._shard


@contextmanager
def _files() -> Iterator[None]:
    """Map what a disk refuses: full, read-only, gone."""
    try:
        yield
    except OSError as error:
        raise StoreError(reason=error) from error


def _current(folder: Path) -> str:
    """Name of the published generation, "" where there is none.

    A pointer that is lost or damaged means the newest generation: what stands among them is whole.
    """
    try:
        name = (folder / "current").read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        name = ""
    except OSError as error:
        raise StoreError(reason=error) from error
    if name and (folder / "generations" / name).is_dir():
        return name
    return max(_published(folder), default="")


def _published(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "generations").glob("[0-9]*"))


def _generation_name(number: int) -> str:
    return f"{number:06d}"


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a folder, holes left as holes: the engine reserves much more than it fills.

    Opening a generation rewrites its small files, each whole, by way of a temporary one: a reader that
    is opening this one leaves such files for a moment, and they are no part of it.
    """
    temporary = shutil.ignore_patterns(".atomicwrite*")
    shutil.copytree(source, target, copy_function=_copy_file_sparse, ignore=temporary)


def _copy_file_sparse(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        end = 0
        while end < size:
            try:
                start = os.lseek(reader.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing but a hole to the end
                break
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            writer.write(reader.read(end - start))
        writer.truncate(size)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
