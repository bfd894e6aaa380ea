"""What is asked of a session, of some days or of now prefers what was written then, or last.

Preferences are added to the ranker's scores: they put forward and never hide, because dates and sessions
in files are not always right. Only what is gone is kept out of the answer to "how does it stand now".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from string import ascii_lowercase

from cervella_rag.domain import Chunk, Filters, Kind, Scores, Understood
from cervella_rag.memory.lexical import fold

Found = tuple[Chunk, Scores]

_SAID = 2.0
"""For the session or the days a question names: more than two features can outweigh together."""
_SESSION_RECORD = 1.0
"""On top, for the record of the session itself."""
_AT_THE_HOUR = 2.0
"""On top, for what was written within an hour of the one that is named beside a day."""
_NOW = 1.0
"""For the newest date among the candidates of a question about now; a month older earns nothing."""
_DAYS = 30
_FRESH = 1.0
"""On top, for a file that is rewritten in place and was so within a week of the newest."""
_REPLACED = 1.5
"""Off, for a record that says itself that another took its place, unless its day is asked for."""
_REPLACED_STATUS = re.compile(
    r"\W*(?:superseded|superat[ao]|sostituit[ao]|annullat[ao]|obsolet|deprecat|substituid)"
)
_FRESH_DAYS = 7
_FRESH_SESSIONS = 10
"""A file that names a session so far behind the latest one was not rewritten, whatever its date says."""


def condition(understood: Understood, given: Filters) -> Filters | None:
    """Return the filters that a question itself names, or None where it names none or the caller did."""
    if understood.session and not given.session:
        return replace(given, session=understood.session)
    if (understood.since or understood.until) and not (given.since or given.until):
        return replace(given, since=understood.since, until=understood.until)
    return None


def prefer(understood: Understood, found: Sequence[Found]) -> list[Found]:
    """Return the candidates in the order that time asks for, best first."""
    if understood.asks == "state":
        found = [(chunk, scores) for chunk, scores in found if not chunk.retired] or found
    newest = max((chunk.metadata.date for chunk, _ in found if chunk.metadata.date), default=None)
    latest = max((_number(chunk) for chunk, _ in found), default=0)
    scored = [
        (chunk, replace(scores, rerank=(scores.rerank or 0.0) + more) if more else scores)
        for chunk, scores in found
        for more in (_preference(understood, chunk, newest, latest),)
    ]
    return sorted(scored, key=lambda one: -(one[1].rerank or 0.0))


def _preference(understood: Understood, chunk: Chunk, newest: str | None, latest: int) -> float:
    metadata = chunk.metadata
    if understood.session:
        if not metadata.session or _digits(metadata.session) != _digits(understood.session):
            return 0.0
        return _SAID + _SESSION_RECORD * (metadata.kind in (Kind.SESSION, Kind.HANDOFF))
    if understood.since or understood.until:
        first, last = understood.since or "", understood.until or "9"
        is_then = metadata.date is not None and first <= metadata.date <= last
        return (_SAID + _AT_THE_HOUR * _is_near(metadata.time, understood.hour)) * is_then
    if metadata.superseded_by or _REPLACED_STATUS.match(fold(metadata.status or "")):
        return -_REPLACED
    if understood.asks == "state" and metadata.date and newest:
        age = (date.fromisoformat(newest) - date.fromisoformat(metadata.date)).days
        is_behind = 0 < _number(chunk) <= latest - _FRESH_SESSIONS
        is_fresh = metadata.volatile and age <= _FRESH_DAYS and not is_behind
        return _NOW * max(0.0, 1 - age / _DAYS) + _FRESH * is_fresh
    return 0.0


def _is_near(time: str | None, hour: int | None) -> bool:
    return time is not None and hour is not None and abs(int(time[:2]) - hour) <= 1


def _number(chunk: Chunk) -> int:
    return int(_digits(chunk.metadata.session or "") or 0)


def _digits(session: str) -> str:
    """Return a session without its suffix: 159e is part of 159."""
    return session.rstrip(ascii_lowercase)
