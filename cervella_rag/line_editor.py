"""What a person types, line by line: edited and remembered in a terminal, taken as it comes from a pipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory
from prompt_toolkit.output import create_output

_log = logging.getLogger(__name__)

_REMEMBERED = 1000
"""Lines that the arrow keys reach; what is older stays in the file."""

ReadLine = Callable[[], str | None]
"""Returns the next line, "" where the person took it back, None at the end."""


def make_line_reader(
    prompt: str, history: Path, commands: Sequence[str], redact: Callable[[str], str]
) -> ReadLine:
    """Return what reads lines from standard input.

    Args:
        prompt: What stands before each line, in a terminal.
        history: File that remembers the lines from one time to the next.
        commands: Words that the tab key completes.
        redact: Takes secrets out of what is remembered.
    """
    if not sys.stdin.isatty():
        return _read_plain
    session: PromptSession[str] = PromptSession(
        prompt,
        history=_History(history, redact),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        output=create_output(always_prefer_tty=True),  # standard output may be a file
    )

    def read() -> str | None:
        try:
            return session.prompt()
        except KeyboardInterrupt:
            return ""
        except EOFError:
            return None

    return read


def _read_plain() -> str | None:
    line = sys.stdin.readline()
    return line.removesuffix("\n") if line else None


class _History(FileHistory):
    """Lines kept in a file of the person's own, without secrets; where it fails, nothing is kept."""

    def __init__(self, path: Path, redact: Callable[[str], str]) -> None:
        super().__init__(str(path))
        self._path = path
        self._redact = redact

    def load_history_strings(self) -> Iterable[str]:
        """Return the newest lines, newest first."""
        try:
            return list(islice(super().load_history_strings(), _REMEMBERED))
        except OSError as error:
            _log.info("%s", error)
            return []

    def store_string(self, string: str) -> None:
        """Remember a line."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            super().store_string(self._redact(string))
        except OSError as error:
            _log.info("%s", error)
