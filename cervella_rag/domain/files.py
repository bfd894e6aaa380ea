"""Files of the memory: found, read, and told what they say about themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What sort of record a document is."""

    DECISION = "decision"
    LESSON = "lesson"
    RESEARCH = "research"
    SESSION = "session"
    STATE = "state"
    ROADMAP = "roadmap"
    IDEA = "idea"
    REPORT = "report"
    HANDOFF = "handoff"
    CONSCIOUSNESS = "consciousness"
    RULE = "rule"
    PERSONA = "persona"
    SPECIFICATION = "specification"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder (or a single file) that belongs to the memory.

    Attributes:
        name: Short name, unique among the roots; it is what hits and citations show.
        location: Absolute path on this machine.
    """

    name: str
    location: Path


@dataclass(frozen=True, slots=True)
class Source:
    """A readable text file of the memory.

    Attributes:
        root: Name of the root that holds it.
        path: Path relative to the root, "/" separated.
        sha256: Hex digest of the file's bytes.
        text: Content decoded as UTF-8, line ends normalised to LF, so line numbers stay true.
    """

    root: str
    path: str
    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a folder where `path` ends with "/", left out by a named rule."""

    root: str
    path: str
    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A file or folder that should have been indexed and could not be; `reason` says why."""

    root: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found under the roots, in path order."""

    sources: tuple[Source, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A run of lines that markdown sees as one thing.

    Attributes:
        kind: "heading", "paragraph", "list_item", "table", "code" or "rule".
        start_line: First line, 1-based.
        end_line: Last line, inclusive.
        level: Heading level 1-6, otherwise 0.
        title: Heading text without markup, otherwise "".
    """

    kind: str
    start_line: int
    end_line: int
    level: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a document says about itself, in its header, name, place and footer.

    Attributes:
        title: First heading, or the file name.
        date: ISO date the document speaks for, or None.
        date_source: Where the date came from: "header", "early", "name", "footer" or "part".
        project: Project the document belongs to, or None.
        session: Working session with its suffix, for example "159e", or None.
        kind: What sort of record it is.
        status: Status as written, trimmed of decoration, or None.
        author: Author as written, or None.
        language: "it", "en" or "pt".
        volatile: True where the file is rewritten in place and ages quickly.
        template: True where the file is an empty form.
        time: When of the day, "HH:MM", where the header says so beside the date.
        superseded_by: Path of the file that took this one's place, as its own header names it.
    """

    title: str
    date: str | None = None
    date_source: str | None = None
    project: str | None = None
    session: str | None = None
    kind: Kind = Kind.OTHER
    status: str | None = None
    author: str | None = None
    language: str = "it"
    volatile: bool = False
    template: bool = False
    superseded_by: str | None = None
    time: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Text and metadata read from one source, with every place that holds the same bytes.

    Attributes:
        source: What was read, secrets and personal data replaced by placeholders.
        paths: All paths with exactly this content under the same root; the first one is its own.
        redacted: How many placeholders there are, by rule.
    """

    source: Source
    metadata: Metadata
    blocks: tuple[Block, ...]
    paths: tuple[str, ...]
    redacted: Mapping[str, int] = field(default_factory=dict)
