"""Chunks of the index become whole records again, and a record becomes the items it lists.

A record is a document as the index holds it: its lines are those of its chunks, so secrets are out
already and line numbers are true in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from cervella_rag.domain import Block, Chunk, Metadata
from cervella_rag.memory.cleaning import clean_line
from cervella_rag.memory.lexical import fold
from cervella_rag.memory.markdown import parse_markdown

ITEM_CHARACTERS = 180
HEADER_LINES = 25
_MOST_LINES = 20_000
"""Of a longer record only these lines are read: a state that long is none."""

_HEADER_FIELD = re.compile(
    r"\s*(?:>\s?)?(?:[-*]\s+)?\*{0,2}([^\W\d][\w .'’-]{1,40}?)\*{0,2}\s*:\*{0,2}\s*(\S.*)$"
)
_ROW_RULE = re.compile(r"[\s|:+-]+")
# Bounded: two runs of blanks side by side would make a long blank line take its square in time.
_SUB_ITEM = re.compile(r"\s{0,40}[|│║]?\s{0,40}(?:[-*+•]|\[[ xX]\])\s+")
_NUMBERED = re.compile(r"\s{0,40}[|│║]?\s{0,40}\d{1,3}[.)]\s+")
_ARROW = re.compile(r"--+>|<--+|==+>|[→↓▼►]")
"""What stands in a drawing, whose words say little one line at a time."""
_REPLACED = re.compile(r"superat|supersed|sostituit|superad|replaced|annullat|obsolet")
_ARCHIVES = frozenset({"archivio", "archive", "arquivo"})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a record says, on one line; `headings` lead to it, without the record's title."""

    text: str
    headings: tuple[str, ...]
    start_line: int
    end_line: int


@dataclass(frozen=True)
class Record:
    """A document as the index holds it.

    Attributes:
        lines: Line n of the file at n - 1; "" where the index holds none.
    """

    root: str
    path: str
    metadata: Metadata
    lines: tuple[str, ...]

    @property
    def is_archived(self) -> bool:
        """Whether its own place says that it is of the past."""
        return not _ARCHIVES.isdisjoint(self.path.lower().split("/")[:-1])

    @property
    def age_key(self) -> tuple[str, int, str]:
        """What orders records from old to new: date, session within the day, path."""
        return self.metadata.date or "", session_number(self.metadata.session), self.path

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """What it lists and says, in order; its header, its quotes and its commands left out."""
        return tuple(_items(self.lines))

    @cached_property
    def fields(self) -> dict[str, tuple[str, int]]:
        """`Key: value` of the header by folded key, with the line; the first of each."""
        found: dict[str, tuple[str, int]] = {}
        for number, line in enumerate(self.lines[:HEADER_LINES], 1):
            if match := _HEADER_FIELD.match(line):
                found.setdefault(fold(match[1]).strip(), (clean_line(match[2]), number))
        return found


def session_number(session: str | None) -> int:
    """Return a session's number, its suffix dropped; 0 without one."""
    match = re.match(r"\d+", session or "")
    return int(match[0]) if match else 0


def is_replaced(status: str | None) -> bool:
    """Tell whether a status says that something else holds now."""
    return bool(_REPLACED.search(fold(status or "")))


def read_records(chunks: Iterable[Chunk]) -> tuple[Record, ...]:
    """Return the live records that chunks are of, in the order of their paths.

    Retired files and empty forms are left out. Of a file in several places the first is named.
    """
    pieces: dict[tuple[str, str], list[Chunk]] = {}
    for chunk in chunks:
        if not chunk.retired and not chunk.metadata.template:
            pieces.setdefault((chunk.root, chunk.path), []).append(chunk)
    return tuple(_record(pieces[place]) for place in sorted(pieces))


def _record(chunks: Sequence[Chunk]) -> Record:
    last = min(max(chunk.end_line for chunk in chunks), _MOST_LINES)
    lines = [""] * last
    for chunk in sorted(chunks, key=lambda chunk: (chunk.start_line, chunk.end_line)):
        for number, line in enumerate(chunk.text.split("\n"), chunk.start_line):
            if number <= last and len(line) > len(lines[number - 1]):
                lines[number - 1] = line
    first = chunks[0]
    return Record(first.root, first.path, first.metadata, tuple(lines))


def _items(lines: Sequence[str]) -> Iterator[Item]:
    path: list[tuple[int, str]] = []
    for block in parse_markdown("\n".join(lines)):
        if block.level:
            above = takewhile(lambda step: step[0] < block.level, path)  # noqa: B023 - used at once
            path = [*above, (block.level, clean_line(block.title))]
            continue
        headings = tuple(title for level, title in path if level > 1)
        for text, start, end in _said(block, lines):
            if any(map(str.isalnum, text)):
                yield Item(shorten(text), headings, start, end)


def _said(block: Block, lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    numbered = list(enumerate(lines[block.start_line - 1 : block.end_line], block.start_line))
    match block.kind:
        case "table":
            for number, line in numbered[1:]:
                if not _ROW_RULE.fullmatch(line):
                    cells = filter(None, (clean_line(cell) for cell in line.split("|")))
                    yield ", ".join(cells), number, number
        case "list_item":
            yield _joined(numbered)
        case "code":
            if not lines[block.start_line - 1].strip(" `~"):  # a language means commands, not prose
                yield from _boxed(numbered)
        case _:
            kept = [pair for pair in numbered if not _is_header(*pair)]
            if kept:
                yield (
                    " ".join(filter(None, (clean_line(line) for _, line in kept))),
                    kept[0][0],
                    kept[-1][0],
                )


def _is_header(number: int, line: str) -> bool:
    is_field = number <= HEADER_LINES and bool(_HEADER_FIELD.match(line))
    return is_field or line.lstrip().startswith(">")


def _joined(numbered: Sequence[tuple[int, str]]) -> tuple[str, int, int]:
    """Return a list's item with those below it on one line."""
    parts: list[str] = []
    for position, (_, line) in enumerate(numbered):
        if not (words := _plain(line)):
            continue
        if position and parts and not _SUB_ITEM.match(line) and not _NUMBERED.match(line):
            parts[-1] = f"{parts[-1]} {words}"
        else:
            parts.append(words)
    return _list_up(parts), numbered[0][0], numbered[-1][0]


def _boxed(numbered: Sequence[tuple[int, str]]) -> Iterator[tuple[str, int, int]]:
    """Return what stands in a box: lines, each with the points set below it."""
    parts: list[str] = []
    first = last = margin = 0
    for number, line in numbered:
        words, indent = "" if _ARROW.search(line) else _plain(line), len(line) - len(line.lstrip(" \t|│║"))
        if words and parts and indent > margin:
            is_point = _SUB_ITEM.match(line) or _NUMBERED.match(line)
            parts = [*parts, words] if is_point else [*parts[:-1], f"{parts[-1]} {words}"]
            last = number
            continue
        if parts:
            yield _list_up(parts), first, last
        parts, first, last, margin = ([words] if words else []), number, number, indent
    if parts:
        yield _list_up(parts), first, last


def _plain(line: str) -> str:
    return clean_line(_NUMBERED.sub("", line, count=1) if _NUMBERED.match(line) else line)


def _list_up(parts: Sequence[str]) -> str:
    first, *others = parts or [""]
    return f"{first.rstrip(' :')}: {'; '.join(others)}" if others else first


def shorten(text: str, characters: int = ITEM_CHARACTERS) -> str:
    """Return `text` on one line, cut at a word where it is longer."""
    text = " ".join(text.split())
    if len(text) <= characters:
        return text
    cut = text[: characters - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"
