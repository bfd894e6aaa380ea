"""Who is writing a server's collection: a note in its metadata, for writers on other machines.

A lock on this machine cannot see them. The server has no lock of its own, so two that begin in the same
instant may both believe they hold it; the one that wrote last does, and the other notices before its
next batch and before it publishes.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any
from uuid import uuid4

from cervella_rag.errors import IndexLockedError
from cervella_rag.vectors.qdrant_wire import Wire

_KEY = "cervella_writer"
_LIFE_SECONDS = 60
"""After so much silence a writer is taken for dead, whatever the clocks of two machines differ by."""
_RENEW_SECONDS = 10

FREE = {_KEY: ""}
"""Metadata of a collection that nobody writes; goes with the manifest, so that both change at once."""


def held_by(metadata: dict[str, Any]) -> str:
    """Return who is writing a collection with this metadata, or "" where nobody is."""
    note = _note(metadata)
    is_alive = bool(note) and time.time() - note["at"] < _LIFE_SECONDS
    return note["holder"] if is_alive and not _has_died_here(note) else ""


class Lease:
    """One writer's claim on one collection.

    Raises:
        IndexLockedError: Another writer holds it.
    """

    def __init__(self, wire: Wire, collection: str) -> None:
        if holder := held_by(wire.metadata(collection)):
            raise IndexLockedError(holder=holder)
        self._wire = wire
        self._collection = collection
        self._token = uuid4().hex
        self._renewed = 0.0
        self._write()
        self.keep()

    def keep(self) -> None:
        """Make sure that it is still held, and say that its writer lives.

        Raises:
            IndexLockedError: Another writer has taken it.
        """
        metadata = self._wire.metadata(self._collection)
        if _note(metadata).get("token") != self._token:
            raise IndexLockedError(holder=held_by(metadata) or "?")
        if time.monotonic() - self._renewed > _RENEW_SECONDS:
            self._write()

    def is_held(self) -> bool:
        """Tell whether it is still this writer's; False too where its own publication gave it back."""
        return _note(self._wire.metadata(self._collection)).get("token") == self._token

    def _write(self) -> None:
        note = {
            "token": self._token,
            "holder": f"{socket.gethostname()}, process {os.getpid()}",
            "host": socket.gethostname(),
            "process": os.getpid(),
            "at": time.time(),
        }
        self._wire.set_metadata(self._collection, {_KEY: json.dumps(note)})
        self._renewed = time.monotonic()


def _note(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        note = json.loads(metadata.get(_KEY) or "{}")
        return note if {"token", "holder", "at"} <= note.keys() else {}
    except (ValueError, AttributeError):
        return {}


def _has_died_here(note: dict[str, Any]) -> bool:
    """Tell whether the writer was a process of this machine that is no more; nobody waits for the dead."""
    if note.get("host") != socket.gethostname() or note.get("process") == os.getpid():
        return False
    try:
        os.kill(int(note["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError):  # somebody else's process, or no number of one
        pass
    return False
