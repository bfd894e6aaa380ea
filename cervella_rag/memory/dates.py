"""Dates as people write them in the memory: Italian, Portuguese and English, long, ISO, compact."""

from __future__ import annotations

import re
from datetime import date

MONTH_NUMBERS = {
    month: number
    for number, names in enumerate(
        (
            "gennaio janeiro january gen jan",
            "febbraio fevereiro february feb fev",
            "marzo março marco march mar",
            "aprile abril april apr abr",
            "maggio maio may mag mai",
            "giugno junho june giu jun",
            "luglio julho july lug jul",
            "agosto august ago aug",
            "settembre setembro september set sett sep sept",
            "ottobre outubro october ott out oct",
            "novembre novembro november nov",
            "dicembre dezembro december dic dez dec",
        ),
        1,
    )
    for month in names.split()
}
"""The months' names in three languages, in lower case, and their numbers."""

_MONTH = "(" + "|".join(sorted(MONTH_NUMBERS, key=len, reverse=True)) + r")\.?"
_FORMS = re.compile(
    rf"""(?ix) (?<![\d])
    (?: (?P<iso_y>20\d\d) [-_/.] (?P<iso_m>\d{{1,2}}) [-_/.] (?P<iso_d>\d{{1,2}}) (?!\d)
      | (?P<cmp_y>20\d\d) (?P<cmp_m>\d\d) (?P<cmp_d>\d\d) (?!\d)
      | (?P<lng_d>\d{{1,2}}) [°º]? \s+ (?:de\s+)? {_MONTH.replace("(", "(?P<lng_m>", 1)}
          ,? \s+ (?:de\s+|del\s+)? (?P<lng_y>20\d\d)
      | (?P<eur_d>\d{{1,2}}) [/.] (?P<eur_m>\d{{1,2}}) [/.] (?P<eur_y>20\d\d) (?!\d) )
    | \b {_MONTH.replace("(", "(?P<eng_m>", 1)} \s+ (?P<eng_d>\d{{1,2}}) (?:st|nd|rd|th)?
          ,? \s+ (?P<eng_y>20\d\d)
    """
)


_TIME = re.compile(r"(?<![\d:.])([01]?\d|2[0-3]):([0-5]\d)(?!\d)")


def find_time(text: str) -> str | None:
    """Return the first time of day in `text` as HH:MM, or None."""
    match = _TIME.search(text)
    return f"{int(match[1]):02}:{match[2]}" if match else None


def find_date(text: str) -> str | None:
    """Return the first real calendar date in `text` as ISO, or None.

    Day and month in figures are read day first, as in Italy.
    """
    for match in _FORMS.finditer(text):
        form = next(name[:3] for name, value in match.groupdict().items() if value)
        year, month, day = (match[f"{form}_{part}"] for part in "ymd")
        number = MONTH_NUMBERS[month.lower()] if form in ("lng", "eng") else int(month)
        try:
            return date(int(year), number, int(day)).isoformat()
        except ValueError:
            continue
    return None
