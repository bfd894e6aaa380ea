"""Where things stand and what comes next: from the newest file that is there to say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from cervella_rag.chat.brief.line import BriefLine, of_item
from cervella_rag.chat.brief.records import Item, Record, shorten
from cervella_rag.chat.brief.time import within
from cervella_rag.domain import Kind
from cervella_rag.memory.lexical import fold

_NEXT = re.compile(
    r"\b(?:prossim[oiae]|next|proximos?|che cosa manca|cosa manca|da fare|to ?do|resta da fare|upcoming)\b"
)
_STATE = re.compile(
    r"\b(?:stato|dove siamo|(?:in|em) tre righe|in breve|sessione \d+|sessao \d+|session \d+|status"
    r"|where we are|avanzamento|progress|estado|state|summary|a che punto|oggi|today)\b"
)
_ASIDE = re.compile(
    r"\bfile\b|\bfiles\b|\bfont[ie]\b|\bsources?\b|\blink|\bcomandi\b|\bcommands\b|\bnote\b"
)
_TALE_KINDS = (Kind.HANDOFF, Kind.SESSION, Kind.ROADMAP)
_MOST_STATES = 3
_MOST_ITEMS = 8


def state_records(records: Sequence[Record], as_of: str) -> tuple[Record, ...]:
    """Return the newest state of each project that has one of this week, newest first.

    Where no file is a state, the newest one that is rewritten in place stands for it, then the newest
    handoff or session.
    """
    live = [record for record in records if not record.is_archived]
    groups = (
        [record for record in live if record.metadata.kind is Kind.STATE and record.metadata.volatile],
        [record for record in live if record.metadata.kind is Kind.STATE],
        [record for record in live if record.metadata.volatile],
        [record for record in records if record.metadata.kind in _TALE_KINDS],
    )
    found = next((group for group in groups if group), [])
    newest: dict[str | None, Record] = {}
    for record in sorted(found, key=lambda record: record.age_key):
        newest[record.metadata.project] = record
    chosen = sorted(newest.values(), key=lambda record: record.age_key, reverse=True)
    fresh = [record for record in chosen if within(record.metadata.date, as_of)]
    return tuple((fresh or chosen[:1])[:_MOST_STATES])


def state_lines(records: Iterable[Record]) -> list[BriefLine]:
    """Return what the records say of where things stand, one record's turn after the other's."""
    return _in_turn([[of_item(record, item) for item in _state_items(record)] for record in records])


def next_lines(states: Sequence[Record], records: Sequence[Record], as_of: str) -> list[BriefLine]:
    """Return the next steps of the states, or else of the newest record of this week that names any."""
    found = [lines for record in states if (lines := list(_steps(record)))]
    if not found:
        tales = [
            record
            for record in records
            if (record.metadata.volatile or record.metadata.kind in _TALE_KINDS)
            and within(record.metadata.date, as_of)
        ]
        newest = sorted(tales, key=lambda record: record.age_key, reverse=True)
        found = [lines for record in newest if (lines := list(_steps(record)))][:1]
    return _in_turn(found)


def _state_items(record: Record) -> list[Item]:
    """Return what tells the state: first what stands below such a heading, then the rest in order."""
    items = [item for item in record.items if not _is_next(item) and not _leads(item, _ASIDE)]
    telling = [item for item in items if _leads(item, _STATE)]
    opening = [item for item in items if not item.headings]
    others = [item for item in items if item.headings and item not in telling]
    return [*telling, *opening, *others][:_MOST_ITEMS]


def _leads(item: Item, words: re.Pattern[str]) -> bool:
    return any(words.search(fold(title)) for title in item.headings)


def _steps(record: Record) -> Iterator[BriefLine]:
    """Return the items below a heading that announces them; those of one sub-heading on one line."""
    steps = [item for item in record.items if _is_next(item)]
    position = 0
    while position < len(steps):
        first = steps[position]
        title = first.headings[-1]
        if _NEXT.search(fold(title)):
            yield of_item(record, first)
            position += 1
            continue
        group = [item for item in steps[position:] if item.headings == first.headings]
        text = shorten(f"{title}: {'; '.join(item.text.rstrip('.;') for item in group)}", 260)
        yield BriefLine(text, record.root, record.path, first.start_line, group[-1].end_line)
        position += len(group)


def _is_next(item: Item) -> bool:
    return _leads(item, _NEXT)


def _in_turn(groups: Sequence[Sequence[BriefLine]]) -> list[BriefLine]:
    longest = max(map(len, groups), default=0)
    return [group[position] for position in range(longest) for group in groups if position < len(group)]
