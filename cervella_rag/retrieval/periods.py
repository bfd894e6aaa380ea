"""The days a question speaks of, in Italian, Portuguese and English, full or leaning on today.

Today is the newest date of the memory: "ieri" asked of a memory that ends in January means January.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta

from cervella_rag.memory.dates import MONTH, MONTH_NUMBERS, find_date

Period = tuple[str, str]
"""First and last day, ISO, inclusive."""

_DAY_AND_MONTH = re.compile(rf"(?i)(?<!\d)(?:(\d{{1,2}})[°º]?\s+(?:de\s+)?{MONTH}|{MONTH}\s+(\d{{1,2}})(?!\d))\b")
_MONTH_ALONE = re.compile(rf"(?i)\b(?:a|di|in|nel mese di|em|de|during)\s+{MONTH}(?:\s+(?:del\s+|de\s+)?(20\d\d))?\b")
_LAST_DAYS = re.compile(
    r"(?i)\b(?:ultim[ei]|last|ultim[ao]s)\s+(\d{1,3})\s+(giorn[oi]|days?|dias?|settiman[ae]|weeks?|semanas?|mes[ei]|months?|meses)"
)
_UNITS = {"g": 1, "d": 1, "s": 7, "w": 7, "m": 30}
_FIXED: tuple[tuple[str, Callable[[date], tuple[date, date]]], ...] = (
    (r"l'altro ieri|day before yesterday|anteontem", lambda day: (day - timedelta(2), day - timedelta(2))),
    (r"\b(?:ieri|yesterday|ontem)\b", lambda day: (day - timedelta(1), day - timedelta(1))),
    (
        r"\b(?:settimana scorsa|scorsa settimana|last week|semana passada)\b",
        lambda day: (day - timedelta(day.weekday() + 7), day - timedelta(day.weekday() + 1)),
    ),
    (
        r"\b(?:questa settimana|this week|esta semana)\b",
        lambda day: (day - timedelta(day.weekday()), day),
    ),
)
_FIXED_RULES = tuple((re.compile(pattern, re.IGNORECASE), days) for pattern, days in _FIXED)


def find_period(text: str, today: str) -> Period | None:
    """Return the days that `text` names, or None.

    Args:
        text: A question.
        today: ISO date that relative days count from; "" where the memory has no date, and then only
            full dates are found.
    """
    if full := find_date(text):
        return full, full
    if not today:
        return None
    now = date.fromisoformat(today)
    for pattern, days in _FIXED_RULES:
        if pattern.search(text):
            first, last = days(now)
            return first.isoformat(), last.isoformat()
    if match := _LAST_DAYS.search(text):
        length = int(match[1]) * _UNITS[match[2][0].lower()]
        return (now - timedelta(length)).isoformat(), now.isoformat()
    return _day_of_month(text, now) or _month(text, now)


def _day_of_month(text: str, now: date) -> Period | None:
    match = _DAY_AND_MONTH.search(text)
    if match is None:
        return None
    number, name = (match[1], match[2]) if match[1] else (match[4], match[3])
    try:
        day = date(now.year, MONTH_NUMBERS[name.lower()], int(number))
    except ValueError:
        return None
    # A day that has not come yet was meant of last year.
    day = day if day <= now + timedelta(31) else day.replace(year=day.year - 1, day=min(day.day, 28))
    return day.isoformat(), day.isoformat()


def _month(text: str, now: date) -> Period | None:
    match = _MONTH_ALONE.search(text)
    if match is None:
        return None
    month = MONTH_NUMBERS[match[1].lower()]
    year = int(match[2]) if match[2] else now.year - (month > now.month)
    return f"{year}-{month:02}-01", f"{year}-{month:02}-{monthrange(year, month)[1]:02}"
