"""Processes that read all along and check every generation they see."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from cervella_rag import bootstrap
from cervella_rag.protocols import StoreReader

from .memory import Table, enter, fingerprints

LIMIT = 60.0
"""Seconds after which a process that was to end is taken for hanging."""
_HELD = 40
"""Reads after which a reader looks once more at a generation that may be gone from disk by then."""


@dataclass
class Tally:
    """What a reader saw; `mixed` are generations that are not whole."""

    reads: int = 0
    failed: int = 0
    mixed: int = 0
    generations: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another reader's in."""
        self.reads += other.reads
        self.failed += other.failed
        self.mixed += other.mixed
        self.generations |= other.generations
        self.faults += other.faults


class GenerationReader:
    """Reads whole generations, each with the store that stays open and, now and then, with a new one."""

    def __init__(self, work: Path) -> None:
        self._settings = bootstrap.load_settings()
        self._store = bootstrap.make_store(self._settings)
        self._table = Table(work / "table")
        self._held: deque[StoreReader] = deque()
        self._newest = 0
        self.tally = Tally()

    def read(self) -> None:
        """Read the current generation once, and sometimes one that was current before."""
        is_new = self.tally.reads % 5 == 0
        store = bootstrap.make_store(self._settings) if is_new else self._store
        self.tally.reads += 1
        try:
            reader = store.read()
            if reader is None:
                self._fault("the index vanished")
                return
            self._check(reader)
            number = reader.manifest.generation
            if number < self._newest:
                self._fault(f"generation {number} after {self._newest}")
            self._newest = number
            self._held.append(reader)
            if len(self._held) > _HELD:
                self._check(self._held.popleft())
        except Exception as error:  # noqa: BLE001 - whatever it is, a read failed
            self.tally.failed += 1
            self.tally.faults.append(f"a read failed: {error!r}")

    def _check(self, reader: StoreReader) -> None:
        manifest, chunks = reader.manifest, list(reader.chunks())
        self.tally.generations.add(manifest.generation)
        if len(chunks) != manifest.chunks:
            self._fault(f"generation {manifest.generation}: {len(chunks)} chunks, not {manifest.chunks}")
        files = {path for chunk in chunks if not chunk.retired for path in chunk.paths}
        if len(files) != manifest.documents:
            self._fault(f"generation {manifest.generation}: {len(files)} files, not {manifest.documents}")
        for name, found in fingerprints(chunks).items():
            if found != self._table.get(name):
                self._fault(f"generation {manifest.generation}: document {name} is not whole")

    def _fault(self, text: str) -> None:
        self.tally.mixed += 1
        self.tally.faults.append(text)


def read_all_along(work: Path, connection: Connection) -> None:
    """Read until told to stop, or until the process that would tell is gone."""
    enter(work)
    os.nice(15)  # two cores: the writers are what is tested
    reader = GenerationReader(work)
    while not connection.poll():
        reader.read()
    connection.send(reader.tally)


class Reader:
    """A process that reads all along."""

    def __init__(self, work: Path) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process: BaseProcess = spawning.Process(target=read_all_along, args=(work, theirs))
        self._process.start()
        theirs.close()

    def stop(self) -> Tally:
        """End it; return what it saw."""
        try:
            self._connection.send("stop")
            tally = self._connection.recv() if self._connection.poll(LIMIT) else None
        except (OSError, EOFError):
            tally = None
        self._process.join(1)
        self._process.kill()
        self._process.join()
        if isinstance(tally, Tally):
            return tally
        return Tally(failed=1, faults=[f"a reader hung or died: {self._process.exitcode}"])
