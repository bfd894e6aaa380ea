"""Questions and commands become exact facts: which reading of a question names something that is there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from cervella_rag.domain import Exact, Filters, Question
from cervella_rag.errors import (
    InvalidRequestError,
    MemoryFileRefusedError,
    MemoryFileUnknownError,
    RootMissingError,
)
from cervella_rag.memory.exact import operations, records
from cervella_rag.memory.exact.cost import CostQuestion
from cervella_rag.memory.exact.cost_sums import compute
from cervella_rag.memory.exact.files import MemoryFiles, Snapshot
from cervella_rag.memory.exact.patterns import Pattern
from cervella_rag.memory.exact.period import find_span
from cervella_rag.memory.exact.question import (
    CountFiles,
    CountMatches,
    Days,
    Exists,
    Lines,
    Links,
    Record,
    Records,
    Request,
    requests,
)

_log = logging.getLogger(__name__)


class ExactFacts:
    """Answers what can be counted or looked up.

    Args:
        memory: The files, as they are now.
    """

    def __init__(self, memory: MemoryFiles) -> None:
        self._memory = memory

    def answer(self, question: Question) -> Exact | None:
        """Return the exact answer of a question, or None where it asks for something else."""
        for reading in requests(question.text):
            try:
                facts = _all(reading, self._memory, question.filters)
            except RootMissingError as error:  # the index still answers for folders that are away
                _log.warning("%s", error)
                return None
            if facts:
                return facts[0] if len(facts) == 1 else _several(facts)
        return None

    def count(self, pattern: Pattern, path: str | None = None) -> Exact:
        """See `operations.count_matches`."""
        return operations.count_matches(self._memory.now(), pattern, path)

    def files(self, folder: str | None = None, extension: str | None = None) -> Exact:
        """See `operations.count_files`."""
        return operations.count_files(self._memory.now(), folder, extension=extension)

    def exists(self, path: str) -> Exact:
        """See `operations.exists`."""
        return operations.exists(self._memory.now(), path, lines=True)

    def lines(self, path: str) -> Exact:
        """See `operations.count_lines`."""
        return operations.count_lines(self._memory.now(), path)

    def links(self, path: str) -> Exact:
        """See `operations.links`."""
        return operations.links(self._memory.now(), path)

    def list(self, filters: Filters) -> Exact:
        """See `records.list_records`."""
        return records.list_records(self._memory.now(), filters)


def _all(reading: tuple[Request, ...], memory: MemoryFiles, filters: Filters) -> list[Exact]:
    """Return the facts of one reading; none where a bare word of it is not what it was taken for."""
    if isinstance(reading[0], CostQuestion):
        return [compute(reading[0])]
    files = memory.now()
    facts = []
    for request in reading:
        fact = _one(request, files, filters)
        if fact is None:
            return []
        facts.append(fact)
    return facts


def _one(request: Request, files: Snapshot, filters: Filters) -> Exact | None:
    path = _path(request)
    try:
        return _perform(request, files, filters)
    except MemoryFileUnknownError:
        # What looks like a path and is none is an answer; a bare word was only taken for one.
        is_written_as_path = path is not None and ("/" in path or "." in path)
        return operations.exists(files, path) if path and is_written_as_path else None
    except MemoryFileRefusedError as error:
        details = {"path": error.details["path"], "reason": error.details["reason"]}
        return Exact("exists", value=True, details={**details, "unreadable": True})
    except InvalidRequestError as error:
        _log.info("%s", error)
        return None


def _path(request: Request) -> str | None:
    match request:
        case CountFiles(folder):
            return folder
        case CountMatches(_, path) | Exists(path) | Lines(path) | Links(path) | Record(path):
            return path
        case _:
            return None


def _perform(request: Request, files: Snapshot, filters: Filters) -> Exact | None:
    match request:
        case CountMatches(pattern, path):
            return operations.count_matches(files, pattern, path)
        case Exists(path, lines):
            return operations.exists(files, path, lines=lines)
        case Lines(path):
            return operations.count_lines(files, path)
        case Links(path, limit):
            return operations.links(files, path, limit=limit)
        case _:
            return _perform_other(request, files, filters)


def _perform_other(request: Request, files: Snapshot, filters: Filters) -> Exact | None:
    match request:
        case CountFiles(folder, extension, recursive, templates):
            return operations.count_files(
                files, folder, extension=extension, recursive=recursive, templates=templates
            )
        case Records():
            return _records(request, files, filters)
        case Record(path, asked):
            return records.record(files, path, asked)
        case Days(period, wanted):
            return _days(period, wanted, files)
        case _:
            return None


def _records(request: Records, files: Snapshot, filters: Filters) -> Exact | None:
    narrowed = replace(
        filters,
        kind=request.kind or filters.kind,
        project=request.project or filters.project,
        session=request.session or filters.session,
    )
    if request.period:
        span = find_span(request.period, _newest_day(files))
        if span is None:
            return None
        narrowed = replace(narrowed, since=span[0], until=span[1])
    if request.wanted == "newest":
        found = records.newest(files, narrowed, text=request.about)
        if found.value is None:
            return None
        # What the newest record on a subject says is still to be told.
        return replace(found, complete=not request.about)
    found = records.list_records(files, narrowed)
    return replace(found, details={**found.details, "only_count": request.wanted == "count"})


def _newest_day(files: Snapshot) -> str:
    """Return the newest date of a record up to today, today where no record has one."""
    today = date.today().isoformat()
    days = (metadata.date for _, metadata in files.records if metadata.date)
    return max((day for day in days if day <= today), default=today)


def _days(period: str, wanted: str, files: Snapshot) -> Exact | None:
    span = find_span(period, _newest_day(files))
    if span is None or span[0] is None or span[1] is None:
        return None
    first, last = date.fromisoformat(span[0]), date.fromisoformat(span[1])
    details: dict[str, object] = {"wanted": wanted, "first": span[0], "last": span[1]}
    if wanted == "weekday":
        return Exact("calendar", first.isoweekday(), details=details) if first == last else None
    return Exact("calendar", (last - first).days, details=details)


def _several(facts: list[Exact]) -> Exact:
    sources = dict.fromkeys(source for fact in facts for source in fact.sources)
    details: dict[str, object] = {"total": _total(facts)} if _total(facts) is not None else {}
    return Exact(
        "several",
        [fact.value for fact in facts],
        tuple(sources),
        details,
        tuple(facts),
        complete=all(fact.complete for fact in facts),
    )


def _total(facts: list[Exact]) -> int | None:
    """Return the sum of lines of several files; of other facts a sum means nothing."""
    numbers = list(_line_counts(facts))
    return sum(numbers) if len(numbers) == len(facts) else None


def _line_counts(facts: list[Exact]) -> Iterator[int]:
    return (fact.value for fact in facts if fact.operation == "lines" and isinstance(fact.value, int))
