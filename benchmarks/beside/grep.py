"""Search without an index: lines with the most words of the question first, each with its neighbours.

With ripgrep where it is installed, else the same in Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .system import Passage

_SHORTEST = 4
_AROUND = 5
"""Lines shown before and after a line that is found."""
_FOUND = 10


class Grep:
    """See `System`."""

    def __init__(self, place: Path) -> None:
        self._program = shutil.which("rg")

    @property
    def name(self) -> str:
        """Which of the two it is."""
        return "ripgrep" if self._program else "grep in Python"

    def index(self, folder: Path) -> int:
        """See `System`: there is nothing to do."""
        self._folder = folder
        return 0

    def search(self, question: str) -> list[Passage]:
        """See `System`."""
        words = {word for word in re.findall(r"\w+", question.lower()) if len(word) >= _SHORTEST}
        if not words:
            return []
        lines = self._ripgrep(words) if self._program else self._read(words)
        best = sorted(
            ((-sum(word in line.lower() for word in words), path, number) for path, number, line in lines)
        )
        return [self._passage(path, number) for _, path, number in best[:_FOUND]]

    def _ripgrep(self, words: set[str]) -> Iterator[tuple[str, int, str]]:
        patterns = [part for word in sorted(words) for part in ("-e", word)]
        done = subprocess.run(  # noqa: S603 - words are patterns of fixed strings
            [str(self._program), "-inF0", "--no-heading", *patterns, "."],
            cwd=self._folder,
            capture_output=True,
            check=False,  # 1 means that nothing was found
        )
        for found in done.stdout.decode("utf-8", "replace").splitlines():
            path, _, rest = found.partition("\0")
            number, _, line = rest.partition(":")
            if path and number.isdecimal():
                yield path.removeprefix("./"), int(number), line

    def _read(self, words: set[str]) -> Iterator[tuple[str, int, str]]:
        pattern = re.compile("|".join(map(re.escape, sorted(words))))
        for file in sorted(self._folder.rglob("*.md")):
            path = str(file.relative_to(self._folder))
            for number, line in enumerate(file.read_text("utf-8", "replace").lower().split("\n"), 1):
                if pattern.search(line):
                    yield path, number, line

    def _passage(self, path: str, number: int) -> Passage:
        lines = (self._folder / path).read_text("utf-8", "replace").split("\n")
        return Passage(path, "\n".join(lines[max(0, number - 1 - _AROUND) : number + _AROUND]))
