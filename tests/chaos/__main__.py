"""Kill writers at random moments while readers read: `python -m tests.chaos 200`.

A copy of a memory changes all the time; every round starts a writer as a real process and kills it.
Two readers, each in its own process, check every generation they see. At the end a quiet run must bring
the index to the state of the folder. Exit code 1 if anything was not as promised.
"""
# ruff: noqa: T201 - printing is what it is for

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from cervella_rag import bootstrap
from cervella_rag.memory.sources import SourceReader, name_roots

from .memory import Memory, enter
from .readers import LIMIT, Reader, Tally

KNOWLEDGE = Path(__file__).parents[2] / "knowledge"
PROGRAM = [sys.executable, "-m", "cervella_rag"]
EXIT_DONE = (0, 3)

ACCEPT = "--accept-deletions"
"""Every change here is meant. Where writers are killed often enough in a row, none publishes for so long
that most of what is indexed is gone; a person would be asked then, and later runs would only refuse."""

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
        return " ".join(argument for argument in self.arguments if argument != ACCEPT)


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
        commands = [self._timed("index", ACCEPT), self._timed("index", "--rebuild", ACCEPT)]
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
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._fault(f"{command.name} did not end within {LIMIT:.0f} s")

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
        first, *again = [self._report("index", ACCEPT) for _ in range(3)]
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
            [*PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=5 * LIMIT
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


if __name__ == "__main__":
    sys.exit(main())
