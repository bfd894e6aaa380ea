"""Days and spans as people ask for them: "di gennaio", "dal 9 all'11 gennaio", "last 7 days".

Texts are given in lower case without accents. A day without a year is the last such day up to a month
after the newest date of the memory, since that is what a person who looks back means.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta

from cervella_rag.memory.dates import MONTH_NUMBERS
from cervella_rag.memory.lexical import fold

_MONTHS = {fold(name): number for name, number in MONTH_NUMBERS.items()}
_MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")(?![a-z])\.?"
_DAY = (
    r"(?:20\d\d-\d\d-\d\d"
    rf"|\d{{1,2}}[°º]?(?:st|nd|rd|th)? (?:de |of )?{_MONTH}(?:,? (?:de |del )?20\d\d)?"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?!\d)(?:,? 20\d\d)?"
    r"|\d{1,2}[/.]\d{1,2}[/.]20\d\d)"
)
_SPAN = rf"(?:{_DAY}|{_MONTH}(?: (?:del |de )?20\d\d)?|20\d\d)"
_THE = r"(?:il |l'|lo |the |o |dia )?"

_BETWEEN = re.compile(
    rf"(?:dal? |dall'|tra |fra |from |between |de |do |entre )?{_THE}(?P<first>{_SPAN}|\d{{1,2}}) "
    rf"(?:e |ed |al? |all'|fino al |to |and |until |ao? |ate )+{_THE}(?P<last>{_SPAN})"
)
_SINCE = re.compile(
    rf"(?:dal? |dall'|dopo |a partire dal? |since |after |from |desde |a partir de |depois de ){_THE}"
    rf"(?P<first>{_SPAN})(?: in poi| onwards?| on| em diante)?"
)
_UNTIL = re.compile(
    rf"(?:fino a |fino al |fino all'|entro |prima del? |prima dell'|until |before |by |ate |antes de )"
    rf"{_THE}(?P<last>{_SPAN})"
)
_EXCLUDES = re.compile(r"(?:dopo|after|depois|prima|before|antes)\b")
_LATELY = re.compile(
    r"(?:degli |negli |dei |nei |of the |in the |the |dos |nos |dell'|nell'|da |na )?"
    r"(?:ultim[iaoe]s?|last|past) (?:(?P<count>\d{1,3}) )?"
    r"(?:(?P<days>giorni|giorno|days?|dias?)|(?P<weeks>settiman[ae]|weeks?|semanas?)|(?P<months>mes[ei]|"
    r"months?|mes(?:es)?))"
)
_DURING = re.compile(
    rf"(?:di |del |dell'|il |l'|a |ad |in |nel |nell'|of |on |for |de |do |em |no )?{_THE}"
    rf"(?:mese di |mes de |month of )?(?P<span>{_SPAN})"
)

_NAMED_MONTH = re.compile(
    rf"\b(?:a|di|in|nel mese di|em|de|during) (?=\w{{4}}){_MONTH}(?: (?:del |de )?20\d\d)?(?! \d)"
)
"""A month by its whole name: "mar" and "set" are other words too."""
_NAMED_DAY = re.compile(rf"(?<!\d){_DAY}")
_RELATIVE: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"l'altro ieri|day before yesterday|anteontem"), 2),
    (re.compile(r"\b(?:ieri|yesterday|ontem)\b"), 1),
)
"""Days before the newest record."""

_AHEAD = timedelta(days=31)
"""How far after the newest record a day without a year may lie: records speak of plans."""

Span = tuple[str | None, str | None]
"""First and last day, ISO, inclusive; None where it is open."""


def find_span(text: str, newest: str) -> Span | None:
    """Return what the whole of `text` means, or None where it is no span of days.

    Args:
        text: Folded, without blank space around it.
        newest: ISO date of the newest record.
    """
    try:
        return _find(text, date.fromisoformat(newest))
    except (ValueError, OverflowError):  # the 31st of February
        return None


def span_in(text: str, newest: str) -> Span | None:
    """Return the days that a part of `text` means, the clearest first, or None.

    Args:
        text: A folded question.
        newest: ISO date of the newest record.
    """
    for pattern, days in _RELATIVE:
        if pattern.search(text):
            day = (date.fromisoformat(newest) - timedelta(days)).isoformat()
            return day, day
    for pattern in (_NAMED_DAY, _LATELY, _NAMED_MONTH):
        if (found := pattern.search(text)) and (span := find_span(found[0].strip(), newest)):
            return span
    return None


def find_day(text: str, newest: str) -> str | None:
    """Return the one day that the whole of `text` means, or None."""
    span = find_span(text, newest)
    return span[0] if span and span[0] == span[1] else None


def _find(text: str, newest: date) -> Span | None:
    return _closed(text, newest) or _open(text, newest)


def _closed(text: str, newest: date) -> Span | None:
    if found := _BETWEEN.fullmatch(text):
        last = _days(found["last"], newest)
        first = found["first"]
        if first.isdigit() and len(first) < 3:  # "dal 9 all'11 gennaio" names the month once
            begin = last[1].replace(day=int(first))
        else:
            begin = _days(first, last[1] if re.search(_MONTH, first) else newest)[0]
        return begin.isoformat(), last[1].isoformat()
    if found := _DURING.fullmatch(text):
        first_day, last_day = _days(found["span"], newest)
        return first_day.isoformat(), last_day.isoformat()
    return None


def _open(text: str, newest: date) -> Span | None:
    if found := _LATELY.fullmatch(text):
        days = int(found["count"] or 1) * (1 if found["days"] else 7 if found["weeks"] else 30)
        return (newest - timedelta(days - 1)).isoformat(), None
    excludes = bool(_EXCLUDES.match(text))
    if found := _SINCE.fullmatch(text):
        first_day, last_day = _days(found["first"], newest)
        return (last_day + timedelta(1) if excludes else first_day).isoformat(), None
    if found := _UNTIL.fullmatch(text):
        first_day, last_day = _days(found["last"], newest)
        return None, (first_day - timedelta(1) if excludes else last_day).isoformat()
    return None


def _days(text: str, newest: date) -> tuple[date, date]:
    """Return the first and last day of a day, a month or a year."""
    if iso := re.fullmatch(r"(20\d\d)-(\d\d)-(\d\d)", text):
        return (day := date(int(iso[1]), int(iso[2]), int(iso[3]))), day
    if figures := re.fullmatch(r"(\d{1,2})[/.](\d{1,2})[/.](20\d\d)", text):
        return (day := date(int(figures[3]), int(figures[2]), int(figures[1]))), day
    named_year = re.search(r"20\d\d", text)
    year = int(named_year[0]) if named_year else newest.year
    named_month = re.search(_MONTH, text)
    if named_month is None:
        return date(year, 1, 1), date(year, 12, 31)
    month = _MONTHS[named_month[0].rstrip(".")]
    rest = text.replace(named_year[0], "") if named_year else text
    number = re.search(r"\d{1,2}", rest)
    first = date(year, month, int(number[0]) if number else 1)
    if named_year is None and first > newest + _AHEAD:
        first = first.replace(year=year - 1)
    last = first if number else first.replace(day=calendar.monthrange(first.year, month)[1])
    return first, last
