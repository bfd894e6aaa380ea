"""The decisions of the last days of the memory, newest first."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cervella_rag.chat.brief.line import BriefLine, of_lines
from cervella_rag.chat.brief.records import Record, shorten
from cervella_rag.chat.brief.time import within
from cervella_rag.domain import Kind
from cervella_rag.memory.cleaning import clean_line
from cervella_rag.memory.lexical import fold

_PREFIX = re.compile(r"(?i)^\s*(?:decision[ei]?|decis[aã]o)(?:\s+da\s+prendere)?\s*[:\-–]\s*")
_GIST = re.compile(r"\b(?:in breve|in una riga|decisione|decision|scelta|cosa|decisao|soluzione)\b")
_STATUS_CHARACTERS = 30
_GIST_CHARACTERS = 140
_GIST_LINES = 40
"""A decision says what it is near its top."""


def decision_lines(records: Iterable[Record], as_of: str) -> list[BriefLine]:
    """Return a line for each decision of the last seven days, by date and session, newest first."""
    found = [
        record
        for record in records
        if record.metadata.kind is Kind.DECISION and within(record.metadata.date, as_of)
    ]
    # By path where date and session are the same, so that two runs never differ.
    found.sort(key=lambda record: record.path)
    found.sort(key=lambda record: record.age_key[:2], reverse=True)
    return [_line(record) for record in found]


def _line(record: Record) -> BriefLine:
    metadata = record.metadata
    title = shorten(_PREFIX.sub("", clean_line(metadata.title)) or metadata.title, 110)
    session = f" S{metadata.session}" if metadata.session else ""
    status = f" ({shorten(metadata.status, _STATUS_CHARACTERS)})" if metadata.status else ""
    gist = next(
        (
            item
            for item in record.items
            if item.headings
            and item.start_line <= _GIST_LINES
            and not item.text.endswith(":")
            and _GIST.search(fold(item.headings[-1]))
        ),
        None,
    )
    last = gist.end_line if gist else _last_header_line(record)
    more = shorten(gist.text, _GIST_CHARACTERS) if gist else ""
    return of_lines(record, f"{metadata.date}{session} {title}{status}", 1, last, more)


def _last_header_line(record: Record) -> int:
    return max((line for _, line in record.fields.values()), default=1)
