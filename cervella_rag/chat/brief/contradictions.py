"""What cannot be true as it stands. Few rules, each of which is right when it speaks.

- A file's name says that it is open, its status that it is decided.
- A decision says which one it replaces, and that one's status does not know.
- A current file names a day of the week that the date does not have.
- Two current files of one project give two dates for the same numbered thing, both still to come
  when they were written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import PurePosixPath

from cervella_rag.chat.brief.line import BriefLine, of_item, of_lines
from cervella_rag.chat.brief.records import Item, Record, is_replaced, shorten
from cervella_rag.domain import Kind
from cervella_rag.memory.dates import find_date
from cervella_rag.memory.lexical import fold
from cervella_rag.messages import message

_OPEN_NAME = re.compile(
    r"(?:^|_)(da_decidere|da_fare|aperta|aperto|in_corso|bozza|draft|todo|tbd|a_decidir)(?:_|$)"
)
_CLOSED = re.compile(
    r"^\W*(?:decis[oa]\b|approvat|completat|chius[oa]\b|fatt[oa]\b|decided|approved|done\b|closed)"
)
_REPLACES = ("sostituisce", "supersedes", "replaces", "substitui")
_FILE_NAME = re.compile(r"[\w.-]{1,120}\.md\b")

_WEEKDAYS = (
    ("lunedi", "monday", "segunda"), ("martedi", "tuesday", "terca"),
    ("mercoledi", "wednesday", "quarta"), ("giovedi", "thursday", "quinta"),
    ("venerdi", "friday", "sexta"), ("sabato", "saturday"), ("domenica", "sunday", "domingo"),
)  # fmt: skip
_NUMBERS = {name: number for number, names in enumerate(_WEEKDAYS) for name in names}
_MONTHS = (
    "gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|novembre|dicembre|january|february"
    "|march|april|may|june|july|august|september|october|november|december|janeiro|fevereiro|marco|abril|maio"
    "|junho|julho|setembro|outubro|novembro|dezembro"
)
_DAY = re.compile(
    rf"(?:\b(?P<weekday>{'|'.join(_NUMBERS)})(?:-feira)?[’']?,?\s+)?"
    rf"\b(?P<day>\d{{1,2}})[°º]?\s+(?:de\s+)?(?P<month>{_MONTHS})\b(?:\s+(?:de\s+)?(?P<year>20\d\d))?"
)
_THING = re.compile(
    r"\b(?:(?:sprint|fase|phase|versione|version)\s?\d{1,3}(?:\.\d{1,3}){0,2}|\d{1,3}\.\d{1,3}\.\d{1,3})\b"
)
_SENTENCE_END = re.compile(r"[.;:!?]\s+|\s[|·]\s")
_WORD = re.compile(r"[a-z]{5,}")
_PREFIX_CHARACTERS = 5
"""Italian builds noun and verb on one beginning: accensione, accende."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A sentence that sets a date for a numbered thing."""

    thing: str
    day: str
    about: frozenset[str]
    item: Item


def contradiction_lines(
    records: Sequence[Record], current: Sequence[Record], language: str
) -> list[BriefLine]:
    """Return what contradicts itself.

    Args:
        records: Everything that is asked about.
        current: The files that are rewritten in place, archived ones left out.
        language: Of the words around what was found.
    """
    return [
        *_disagreeing_plans(current, language),
        *_open_names(records, language),
        *_unknowing_predecessors(records, language),
        *(line for record in current for line in _wrong_weekdays(record, language)),
    ]


def _open_names(records: Iterable[Record], language: str) -> Iterator[BriefLine]:
    for record in records:
        name = _OPEN_NAME.search(fold(PurePosixPath(record.path).stem).replace("-", "_"))
        status = record.metadata.status or ""
        if name and _CLOSED.match(fold(status)):
            line = next(
                (at for key, (_, at) in record.fields.items() if key in ("status", "stato", "esito")), 1
            )
            text = message("brief.open_name", language, name=name[1], status=shorten(status, 60))
            yield of_lines(record, text, line)


def _unknowing_predecessors(records: Sequence[Record], language: str) -> Iterator[BriefLine]:
    by_name = {(record.root, PurePosixPath(record.path).name): record for record in records}
    for record in records:
        if record.metadata.kind is not Kind.DECISION:
            continue
        for key in _REPLACES:
            value, line = record.fields.get(key, ("", 0))
            for name in _FILE_NAME.findall(value):
                older = by_name.get((record.root, name))
                status = older.metadata.status if older else None
                if older and older is not record and status and not is_replaced(status):
                    told = {"older": older.path, "status": shorten(status, 40)}
                    yield of_lines(record, message("brief.unknowing", language, **told), line)


def _wrong_weekdays(record: Record, language: str) -> Iterator[BriefLine]:
    told: set[str] = set()
    for number, line in enumerate(record.lines, 1):
        for match in _DAY.finditer(fold(line)):
            day = _iso(match, record)
            if not day or not match["weekday"] or day in told:
                continue
            true = date.fromisoformat(day).weekday()
            if true != _NUMBERS[match["weekday"]]:
                told.add(day)
                name = message(f"brief.weekday_{true}", language)
                text = message("brief.weekday", language, said=match["weekday"], date=day, true=name)
                yield of_lines(record, text, number)


def _disagreeing_plans(current: Sequence[Record], language: str) -> Iterator[BriefLine]:
    ordered = sorted(current, key=lambda record: record.age_key)
    plans = {id(record): list(_plans(record)) for record in ordered}
    for older, newer in combinations(ordered, 2):
        if older.root != newer.root or older.metadata.project != newer.metadata.project:
            continue
        told: set[str] = set()
        for before in plans[id(older)]:
            for after in plans[id(newer)]:
                is_other = before.thing == after.thing and before.day != after.day
                if is_other and before.about & after.about and before.thing not in told:
                    told.add(before.thing)
                    text = message(
                        "brief.plans",
                        language,
                        thing=before.thing,
                        older=of_item(older, before.item).source,
                        before=before.day,
                        after=after.day,
                    )
                    yield of_item(newer, after.item, text)


def _plans(record: Record) -> Iterator[_Plan]:
    if not record.metadata.date:
        return
    for item in record.items:
        for sentence in _SENTENCE_END.split(fold(item.text)):
            things, days = set(_THING.findall(sentence)), list(_DAY.finditer(sentence))
            day = _iso(days[0], record) if len(days) == 1 else None
            if len(things) == 1 and day and day >= record.metadata.date:
                plain = _DAY.sub(" ", _THING.sub(" ", sentence))
                about = frozenset(word[:_PREFIX_CHARACTERS] for word in _WORD.findall(plain))
                yield _Plan(things.pop(), day, about, item)


def _iso(match: re.Match[str], record: Record) -> str | None:
    """Return the day a text names; without a year it is the record's own."""
    year = match["year"] or (record.metadata.date or "")[:4]
    return find_date(f"{match['day']} {match['month']} {year}") if year else None
