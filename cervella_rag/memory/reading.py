"""Lines of a file as it is now: only of the memory, by its rules, without secrets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from cervella_rag.domain import Refused, Root, Skipped, Source
from cervella_rag.errors import InvalidRequestError, PathUnknownError
from cervella_rag.memory.redaction import Redactor
from cervella_rag.memory.sources import SourceReader

MOST_LINES = 400
_LINE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Lines:
    """A run of lines.

    Attributes:
        start_line: Number of the first, 1-based.
        end_line: Number of the last, inclusive; before `start_line` where there is none.
        total: How many the file has.
    """

    root: str
    path: str
    start_line: int
    end_line: int
    total: int
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LineReader:
    """Reads lines.

    Attributes:
        roots: Returns the folders of the memory, asked anew every time.
        sources: Reads by the rules of the settings.
        redactor: Takes secrets out of the whole file, so that no cut uncovers a part of one.
    """

    roots: Callable[[], tuple[Root, ...]]
    sources: SourceReader
    redactor: Redactor

    def read(
        self, path: str, start_line: int = 1, end_line: int | None = None, root: str | None = None
    ) -> Lines:
        """Return at most `MOST_LINES` lines from `start_line` on.

        Args:
            path: Relative to a root, "/" separated, as hits and citations show it.
            start_line: First line, 1-based.
            end_line: Last line, inclusive; as far as is allowed without one.
            root: Name of the root; without one, the first that has the file.

        Raises:
            PathUnknownError: No root has a file of that path that belongs to the memory.
            InvalidRequestError: It is there and cannot be read, or the lines are none.
        """
        if end_line is not None and end_line < start_line:
            raise InvalidRequestError(field="end_line", reason=f"it is before line {start_line}")
        source = self._find(path, root)
        lines = self.redactor.redact(source.text).text.split("\n")
        last = min(end_line or len(lines), start_line + MOST_LINES - 1, len(lines))
        text = tuple(line[:_LINE_CHARACTERS] for line in lines[start_line - 1 : last])
        return Lines(source.root, source.path, start_line, start_line + len(text) - 1, len(lines), text)

    def _find(self, path: str, root: str | None) -> Source:
        pure = PurePosixPath(path)
        is_plain = path.isprintable() and not pure.is_absolute() and ".." not in pure.parts and pure.parts
        for each in self.roots() if is_plain else ():
            if root is not None and each.name != root:
                continue
            match self.sources.read_one(each, str(pure)):
                case Source() as source:
                    return source
                case Refused(reason=reason):
                    raise InvalidRequestError(field="path", reason=reason)
                case Skipped() | None:
                    continue
        raise PathUnknownError(path=path[:200])
