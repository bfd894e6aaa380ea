"""One writer on this machine: a lock that says who holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cervella_rag.errors import IndexLockedError, StoreError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock; the system lets go of it when the process ends, however it ends.

    Raises:
        IndexLockedError: Another process holds it.
        StoreError: The file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise StoreError(reason=error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise IndexLockedError(holder=file.read().strip() or "?") from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
