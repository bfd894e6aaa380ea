"""What files say about themselves becomes lists of records, the newest one, or one file's own card."""

from __future__ import annotations

import re

from cervella_rag.domain import Exact, Filters, Metadata, Refused
from cervella_rag.errors import MemoryFileRefusedError, MemoryFileUnknownError
from cervella_rag.memory.exact.files import QUOTE_CHARACTERS, Snapshot
from cervella_rag.memory.exact.operations import MOST_SHOWN, MOST_SOURCES, line_count
from cervella_rag.memory.lexical import stems
from cervella_rag.memory.sncp import HEADER_LINES
from cervella_rag.memory.sources import Entry


def list_records(files: Snapshot, filters: Filters, *, text: str = "") -> Exact:
    """List the records that meet conditions, the newest first.

    Args:
        files: What is there.
        filters: The conditions; those that are None are none.
        text: What they must be about: its words in title or path.
    """
    found = _records(files, filters, text)
    shown = [_card(entry, metadata) for entry, metadata in found[:MOST_SHOWN]]
    details: dict[str, object] = {**_conditions(filters, text), "only_count": False, "records": shown}
    sources = tuple(files.source(entry, 1) for entry, _ in found[:MOST_SOURCES])
    return Exact("list", len(found), sources, details, complete=bool(found))


def newest(files: Snapshot, filters: Filters, *, text: str = "") -> Exact:
    """Find the newest record that meets conditions, by the date it gives itself.

    Returns:
        A fact whose value is a path, or None where no record with a date meets them.
    """
    dated = [(e, m) for e, m in _records(files, filters, text) if m.date]
    about_in = "title"
    if not dated and text:
        named = [(e, m) for e, m in _records(files, filters, "") if m.date and _names(files, e, text)]
        dated, about_in = named, "text"
    same_day = [pair for pair in dated if pair[1].date == dated[0][1].date]
    details: dict[str, object] = {
        **_conditions(filters, text),
        "about_in": about_in,
        "records": [_card(entry, metadata) for entry, metadata in same_day[:MOST_SHOWN]],
    }
    sources = tuple(files.source(entry, 1) for entry, _ in same_day[:MOST_SOURCES])
    return Exact("newest", dated[0][0].path if dated else None, sources, details)


def _names(files: Snapshot, entry: Entry, about: str) -> bool:
    text = files.text(entry)
    return isinstance(text, str) and stems(about) <= stems(text)


def _records(files: Snapshot, filters: Filters, text: str) -> list[tuple[Entry, Metadata]]:
    about = stems(text)
    kept = [
        (entry, metadata)
        for entry, metadata in files.records
        if entry.path.startswith(filters.path_prefix or "")
        and _meets(metadata, filters)
        and about <= stems(f"{entry.path} {metadata.title}")
    ]
    kept.sort(key=lambda pair: pair[0].path)
    return sorted(kept, key=lambda pair: (pair[1].date or "", _session_order(pair[1])), reverse=True)


def _session_order(metadata: Metadata) -> tuple[int, str]:
    match = re.match(r"(\d+)(.*)", metadata.session or "")
    return (int(match[1]), match[2]) if match else (0, "")


def _meets(metadata: Metadata, filters: Filters) -> bool:
    dated = metadata.date or ""
    session = filters.session and filters.session.lower()
    return (
        (filters.kind is None or metadata.kind == filters.kind)
        and (filters.project is None or metadata.project == filters.project.lower())
        # 159 also finds 159e, as in a search.
        and (not session or bool(re.fullmatch(rf"{re.escape(session)}[a-z]?", metadata.session or "")))
        and (filters.since is None or dated >= filters.since)
        and (filters.until is None or "" < dated <= filters.until)
    )


def _conditions(filters: Filters, text: str) -> dict[str, object]:
    names = ("kind", "project", "session", "since", "until")
    return {**{name: getattr(filters, name) for name in names}, "about": text, "about_in": "title"}


def _card(entry: Entry, metadata: Metadata) -> dict[str, object]:
    return {
        "path": entry.path,
        "title": metadata.title[:QUOTE_CHARACTERS],
        "date": metadata.date,
        "session": metadata.session,
        "project": metadata.project,
        "kind": str(metadata.kind),
        "status": metadata.status,
    }


def record(files: Snapshot, path: str, asked: str | None = None) -> Exact:
    """Tell what a file says of itself: lines, date, session, status, author.

    Args:
        files: What is there.
        path: A path, or a bare name that only one file bears.
        asked: The one thing that is asked for, or None for all.

    Raises:
        MemoryFileUnknownError, MemoryFileRefusedError: The file is not there, or cannot be read.
    """
    found = files.find_record(path)
    if len(found.files) != 1:
        raise MemoryFileUnknownError(path=path)
    entry = found.files[0]
    text = files.text(entry)
    if isinstance(text, Refused):
        raise MemoryFileRefusedError(path=entry.path, reason=text.reason)
    metadata = dict(files.records).get(entry) or files.metadata(entry)
    card = _card(entry, metadata) if metadata else {"path": entry.path}
    author = metadata.author if metadata else None
    details = {**card, "lines": line_count(text), "author": author, "asked": asked}
    details["moved"] = not found.there
    value = details[asked] if asked else {n: details.get(n) for n in ("lines", "date", "session", "status")}
    telling = str(details.get(asked or "") or details.get("status") or "")
    place = _line_that_says(text, telling)
    return Exact("record", value, (files.source(entry, place),), details, complete=asked is not None)


def _line_that_says(text: str, said: str) -> int:
    """Return the line of the header that holds what was said, or the first."""
    wanted = stems(said)
    lines = text.split("\n")[:HEADER_LINES]
    holding = (number for number, line in enumerate(lines, 1) if wanted and wanted <= stems(line))
    return next(holding, 1)
