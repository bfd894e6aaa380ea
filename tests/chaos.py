"""Kill writers at random moments while readers read: `python tests/chaos.py 200`, from any folder.

A copy of a memory changes all the time; every round starts a writer as a real process and kills it.
Two readers, each in its own process, check every generation they see. At the end a quiet run must bring
the index to the state of the folder. Exit code 1 if anything was not as promised.
"""
# ruff: noqa: T201 - printing is what it is for

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from cervella_rag import bootstrap
from cervella_rag.domain import Chunk
from cervella_rag.memory.chunker import Chunker
from cervella_rag.memory.language import detect_language
from cervella_rag.memory.sentences import split_long_text
from cervella_rag.memory.sncp import DocumentReader
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.protocols import StoreReader
from cervella_rag.settings import SKIP_RULES, Settings

KNOWLEDGE = Path(__file__).parents[1] / "knowledge"
PROGRAM = [sys.executable, "-m", "cervella_rag"]
EXIT_DONE = (0, 3)

_LIMIT = 60.0
"""Seconds after which a writer that was to end is taken for hanging."""
_HELD = 40
"""Reads after which a reader looks once more at a generation that may be gone from disk by then."""
_BURST = 30
_FEWEST, _MOST = 20, 150
"""Files below which none are deleted, and above which none are added."""
_WORDS = (
    "memoria decisione perché forno città lezione sessione farina passo così prezzo camera lievito oggi "
    "domani archivio modello domanda risposta pezzo"
).split()
_MOMENTS = ("starting", "reading", "writing", "publishing", "published", "ended")


def main() -> int:
    """Run the rounds; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rounds", type=int, help="how many writers are killed")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other changes")
    parser.add_argument("--memory", type=Path, default=KNOWLEDGE, help="the folder that is copied")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    given = parser.parse_args()
    source = given.memory.expanduser().resolve()
    work = Path(tempfile.mkdtemp(prefix="cervella-chaos-"))
    try:
        shutil.copytree(source, work / "memory", symlinks=True)
        enter(work)
        return Chaos(work, given.seed).run(given.rounds)
    finally:
        if given.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


def enter(work: Path) -> None:
    """Let this process and those it starts know only `work`: no setting of the machine reaches them."""
    for name in [name for name in os.environ if name.startswith("CERVELLA_")]:
        del os.environ[name]
    os.environ.update(
        CERVELLA_HOME=str(work / "home"),
        CERVELLA_EMBEDDER__NAME="none",
        CERVELLA_LLM__VOICE="memory_only",
        CERVELLA_LANGUAGE="en",
        TERMINAL_WIDTH="200",
    )
    os.chdir(work)


# What a generation must be.


def fingerprints(chunks: Iterable[Chunk]) -> dict[str, str]:
    """Return what every document is cut into, by content and ending; where it lies does not matter."""
    pieces: dict[str, list[str]] = defaultdict(list)
    for chunk in chunks:
        name = f"{chunk.sha256} {Path(chunk.path).suffix}"
        pieces[name].append(f"{chunk.start_line}-{chunk.end_line} {chunk.text}")
    return {
        name: hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()
        for name, texts in pieces.items()
    }


class Table:
    """The fingerprints of every content that ever stood in the folder: one writes, others look up."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, str] = {}

    def add(self, known: dict[str, str]) -> None:
        """Write fingerprints; to be done before their files appear."""
        with self._file.open("a", encoding="utf-8") as file:
            file.writelines(f"{print_}\t{name}\n" for name, print_ in known.items())

    def get(self, name: str) -> str | None:
        """Return the fingerprint of a content."""
        if name not in self._known:
            lines = self._file.read_text(encoding="utf-8").splitlines()
            self._known = {name: print_ for print_, name in (line.split("\t", 1) for line in lines)}
        return self._known.get(name)


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


# What happens to the folder.


class Memory:
    """The folder that changes: every file appears whole, and its fingerprint is known before."""

    def __init__(self, work: Path, settings: Settings, chance: Random) -> None:
        self.folder = work / "memory"
        self._table = Table(work / "table")
        self._spare = work / "spare"
        self._chance = chance
        self._count = 0
        self._sources = SourceReader(settings.memory)
        self._documents = DocumentReader(
            volatile=settings.memory.volatile,
            template=SKIP_RULES["template"],
            detect_language=detect_language,
        )
        chunking = settings.chunking
        self._chunker = Chunker(chunking.size_tokens, chunking.overlap_tokens, split_long_text)
        self._note(self.folder)

    def change(self) -> None:
        """Do one thing to the folder."""
        files = self._files()
        ways: list[Callable[[list[Path]], None]] = [self._edit, self._edit, self._rename, self._copy]
        if len(files) < _MOST:
            ways += [self._add, self._add, self._add_many]
        if len(files) > _FEWEST:
            ways += [self._delete, self._delete]
        if len(files) > _MOST:
            ways += [self._delete_many] * 3
        self._chance.choice(ways)(files)

    def _files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.md"))

    def _edit(self, files: list[Path]) -> None:
        file = self._chance.choice(files)
        lines = file.read_text(encoding="utf-8").split("\n")
        lines[self._chance.randrange(len(lines))] = self._sentence()
        lines.insert(self._chance.randrange(len(lines) + 1), self._sentence())
        self._put({file: "\n".join(lines)})

    def _add(self, files: list[Path]) -> None:
        self._put({self._name(files): self._text()})

    def _add_many(self, files: list[Path]) -> None:
        self._put({self._name(files): self._text() for _ in range(_BURST)})

    def _copy(self, files: list[Path]) -> None:
        self._put({self._name(files): self._chance.choice(files).read_text(encoding="utf-8")})

    def _rename(self, files: list[Path]) -> None:
        self._chance.choice(files).rename(self._name(files))

    def _delete(self, files: list[Path]) -> None:
        self._chance.choice(files).unlink()

    def _delete_many(self, files: list[Path]) -> None:
        for file in self._chance.sample(files, _BURST):
            file.unlink()

    def _name(self, files: list[Path]) -> Path:
        self._count += 1
        return self._chance.choice(files).parent / f"caos_{self._count:05d}.md"

    def _sentence(self) -> str:
        return " ".join(self._chance.choices(_WORDS, k=self._chance.randint(3, 30))) + "."

    def _text(self) -> str:
        parts = (
            f"## {self._sentence()}\n\n{self._sentence()}\n" for _ in range(self._chance.randint(0, 40))
        )
        return f"# Nota {self._chance.random()}\n\n" + "\n".join(parts)

    def _put(self, texts: dict[Path, str]) -> None:
        """Note what will be there, then let each file appear in one step."""
        shutil.rmtree(self._spare, ignore_errors=True)
        self._spare.mkdir()
        made = {self._spare / f"{number}.md": file for number, file in enumerate(texts)}
        for spare, file in made.items():
            spare.write_text(texts[file], encoding="utf-8")
        self._note(self._spare)
        for spare, file in made.items():
            spare.replace(file)

    def _note(self, folder: Path) -> None:
        """Cut the files of a folder apart from any index, and keep their fingerprints."""
        scan = self._sources.read(name_roots([folder]))
        documents = (self._documents.read(source, (source.path,)) for source in scan.sources)
        chunks = [chunk for document in documents for chunk in self._chunker.chunk(document)]
        self._table.add(fingerprints(chunks))


# What writes, and is killed.


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        seconds: How long it usually runs.
        writing: How much of that it holds the lock.
        stays: It does not end by itself.
    """

    arguments: tuple[str, ...]
    seconds: float
    writing: float
    stays: bool = False

    @property
    def name(self) -> str:
        """How the table calls it."""
        return " ".join(self.arguments)


class Chaos:
    """All rounds, and what came of them."""

    def __init__(self, work: Path, seed: int) -> None:
        self._work = work
        self._index = work / "home" / "index"
        self._log = work / "writer.log"
        self._chance = Random(seed)  # noqa: S311 - nothing here is a secret
        self._settings = bootstrap.load_settings()
        self._memory = Memory(work, self._settings, self._chance)
        self._kills: Counter[tuple[str, str]] = Counter()
        self._faults: list[str] = []

    def run(self, rounds: int) -> int:
        """Run the rounds and the quiet end, print the table, return the exit code."""
        started = time.monotonic()
        commands = self._measure()
        readers = [Reader(self._work) for _ in range(2)]
        try:
            for _ in range(rounds):
                self._round(self._chance.choice(commands))
        finally:
            tally = Tally()
            for reader in readers:
                tally.add(reader.stop())
        lost = self._settle()
        self._show(rounds, tally, lost, time.monotonic() - started)
        return 1 if tally.failed or tally.mixed or lost or self._faults else 0

    def _measure(self) -> list[Command]:
        """Index the folder for the first time, and see how long each command runs."""
        self._report("index", str(self._memory.folder))
        self._memory.change()
        commands = [self._timed("index"), self._timed("index", "--rebuild")]
        commands *= 2
        if re.search(r"^\W*watch\b", self._say("--help"), re.MULTILINE):
            commands.append(Command(("watch",), commands[0].seconds + 2, commands[0].writing, stays=True))
        return commands

    def _timed(self, *arguments: str) -> Command:
        started = time.monotonic()
        report = self._report(*arguments)
        return Command(arguments, time.monotonic() - started, report["took_ms"] / 1000)

    def _round(self, command: Command) -> None:
        for _ in range(self._chance.randint(1, 3)):
            self._memory.change()
        before = self._current()
        with (
            self._log.open("wb") as log,
            subprocess.Popen([*PROGRAM, *command.arguments], stdout=log, stderr=log) as process,
        ):
            try:
                self._wait(process, command)
            finally:
                process.kill()
                process.wait()
        self._kills[command.name, self._moment(process, before)] += 1
        if process.returncode >= 0 and (command.stays or process.returncode not in EXIT_DONE):
            self._fault(f"{command.name} ended with {process.returncode}: {self._log.read_text()[-500:]}")

    def _wait(self, process: subprocess.Popen[bytes], command: Command) -> None:
        """Let it run until the moment at which it will be killed."""
        choice = self._chance.random()
        if choice < 0.1:
            return
        if choice < 0.2 and not command.stays:
            self._let_end(process, command)
        elif choice < 0.5:
            seconds = self._chance.uniform(0, command.seconds * 1.2)
            self._let_run(process, seconds / 2)
            if command.stays:
                self._memory.change()
            self._let_run(process, seconds / 2)
        else:  # the part of its life in which it could do harm is short
            seen, longest = self._chance.choice(self._sights(process, command))
            deadline = time.monotonic() + command.seconds * 3
            while not seen() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.0005)
            self._let_run(process, self._chance.uniform(0, longest))

    def _sights(
        self, process: subprocess.Popen[bytes], command: Command
    ) -> list[tuple[Callable[[], bool], float]]:
        """Return what can be waited for, and for how many seconds at most it may then go on."""
        newest = self._newest()
        staging = self._index / f"next-{process.pid}"
        return [
            (lambda: self._is_locked_by(process), command.writing),
            (staging.exists, command.writing / 2),
            ((staging / "manifest.json").exists, 0.05),
            (lambda: self._newest() > newest, 0.005),
        ]

    def _let_end(self, process: subprocess.Popen[bytes], command: Command) -> None:
        try:
            process.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            self._fault(f"{command.name} did not end within {_LIMIT:.0f} s")

    @staticmethod
    def _let_run(process: subprocess.Popen[bytes], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while process.poll() is None and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))

    def _is_locked_by(self, process: subprocess.Popen[bytes]) -> bool:
        return (self._index / "lock").read_text() == f"process {process.pid}"

    def _moment(self, process: subprocess.Popen[bytes], before: str) -> str:
        """Return what it was doing, by what it left behind."""
        if process.returncode >= 0:
            return "ended"
        if not self._is_locked_by(process):
            return "published" if self._current() != before else "starting"
        if self._current() != before:
            return "published"
        if self._newest() > before:
            return "publishing"
        return "writing" if (self._index / f"next-{process.pid}").exists() else "reading"

    def _newest(self) -> str:
        return max(path.name for path in (self._index / "generations").glob("[0-9]*"))

    def _current(self) -> str:
        return (self._index / "current").read_text()

    def _settle(self) -> int:
        """Run once in quiet; return how many files are not in the index as they are in the folder."""
        first, *again = [self._report("index") for _ in range(3)]
        names = ("added", "changed", "moved", "retired", "removed")
        for report in again:
            if any(report[name] for name in names) or report["generation"] != first["generation"]:
                self._fault(f"a quiet run found something to do: {report}")
        if "--verify" in self._say("stats", "--help"):
            self._say("stats", "--verify")
        reader = bootstrap.make_store(self._settings).read()
        chunks = list(reader.chunks()) if reader else []
        held = {(path, chunk.sha256) for chunk in chunks if not chunk.retired for path in chunk.paths}
        scan = SourceReader(self._settings.memory).read(name_roots([self._memory.folder]))
        present = {(source.path, source.sha256) for source in scan.sources}
        self._faults += [f"not in the folder: {path}" for path, _ in sorted(held - present)]
        self._faults += [f"lost: {path}" for path, _ in sorted(present - held)]
        return len(present - held)

    def _say(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed."""
        result = subprocess.run(
            [*PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=5 * _LIMIT
        )
        if result.returncode not in EXIT_DONE:
            self._fault(f"{arguments} ended with {result.returncode}: {result.stdout}{result.stderr}")
        return result.stdout

    def _report(self, *arguments: str) -> dict[str, Any]:
        printed = self._say(*arguments, "--json")
        if not printed:
            raise SystemExit(self._faults[-1])  # without this run the rest would tell nothing
        report: dict[str, Any] = json.loads(printed)
        return report

    def _fault(self, text: str) -> None:
        self._faults.append(text)

    def _show(self, rounds: int, tally: Tally, lost: int, seconds: float) -> None:
        print(f"{'killed while':16}" + "".join(f"{moment:>12}" for moment in _MOMENTS))
        for name in sorted({name for name, _ in self._kills}):
            print(f"{name:16}" + "".join(f"{self._kills[name, moment]:12}" for moment in _MOMENTS))
        counts = {
            "rounds": rounds,
            "seconds": round(seconds),
            "files at the end": sum(1 for _ in self._memory.folder.rglob("*.md")),
            "generations read": len(tally.generations),
            "reads": tally.reads,
            "failed reads": tally.failed,
            "mixed reads": tally.mixed,
            "lost documents": lost,
            "other faults": len(self._faults) - lost,
        }
        for name, count in counts.items():
            print(f"{name:16}{count:12}")
        for fault in [*self._faults, *tally.faults][:20]:
            print(fault)


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
            tally = self._connection.recv() if self._connection.poll(_LIMIT) else None
        except (OSError, EOFError):
            tally = None
        self._process.join(1)
        self._process.kill()
        self._process.join()
        if isinstance(tally, Tally):
            return tally
        return Tally(failed=1, faults=[f"a reader hung or died: {self._process.exitcode}"])


if __name__ == "__main__":
    sys.exit(main())
