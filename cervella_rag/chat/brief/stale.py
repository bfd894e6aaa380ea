"""Files that are rewritten in place and were not: their own date or session is far behind the memory's."""

from __future__ import annotations

from collections.abc import Sequence

from cervella_rag.chat.brief.line import BriefLine, of_lines
from cervella_rag.chat.brief.records import HEADER_LINES, Record, session_number
from cervella_rag.chat.brief.time import DAYS, days_behind, newest_session
from cervella_rag.domain import Kind
from cervella_rag.memory.dates import find_date
from cervella_rag.messages import message

SESSIONS_BEHIND = 10
"""In the memory this was built on, ten sessions are a day or two of work."""


def stale_lines(records: Sequence[Record], as_of: str, language: str) -> list[BriefLine]:
    """Return a warning for each volatile file that the memory has left behind, worst first.

    A file in an archive says by its place that it is of the past, and is not warned of. Sessions are
    compared within a project, because every project counts its own.
    """
    found = []
    for record in records:
        if not record.metadata.volatile or record.is_archived:
            continue
        days = days_behind(record.metadata.date, as_of) if record.metadata.date else 0
        newest = _reference(record, records, as_of)
        behind = session_number(newest) - session_number(record.metadata.session)
        sessions = behind if newest and record.metadata.session else 0
        if days > DAYS or sessions >= SESSIONS_BEHIND:
            told = _told(record, as_of, newest if sessions >= SESSIONS_BEHIND else None, language)
            is_state = record.metadata.kind is Kind.STATE or record.path.lower().startswith("stato/")
            found.append((not is_state, -days, -sessions, record.path, told))
    return [told for *_, told in sorted(found, key=lambda entry: entry[:-1])]


def _reference(record: Record, records: Sequence[Record], as_of: str) -> str | None:
    comparable = [
        other
        for other in records
        if (other.root, _counter(other)) == (record.root, _counter(record))
        and (other.metadata.date or "") >= (record.metadata.date or "")
    ]
    return newest_session(comparable, as_of)


def _counter(record: Record) -> str:
    """Return what the record's session is counted in: its project's folder, or the memory itself."""
    parts = [part.lower() for part in record.path.split("/")[:-1]]
    return "/".join(parts[: parts.index("progetti") + 2]) if "progetti" in parts else ""


def _told(record: Record, as_of: str, session: str | None, language: str) -> BriefLine:
    own = record.metadata
    text = message(
        "brief.stale",
        language,
        at=_moment(own.date, own.session, language),
        now=_moment(as_of, session, language),
    )
    first, last = _where(record)
    return of_lines(record, text, first, last)


def _moment(day: str | None, session: str | None, language: str) -> str:
    told = message("brief.session", language, session=session) if session else None
    return ", ".join(filter(None, [day, told]))


def _where(record: Record) -> tuple[int, int]:
    """Return the lines of the header that say how old the file is."""
    own = record.metadata
    lines = [
        number
        for number, line in enumerate(record.lines[:HEADER_LINES], 1)
        if (own.date and find_date(line) == own.date) or (own.session and own.session in line.lower())
    ]
    return (lines[0], lines[-1]) if lines and lines[-1] - lines[0] < HEADER_LINES // 2 else (1, 1)
