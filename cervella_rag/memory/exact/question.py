"""A question becomes a request for an exact fact, or nothing: pure rules, no file is looked at.

Every rule must account for the whole question, so that one that merely contains "quanti file" is left
to the search. What a rule takes for a bare name still has to be one: see `facts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cervella_rag.memory.exact import grammar
from cervella_rag.memory.exact.cost import CostQuestion, read_cost
from cervella_rag.memory.exact.patterns import LONGEST_PATTERN, Pattern
from cervella_rag.memory.exact.period import find_span
from cervella_rag.memory.exact.spelling import Asked, prepare


@dataclass(frozen=True, slots=True)
class CountFiles:
    """How many files are in a folder; None is the whole memory."""

    folder: str | None
    extension: str | None = None
    recursive: bool = True
    templates: bool = True


@dataclass(frozen=True, slots=True)
class CountMatches:
    """How often something is written in a file, in a folder, or anywhere."""

    pattern: Pattern
    path: str | None


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether a file or folder is there, and perhaps how long it is."""

    path: str
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """How many lines a file has."""

    path: str


@dataclass(frozen=True, slots=True)
class Links:
    """Which web addresses a file holds."""

    path: str
    limit: int


@dataclass(frozen=True, slots=True)
class Records:
    """Which records there are, or how many, or the newest.

    Attributes:
        wanted: "list", "count" or "newest".
        period: Words that name days.
    """

    wanted: str
    kind: str | None
    project: str | None = None
    session: str | None = None
    period: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What a file says of itself; `asked` names the one thing that is asked for."""

    path: str
    asked: str | None = None


@dataclass(frozen=True, slots=True)
class Days:
    """How many days lie between two, or which day of the week one is."""

    period: str
    wanted: str


Request = CountFiles | CountMatches | Exists | Lines | Links | Records | Record | Days | CostQuestion

LINKS_SHOWN = 10
MOST_PARTS = 20

_ANCHOR = "2026-01-15"
"""Any day: here it only matters whether words name days at all."""


def requests(question: str) -> Iterator[tuple[Request, ...]]:
    """Yield what a question may ask for, the likeliest first; each may turn out to name nothing.

    Every tuple is one reading of the question; its requests are all asked at once.
    """
    if cost := read_cost(question):
        yield (cost,)
    asked = prepare(question)
    if asked is None:
        return
    asked = _without_courtesy(asked)
    for read in _READERS:
        if found := read(asked):
            yield found[:MOST_PARTS]


def _without_courtesy(asked: Asked) -> Asked:
    end = len(asked.plain)
    if thanks := grammar.THANKS.search(asked.plain):
        end = thanks.start()
    start = found.end() if (found := grammar.POLITE.match(asked.plain)) else 0
    return replace(asked, plain=asked.plain[start:end].strip(" ?.!,"), kept=_cut(asked, start, end))


def _cut(asked: Asked, start: int, end: int) -> str:
    plain = asked.plain[start:end]
    left = len(plain) - len(plain.lstrip(" ?.!,"))
    return asked.kept[start:end][left : left + len(plain.strip(" ?.!,"))]


def _matches(patterns: tuple[re.Pattern[str], ...], text: str) -> Iterator[re.Match[str]]:
    return (found for pattern in patterns if (found := pattern.fullmatch(text)))


def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, patterns))


_COUNT_FILES_RULES = _compiled(grammar.COUNT_FILES)
_EXISTS_RULES = _compiled(grammar.EXISTS)
_LINES_RULES = _compiled(grammar.LINES)
_COUNT_MATCHES_RULES = _compiled(grammar.COUNT_MATCHES)
_COUNT_ANYWHERE_RULES = _compiled(grammar.COUNT_ANYWHERE)
_COUNT_LIST_RULES = _compiled(grammar.COUNT_LIST)
_LINKS_RULES = _compiled(grammar.LINKS)
_KIND_RULES = {
    "count": _compiled(grammar.COUNT_KIND),
    "list": _compiled(grammar.LIST_KIND),
    "newest": _compiled(grammar.NEWEST_KIND),
}


def _count_files(asked: Asked) -> tuple[Request, ...]:
    for found in _matches(_COUNT_FILES_RULES, asked.plain):
        folder: str | None = asked.original(found, "folder")
        if grammar.WHOLE_MEMORY.fullmatch(found["folder"]):
            folder = None
        notes = asked.plain[found.end("folder") :]
        is_flat = bool(re.search(grammar.FLAT, notes) and not re.search(grammar.RECURSIVE, notes))
        has_forms = not re.search(grammar.WITHOUT_FORMS, notes)
        return (CountFiles(folder, found["ext"], recursive=not is_flat, templates=has_forms),)
    return ()


def _exists(asked: Asked) -> tuple[Request, ...]:
    for found in _matches(_EXISTS_RULES, asked.plain):
        groups = found.groupdict()
        lines = bool(groups.get("lines") or groups.get("lines_after"))
        return tuple(Exists(path, lines) for path in _in_one_folder(asked.marks(found["files"])))
    return ()


def _in_one_folder(paths: list[str]) -> list[str]:
    """Give bare names the folder of the path that opens their list, as who writes lists means it."""
    folder, slash, _ = paths[0].rpartition("/")
    return [path if "/" in path else f"{folder}{slash}{path}" for path in paths]


def _lines(asked: Asked) -> tuple[Request, ...]:
    for found in _matches(_LINES_RULES, asked.plain):
        return tuple(Lines(path) for path in _in_one_folder(asked.marks(found["files"])))
    return ()


def _count_matches(asked: Asked) -> tuple[Request, ...]:
    for found in _matches(_COUNT_MATCHES_RULES, asked.plain):
        groups = found.groupdict()
        notes = (groups.get("notes") or "") + (groups.get("more") or "")
        return (CountMatches(_pattern(asked, found, notes), asked.original(found, "path")),)
    for found in _matches(_COUNT_ANYWHERE_RULES, asked.plain):
        if found["bare"]:  # "quante volte c'è stato": too little to tell a word that is meant as one
            continue
        return (CountMatches(_pattern(asked, found, found["notes"] or ""), None),)
    return ()


def _pattern(asked: Asked, found: re.Match[str], notes: str) -> Pattern:
    name = next(name for name in ("regex", "marked", "quoted", "bare") if found[name])
    return _noted(asked.original(found, name), notes, is_regex=name == "regex")


def _noted(term: str, notes: str, *, is_regex: bool = False) -> Pattern:
    any_spelling = (
        True if re.search(grammar.ANY, notes) else False if re.search(grammar.AS_WRITTEN, notes) else None
    )
    return Pattern(
        term,
        "regex" if is_regex else "literal",
        numbered=bool(re.search(grammar.NUMBERED, notes)),
        any_spelling=any_spelling,
        inside=bool(re.search(grammar.AS_PART, notes)),
    )


def _count_list(asked: Asked) -> tuple[Request, ...]:
    for found in _matches(_COUNT_LIST_RULES, asked.plain):
        path, patterns, position = asked.original(found, "path"), [], found.start("items")
        while position < found.end("items"):
            item = grammar.ITEM.match(asked.plain, position, found.end("items"))
            if item is None or len(item["term"]) > LONGEST_PATTERN:
                break
            patterns.append(_noted(asked.original(item, "term"), item["notes"]))
            separator = re.compile(r"(?: ?[,;] ?| e | ed | and |$)(?:e |ed |and )?").match(
                asked.plain, item.end(), found.end("items")
            )
            if separator is None:
                break
            position = separator.end()
            if item.end() == found.end("items"):
                return tuple(CountMatches(pattern, path) for pattern in patterns)
    return ()


def _links(asked: Asked) -> tuple[Request, ...]:
    for found in _matches(_LINKS_RULES, asked.plain):
        limit = re.search(r"\d+", found["tail"])
        return (Links(asked.original(found, "path"), int(limit[0]) if limit else LINKS_SHOWN),)
    return ()


def _records(asked: Asked) -> tuple[Request, ...]:
    for wanted, rules in _KIND_RULES.items():
        for found in _matches(rules, asked.plain):
            name = found["kind"] or found.groupdict().get("other") or ""
            kind = next((kind for words, kind in grammar.KINDS.items() if re.fullmatch(words, name)), None)
            if request := _conditions(Records(wanted, kind), found["rest"].strip()):
                return (request,)
    return ()


def _conditions(request: Records, rest: str) -> Records | None:
    """Read what narrows a list; None where something of it is not understood, or nothing narrows it."""
    if session := grammar.SESSION.search(rest):
        request = replace(request, session=session[1])
        rest = rest.replace(session[0], "")
    if project := grammar.PROJECT.search(rest):
        request = replace(request, project=project[1])
        rest = rest.replace(project[0], "")
    rest = grammar.FILLER.sub("", rest).strip(" ,")
    if rest and find_span(rest, _ANCHOR):
        return replace(request, period=rest)
    if rest and request.wanted == "newest" and (about := grammar.ABOUT.fullmatch(rest)):
        return replace(request, about=about["about"].strip())
    is_narrowed = request.kind or request.session or request.project or request.wanted == "newest"
    return None if rest or not is_narrowed else request


def _field(asked: Asked) -> tuple[Request, ...]:
    if found := grammar.FIELD.fullmatch(asked.plain):
        asked_for = next(
            name for words, name in grammar.FIELDS.items() if re.fullmatch(words, found["field"])
        )
        return (Record(asked.original(found, "name"), asked_for),)
    return ()


def _read(asked: Asked) -> tuple[Request, ...]:
    """What is to be read or summed up: facts of those files come before the answer."""
    if not (grammar.READ.match(asked.plain) or grammar.TAKE.match(asked.plain)):
        return ()
    paths = [path for path in asked.marks(asked.plain) if "." in path or "_" in path]
    names = [asked.kept[found.start() : found.end()] for found in grammar.STEM.finditer(asked.kept)]
    return tuple(Record(name) for name in dict.fromkeys([*paths, *names]))


def _days(asked: Asked) -> tuple[Request, ...]:
    if found := grammar.WEEKDAY.fullmatch(asked.plain):
        return (Days(found["period"], "weekday"),) if find_span(found["period"], _ANCHOR) else ()
    if found := grammar.DAYS_BETWEEN.fullmatch(asked.plain):
        span = find_span(found["period"], _ANCHOR)
        return (Days(found["period"], "between"),) if span and all(span) else ()
    return ()


_READERS: tuple[Callable[[Asked], tuple[Request, ...]], ...] = (
    _count_files,
    _exists,
    _lines,
    _count_matches,
    _count_list,
    _links,
    _records,
    _field,
    _days,
    _read,
)
