"""Time as the memory tells it: its newest date is today, whatever the clock says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from cervella_rag.chat.brief.records import Record, session_number

DAYS = 7


def newest_date(records: Iterable[Record], indexed: str) -> str | None:
    """Return the newest date of the memory.

    A date later than the day after `indexed`, when the index was made, is a slip of the pen and counts
    for nothing: one wrong year must not make everything else look old.
    """
    last = (date.fromisoformat(indexed) + timedelta(days=1)).isoformat()
    dates = [record.metadata.date for record in records if record.metadata.date]
    return max((day for day in dates if day <= last), default=None)


def days_behind(day: str, as_of: str) -> int:
    """Return how many days `day` lies before `as_of`."""
    return (date.fromisoformat(as_of) - date.fromisoformat(day)).days


def within(day: str | None, as_of: str, days: int = DAYS) -> bool:
    """Tell whether a day is one of the last `days` before `as_of`, that day included."""
    return day is not None and 0 <= days_behind(day, as_of) <= days


def newest_session(records: Iterable[Record], as_of: str) -> str | None:
    """Return the highest session among the records of the newest date that have one."""
    dated = [
        record for record in records if record.metadata.session and (record.metadata.date or "") <= as_of
    ]
    day = max((record.metadata.date or "" for record in dated), default="")
    sessions = [record.metadata.session for record in dated if record.metadata.date == day]
    return max(sessions, key=lambda session: (session_number(session), session or ""), default=None)
