"""One new file under a root: never over another, never through a link, never outside."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePosixPath

from cervella_rag.domain import Root
from cervella_rag.errors import MemoryNotWritableError, MemoryPathTakenError


def write_new(root: Root, path: str, text: str) -> None:
    """Write `text` to a file that is not there yet, with the folders it needs.

    Raises:
        MemoryPathTakenError: There is something at that path.
        MemoryNotWritableError: The folder is a link, is no folder, or cannot be written to.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.name:
        raise MemoryNotWritableError(path=path, reason="it leads out of the memory")
    try:
        folder = os.open(root.location, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in pure.parent.parts:
                folder = _enter(folder, part)
            _create(folder, pure.name, text.encode("utf-8"))
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise MemoryPathTakenError(path=path) from error
    except OSError as error:
        raise MemoryNotWritableError(path=path, reason=error.strerror or str(error)) from error


def _enter(folder: int, name: str) -> int:
    """Open a folder below an open one, made where it is missing; a link is not followed."""
    with suppress(FileExistsError):  # what is there is opened, and that fails if it is no folder
        os.mkdir(name, dir_fd=folder)
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    os.close(folder)
    return below


def _create(folder: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(name, dir_fd=folder)  # half a file would be indexed as a whole one
        raise
