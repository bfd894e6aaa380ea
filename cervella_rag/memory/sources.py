"""Folders become sources: a walk that reads every text file once and names whatever it leaves out.

A file is skipped when a rule of the settings says so, and refused when it should have been read and
could not be. Nothing outside a root is ever opened.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from pathspec import GitIgnoreSpec

from cervella_rag.domain import Refused, Root, Scan, Skipped, Source
from cervella_rag.errors import RootMissingError
from cervella_rag.settings import MemorySettings

EMPTY = "empty"
"""Rule of files that hold no word: with "not_text" and the like, one of those not in the settings."""

NOT_TEXT = "not_text"
"""Rule of files whose ending is not that of a text."""

_MOST_JUDGED = 100_000
"""Paths whose rules are remembered."""
_REASONS = {errno.EACCES: "permission denied", errno.ENOENT: "it vanished while being read"}


def name_roots(
    locations: Iterable[Path], known: Mapping[str, str] = MappingProxyType({})
) -> tuple[Root, ...]:
    """Give every location a short unique name, in the order given; the same location counts once.

    Args:
        locations: Folders or files.
        known: Names given before, with their locations; a location keeps its name, and no other
            location gets it.

    Raises:
        RootMissingError: A location does not exist or cannot be read.
    """
    names = {Path(location): name for name, location in known.items()}
    roots: dict[Path, Root] = {}
    for given in locations:
        location = given.expanduser().resolve()
        if not os.access(location, os.R_OK):
            raise RootMissingError(path=str(given))
        if location not in names:
            plain = location.name.lstrip(".") or "memory"
            names[location] = next(name for name in _numbered(plain) if name not in names.values())
        roots[location] = Root(names[location], location)
    return tuple(roots.values())


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder that is there, not opened yet.

    Attributes:
        path: Relative to the root, "/" separated; "" is the root itself.
        rule: The rule by which the index leaves it out, or None.
        is_folder: A folder; its files are entries of their own.
    """

    root: Root
    path: str
    location: Path
    rule: str | None = None
    is_folder: bool = False


class SourceReader:
    """Reads the text files under roots, by the rules of the settings.

    Args:
        settings: The rules; letters of either case match.
        own_data: Folder of the program's own data, never read even where it lies under a root.
    """

    def __init__(self, settings: MemorySettings, own_data: Path | None = None) -> None:
        self._max_bytes = settings.max_file_bytes
        self._suffixes = frozenset(settings.text_suffixes)
        self._own_data = own_data
        self._rules = {
            name: GitIgnoreSpec.from_lines(line.lower() for line in lines)
            for name, lines in settings.skip.items()
        }
        self._denied = {
            root: GitIgnoreSpec.from_lines(line.lower() for line in lines)
            for root, lines in settings.deny.items()
        }
        self._judged: dict[tuple[str, str, tuple[str, ...]], str | None] = {}

    def read(self, roots: Iterable[Root]) -> Scan:
        """Read everything under `roots`, in path order; a file under two roots belongs to the first.

        Raises:
            RootMissingError: A root vanished or cannot be listed, so nothing can be said of its files.
        """
        sources: list[Source] = []
        skipped: list[Skipped] = []
        refused: list[Refused] = []
        seen: set[Path] = set()
        for root in roots:
            for path, file in self._walk(root, skipped, refused):
                if file in seen:
                    skipped.append(Skipped(root.name, path, "in_another_root"))
                    continue
                seen.add(file)
                match self._read_file(root, path, file):
                    case Source() as source:
                        sources.append(source)
                    case Skipped() as skip:
                        skipped.append(skip)
                    case Refused() as refusal:
                        refused.append(refusal)
        return Scan(tuple(sources), tuple(skipped), tuple(refused))

    def entries(self, roots: Iterable[Root], *, despite: Collection[str] = ()) -> Iterator[Entry]:
        """Yield every folder and regular file that no rule leaves out, opening none.

        Args:
            roots: Where to look; what lies under two of them belongs to the first.
            despite: Rules that may leave a file out of the index and not out of here. A file that
                another rule leaves out as well stays out.

        Raises:
            RootMissingError: A root vanished or cannot be listed.
        """
        seen: set[Path] = set()
        for root in roots:
            folders: list[str] = [""]
            for path, file in self._walk(root, [], [], folders):
                if file in seen or not _is_regular(file) or self._rule(root, path, besides=despite):
                    continue
                seen.add(file)
                rule = self._rule(root, path)
                if rule is None and file.suffix.lower() not in self._suffixes:
                    rule = NOT_TEXT
                yield Entry(root, path, file, rule)
            for path in folders if root.location.is_dir() else ():
                yield Entry(root, path, root.location / path, is_folder=True)

    def text(self, entry: Entry) -> str | Refused:
        """Return a file's text as it is now, line ends as LF, or why it cannot be read."""
        try:
            if not _is_regular(entry.location):
                return Refused(entry.root.name, entry.path, "not a regular file")
            return _decode(_read_bytes(entry.location, self._max_bytes, entry.root))
        except _UnreadableError as error:
            return Refused(entry.root.name, entry.path, str(error))
        except OSError as error:
            return Refused(entry.root.name, entry.path, _reason(error))

    def read_one(self, root: Root, path: str) -> Source | Skipped | Refused | None:
        """Read one file of a root by the same rules; None where there is none, or a link leads to it."""
        file = root.location if root.location.is_file() else root.location / path
        try:
            is_there = file.name == path or file.resolve(strict=True) == root.location.resolve() / path
        except (OSError, RuntimeError, ValueError):
            return None
        above = [f"{folder}/" for folder in list(map(str, PurePosixPath(path).parents))[:-1]]
        if any(self._rule(root, folder) for folder in above):
            return None
        is_own = self._own_data is not None and file.is_relative_to(self._own_data)
        if not is_there or is_own or not file.is_file() or _relative(root, file) not in (path, "."):
            return None
        return self._read_file(root, path, file)

    def _walk(
        self,
        root: Root,
        skipped: list[Skipped],
        refused: list[Refused],
        entered: list[str] | None = None,
    ) -> Iterator[tuple[str, Path]]:
        if root.location.is_file():
            yield root.location.name, root.location
            return
        folders = [root.location]
        while folders:
            folder = folders.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                if folder == root.location:
                    raise RootMissingError(path=str(root.location)) from error
                refused.append(Refused(root.name, _relative(root, folder) + "/", _reason(error)))
                continue
            below = "" if folder == root.location else _relative(root, folder) + "/"
            for entry in entries:
                path, place = below + _shown(entry.name), folder / entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield path, place
                elif rule := self._folder_rule(root, path + "/", place):
                    skipped.append(Skipped(root.name, path + "/", rule))
                else:
                    folders.append(place)
                    if entered is not None:
                        entered.append(path)

    def _folder_rule(self, root: Root, path: str, folder: Path) -> str | None:
        return "own_data" if folder == self._own_data else self._rule(root, path)

    def _rule(self, root: Root, path: str, *, besides: Collection[str] = ()) -> str | None:
        # The rules stay and paths come again: a question about the files asks of all of them.
        key, judged = (root.name, path, tuple(besides)), self._judged
        if key not in judged:
            if len(judged) >= _MOST_JUDGED:
                self._judged = judged = {}
            judged[key] = self._judge(root, path, besides)
        return judged[key]

    def _judge(self, root: Root, path: str, besides: Collection[str]) -> str | None:
        # A pattern's `.` matches no line end, and a folder's name may hold one.
        plain = path.lower().replace("\n", " ").replace("\r", " ")
        denied = self._denied.get(root.name)
        if denied and denied.match_file(plain):
            return "denied"
        return next(
            (name for name, spec in self._rules.items() if name not in besides and spec.match_file(plain)),
            None,
        )

    def _read_file(self, root: Root, path: str, file: Path) -> Source | Skipped | Refused:
        try:
            if excluded := self._exclusion(root, path, file):
                return excluded
            data = _read_bytes(file, self._max_bytes, root)
            text = _decode(data)
        except _UnreadableError as error:
            return Refused(root.name, path, str(error))
        except OSError as error:
            return Refused(root.name, path, _reason(error))
        if not any(map(str.isalnum, text)):
            return Skipped(root.name, path, EMPTY)
        return Source(root.name, path, hashlib.sha256(data).hexdigest(), text)

    def _exclusion(self, root: Root, path: str, file: Path) -> Skipped | Refused | None:
        if rule := self._rule(root, path):
            return Skipped(root.name, path, rule)
        if file.is_symlink():
            return _judge_symlink(root, path, file)
        if file.suffix.lower() not in self._suffixes:
            return Skipped(root.name, path, NOT_TEXT)
        return None


class _UnreadableError(Exception):
    """A file's content cannot be taken as text."""


def _relative(root: Root, path: Path) -> str:
    return _shown(path.relative_to(root.location).as_posix())


def _shown(path: str) -> str:
    # A name that is not UTF-8 must still be shown and stored as text, and like no other file's.
    return os.fsencode(path).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _is_regular(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return False


def _judge_symlink(root: Root, path: str, link: Path) -> Skipped | Refused:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return Refused(root.name, path, "symbolic link that leads nowhere")
    if target.is_relative_to(root.location.resolve()):
        return Skipped(root.name, path, "symlink_inside")  # what it points to is read in its own place
    return Refused(root.name, path, "symbolic link that leaves its root")


def _read_bytes(file: Path, limit: int, root: Root) -> bytes:
    # Opened without waiting and without following links, then checked on the open file: a name can
    # change between the check and the read, and opening a FIFO to read would hang.
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _UnreadableError("not a regular file")
        # A folder above it may have become a link since it was listed: what was opened must be what
        # lies there, and that must lie within the root.
        real = file.resolve(strict=True)
        inside = real.is_relative_to(root.location.resolve())
        if not inside or not os.path.samestat(real.stat(), status):
            raise _UnreadableError("it moved while being read")
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise _UnreadableError(f"larger than {limit:,} bytes (memory.max_file_bytes)")
    return data


def _decode(data: bytes) -> str:
    if b"\0" in data:
        raise _UnreadableError("contains NUL bytes, so it is not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnreadableError(
            f"not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start})"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
