"""The memory's files as they are on disk now: what is there, what a path means, what a file says.

Files that only the index does without count here: templates, generated reports, and, where nothing is
read of them, files that are no text. What a rule of privacy leaves out does not exist here either, and
a rule that this program does not know is taken for one.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock

from cervella_rag.domain import Document, ExactSource, Metadata, Refused, Root, Source
from cervella_rag.errors import InvalidRequestError
from cervella_rag.memory.redaction import Redactor
from cervella_rag.memory.sncp import FOOTER_LINES, HEADER_LINES, DocumentReader, relate
from cervella_rag.memory.sources import Entry, SourceReader

TEMPLATE = "template"
COUNTED_RULES = (TEMPLATE, "generated")
"""Rules that leave files out of the index for what they are, not for what they must not show."""

LONGEST_PATH = 1000
QUOTE_CHARACTERS = 300
"""Longest line shown of a file."""
_CACHED_CHARACTERS = 40_000_000
_ENDINGS = ("", ".md", ".markdown", ".txt")


@dataclass(frozen=True, slots=True)
class Found:
    """What a path was found to mean.

    Attributes:
        given: The path as it was given.
        there: Files at that path; several where only a name was given and they share it.
        elsewhere: Files of that name in other places, where there is none at the path.
        folder: The folder at that path, where there is one.
        is_outside: Whether it leads out of the memory, where nothing is looked at.
    """

    given: str
    there: tuple[Entry, ...] = ()
    elsewhere: tuple[Entry, ...] = ()
    folder: Entry | None = None
    is_outside: bool = False

    @property
    def files(self) -> tuple[Entry, ...]:
        """The files it most likely means."""
        return self.there or self.elsewhere


class MemoryFiles:
    """Looks into the folders of the memory.

    Args:
        roots: Returns the folders, asked anew for every request.
        sources: Reads by the rules of the settings.
        documents: Reads what files say about themselves; redacts.
        redactor: Takes secrets out of everything that is searched or shown.
    """

    def __init__(
        self,
        roots: Callable[[], tuple[Root, ...]],
        sources: SourceReader,
        documents: DocumentReader,
        redactor: Redactor,
    ) -> None:
        self._roots = roots
        self._sources = sources
        self._documents = documents
        self._redactor = redactor
        self._redacted: OrderedDict[str, str] = OrderedDict()
        self._read: dict[tuple[str, str], Document] = {}
        self._lock = Lock()

    def now(self) -> Snapshot:
        """Return what is there now.

        Raises:
            RootMissingError: A folder of the memory is not there.
        """
        return Snapshot(self, tuple(self._sources.entries(self._roots(), despite=COUNTED_RULES)))

    def text(self, entry: Entry) -> str | Refused:
        """Return a file's text without secrets, or why it cannot be read."""
        text = self._sources.text(entry)
        if isinstance(text, Refused):
            return text
        key = hashlib.sha256(text.encode()).hexdigest()
        with self._lock:
            if key in self._redacted:
                self._redacted.move_to_end(key)
                return self._redacted[key]
        redacted = self._redactor.redact(text).text
        with self._lock:
            self._redacted[key] = redacted
            while sum(map(len, self._redacted.values())) > _CACHED_CHARACTERS:
                self._redacted.popitem(last=False)
        return redacted

    def document(self, entry: Entry) -> Document | None:
        """Return what a file says about itself, or None where it cannot be read."""
        text = self._sources.text(entry)
        if isinstance(text, Refused) or not any(map(str.isalnum, text)):
            return None
        key = entry.path, hashlib.sha256(text.encode()).hexdigest()
        document = self._read.get(key)
        if document is None:
            source = Source(entry.root.name, entry.path, key[1], _ends(text))
            document = self._documents.read(source, (entry.path,))
            with self._lock:
                self._read[key] = document
        return replace(document, source=replace(document.source, root=entry.root.name))

    def forget_other_documents(self, kept: Iterable[Document]) -> None:
        """Drop what is known of files as they no longer are."""
        keys = {(document.source.path, document.source.sha256) for document in kept}
        with self._lock:
            self._read = {key: document for key, document in self._read.items() if key in keys}


class Snapshot:
    """The files at one moment; texts are read when they are asked for."""

    def __init__(self, memory: MemoryFiles, entries: tuple[Entry, ...]) -> None:
        self._memory = memory
        self.files = tuple(entry for entry in entries if not entry.is_folder)
        self._folders = {(e.root.name, e.path.rstrip("/")): e for e in entries if e.is_folder}
        self._roots = {entry.root.name: entry.root for entry in entries}

    def text(self, entry: Entry) -> str | Refused:
        """Return a file's text without secrets, or why it cannot be read."""
        return self._memory.text(entry)

    def source(self, entry: Entry, first: int | None = None, last: int | None = None) -> ExactSource:
        """Return the place of a fact; of the lines named, as much as is worth showing."""
        metadata = self.metadata(entry)
        lines: list[str] = []
        if first is not None:
            text = self.text(entry)
            lines = [] if isinstance(text, Refused) else text.split("\n")[first - 1 : last or first]
        return ExactSource(
            root=entry.root.name,
            path=entry.path,
            start_line=first,
            end_line=last or first,
            text="\n".join(line[:QUOTE_CHARACTERS] for line in lines),
            title=metadata.title if metadata else PurePosixPath(entry.path).name,
            date=metadata.date if metadata else None,
            session=metadata.session if metadata else None,
            status=metadata.status if metadata else None,
        )

    def metadata(self, entry: Entry) -> Metadata | None:
        """Return what a file says about itself, without what only others say of it."""
        document = None if entry.rule == "not_text" else self._memory.document(entry)
        return document.metadata if document else None

    @cached_property
    def records(self) -> tuple[tuple[Entry, Metadata], ...]:
        """Every text that is a record, no form or generated report, with what is known of it."""
        entries = [entry for entry in self.files if entry.rule is None]
        pairs = [(e, document) for e in entries if (document := self._memory.document(e))]
        related = relate(document for _, document in pairs)
        self._memory.forget_other_documents(document for _, document in pairs)
        return tuple((entry, doc.metadata) for (entry, _), doc in zip(pairs, related, strict=True))

    def find(self, given: str) -> Found:
        """Return what a path means: at its place, by its end, by its name; letters of either case.

        Raises:
            InvalidRequestError: It is too long, or no text.
        """
        parts = self._parts(given)
        if parts is None:
            return Found(given, is_outside=True)
        wanted = _plain("/".join(parts))
        folder = self._folder(wanted)
        if not wanted:
            return Found(given, folder=folder)
        names = [wanted + ending for ending in _ENDINGS]
        there = self._named(names)
        if there and "/" in wanted:  # a whole path beats the end of a longer one
            there = tuple(e for e in there if _plain(e.path) in names) or there
        if there or folder:
            return Found(given, there=there, folder=folder)
        name = wanted.rpartition("/")[2]
        return Found(given, elsewhere=self._named([name + ending for ending in _ENDINGS]))

    def find_record(self, name: str) -> Found:
        """Return the file that a bare name without ending means, also without its date or what follows.

        "BYOK_da" is 20260109_BYOK_da_decidere.md where no other file's name, its date apart, begins so.
        """
        found = self.find(name)
        if found.there or "/" in name:
            return found
        wanted = _plain(name)
        stems = [(_undated(_plain(PurePosixPath(e.path).stem)), e) for e in self.files]
        same = tuple(entry for stem, entry in stems if stem == wanted)
        begun = tuple(entry for stem, entry in stems if stem.startswith(wanted + "_"))
        return Found(name, there=same or begun)

    def within(self, folder: Entry) -> tuple[Entry, ...]:
        """Return every file below a folder."""
        below = f"{folder.path}/" if folder.path else ""
        return tuple(e for e in self.files if e.root == folder.root and e.path.startswith(below))

    def _named(self, names: Iterable[str]) -> tuple[Entry, ...]:
        for name in names:
            end = "/" + name
            if found := tuple(e for e in self.files if ("/" + _plain(e.path)).endswith(end)):
                return found
        return ()

    def _folder(self, wanted: str) -> Entry | None:
        if not wanted:
            return next(iter(self._folders.values()), None)
        known = [(_plain(path), entry) for (_, path), entry in self._folders.items() if path]
        exact = [entry for path, entry in known if path == wanted]
        ends = [entry for path, entry in known if path.endswith("/" + wanted)]
        return next(iter(exact or (ends if len(ends) == 1 else [])), None)

    def _parts(self, given: str) -> list[str] | None:
        """Return the path's parts below a root, or None where it leads out of the memory."""
        if len(given) > LONGEST_PATH or "\0" in given:
            raise InvalidRequestError(field="path", reason="too long, or not a path")
        path = given.strip().replace("\\", "/")
        if path.startswith(("/", "~")):
            pure = PurePosixPath(path)
            inside = [r for r in self._roots.values() if pure.is_relative_to(_folder_of(r.location))]
            if not inside:
                return None
            path = str(pure.relative_to(_folder_of(inside[0].location)))
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            return None
        first = parts[0].lstrip(".").lower() if parts else ""
        is_root = any(first == name.lower() for name in self._roots)
        if is_root and not self._folder(_plain(parts[0])):
            parts = parts[1:]
        return parts


def _folder_of(location: Path) -> PurePosixPath:
    return PurePosixPath(location if location.is_dir() else location.parent)


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _undated(stem: str) -> str:
    digits = stem.replace("-", "")[:8]
    return stem.lstrip("0123456789-").lstrip("_") if digits.isdigit() and len(digits) == 8 else stem


def _ends(text: str) -> str:
    """Return the first and last lines, where a file says what it is; the lines between tell nothing of it.

    Without a heading among the first ones the whole text is read for its title.
    """
    lines = text.split("\n")
    head = lines[: HEADER_LINES + 5]
    if len(lines) < 3 * HEADER_LINES or not any(line.startswith("# ") for line in head):
        return text
    filled = [number for number, line in enumerate(lines) if line.strip()]
    foot = max(len(head), filled[-FOOTER_LINES] if len(filled) >= FOOTER_LINES else 0)
    return "\n".join([*head, *lines[foot:]])
