"""Files at one moment become counted facts with their sources: files, occurrences, lines, links."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from cervella_rag.domain import Exact, ExactSource, Refused
from cervella_rag.errors import MemoryFileRefusedError, MemoryFileUnknownError
from cervella_rag.memory.exact.files import TEMPLATE, Found, Snapshot
from cervella_rag.memory.exact.patterns import Clock, Matcher, Pattern
from cervella_rag.memory.sources import NOT_TEXT, Entry

MOST_SHOWN = 50
"""Files, links or lines named in one fact; its value counts them all."""
MOST_SOURCES = 10

_URL = re.compile(r"(?i)\bhttps?://[^\s<>\"'`|\\^{}]+")
_MARKDOWN = {"md": (".md", ".markdown"), "markdown": (".md", ".markdown")}


def count_files(
    files: Snapshot,
    folder: str | None,
    *,
    extension: str | None = None,
    recursive: bool = True,
    templates: bool = True,
) -> Exact:
    """Count the files of a folder, or of the whole memory where `folder` is None.

    Raises:
        MemoryFileUnknownError: There is no such folder.
    """
    place = None
    if folder is not None:
        found = files.find(folder)
        if (place := found.folder) is None:
            raise MemoryFileUnknownError(path=folder)
    below = files.within(place) if place and place.path else files.files
    kept = [e for e in below if _has_ending(e, extension) and (templates or e.rule != TEMPLATE)]
    path = place.path if place else ""
    direct = [e for e in kept if PurePosixPath(e.path).parent == PurePosixPath(path or ".")]
    counted = kept if recursive else direct
    names = sorted(e.path for e in counted)
    details: dict[str, object] = {
        "folder": path,
        "extension": extension,
        "recursive": recursive,
        "direct": len(direct),
        "templates": sum(e.rule == TEMPLATE for e in counted),
        "files": names[:MOST_SHOWN],
    }
    return Exact("count_files", len(counted), _listing(place, names), details)


def _listing(place: Entry | None, names: Sequence[str]) -> tuple[ExactSource, ...]:
    if place is None:
        return ()
    shown = names[:MOST_SHOWN]
    last = len(shown) or None
    root, path = place.root.name, f"{place.path}/"
    return (ExactSource(root, path, 1 if last else None, last, "\n".join(shown), title=path),)


def _has_ending(entry: Entry, extension: str | None) -> bool:
    if extension is None:
        return True
    wanted = extension.lower().lstrip(".")
    return entry.location.suffix.lower() in _MARKDOWN.get(wanted, (f".{wanted}",))


def count_matches(files: Snapshot, pattern: Pattern, path: str | None = None) -> Exact:
    """Count a pattern in a file, in a folder's files, or in the whole memory.

    The value is the count as written, or in any spelling where the pattern means that; `details` has both.

    Raises:
        InvalidRequestError: The pattern cannot be used, or takes too long.
        MemoryFileUnknownError, MemoryFileRefusedError: The file is not there, or cannot be read.
    """
    clock = Clock()
    matcher = Matcher(pattern, clock)
    entries, is_one = _searched(files, path)
    written = folded = 0
    found, refused = [], []
    for entry in entries:
        clock.left()
        text = files.text(entry)
        if isinstance(text, Refused):
            if is_one:
                raise MemoryFileRefusedError(path=entry.path, reason=text.reason)
            refused.append({"path": entry.path, "reason": text.reason})
            continue
        exact, any_spelling = matcher.as_written(text), matcher.any_spelling(text)
        written += exact.count
        folded += any_spelling.count
        told = any_spelling if pattern.means_any_spelling else exact
        if told.count:
            found.append((told, entry))
    found.sort(key=lambda pair: (-pair[0].count, pair[1].path))
    per_file = [
        {"path": entry.path, "count": told.count, "lines": list(told.lines[:MOST_SHOWN])}
        for told, entry in found[:MOST_SHOWN]
    ]
    sources = [files.source(entry, told.lines[0]) for told, entry in found[:MOST_SOURCES]]
    if not sources and is_one:
        sources = [files.source(entry, 1) for entry in entries]
    details: dict[str, object] = {
        "term": pattern.term,
        "how": pattern.how,
        "numbered": pattern.numbered,
        "any_spelling": pattern.means_any_spelling,
        "counts": {"as_written": written, "any_spelling": folded},
        "path": entries[0].path if is_one else path,
        "moved": is_one and entries[0] not in (files.find(path).there if path else ()),
        "searched": len(entries),
        "files": len(found),
        "per_file": per_file,
        "refused": refused,
    }
    value = folded if pattern.means_any_spelling else written
    return Exact("count_matches", value, tuple(sources), details)


def _searched(files: Snapshot, path: str | None) -> tuple[tuple[Entry, ...], bool]:
    """Return the texts to search, and whether it is the one file that was named."""
    texts = tuple(entry for entry in files.files if entry.rule != NOT_TEXT)
    if path is None:
        return texts, False
    found = files.find(path)
    if found.folder and not found.there:
        below = files.within(found.folder)
        return tuple(entry for entry in below if entry.rule != NOT_TEXT), False
    if not found.files:
        raise MemoryFileUnknownError(path=path)
    return found.files[:1] if len(found.files) == 1 else found.files, len(found.files) == 1


def exists(files: Snapshot, path: str, *, lines: bool = False) -> Exact:
    """Tell whether a file or folder is at a path; where it is not, where files of its name are.

    Args:
        files: What is there.
        path: A path or a bare name, which is looked for everywhere.
        lines: Count the lines of what is found as well.
    """
    found = files.find(path)
    places = [_place(files, entry, lines) for entry in found.files[:MOST_SOURCES]]
    is_there = bool(found.there or found.folder)
    details: dict[str, object] = {
        "path": path,
        "folder": found.folder.path if found.folder and not found.there else None,
        "there": places if found.there else [],
        "elsewhere": [] if is_there else places,
        "outside": found.is_outside,
        "with_lines": lines,
    }
    sources = tuple(files.source(entry, 1) for entry in found.files[:MOST_SOURCES])
    return Exact("exists", is_there, sources, details)


def _place(files: Snapshot, entry: Entry, lines: bool) -> dict[str, object]:
    place: dict[str, object] = {"path": entry.path}
    if lines:
        text = None if entry.rule == NOT_TEXT else files.text(entry)
        place["lines"] = line_count(text) if isinstance(text, str) else None
        place["reason"] = text.reason if isinstance(text, Refused) else None
    return place


def line_count(text: str) -> int:
    """Count as `wc -l` does, and a last line without an end too."""
    return text.count("\n") + (bool(text) and not text.endswith("\n"))


def count_lines(files: Snapshot, path: str) -> Exact:
    """Count the lines of a file.

    Raises:
        MemoryFileUnknownError, MemoryFileRefusedError: The file is not there, or cannot be read.
    """
    found, places = _texts(files, path)
    counted = [{"path": entry.path, "lines": line_count(text)} for entry, text in places]
    sources = tuple(files.source(entry, max(1, line_count(text))) for entry, text in places)
    details: dict[str, object] = {"path": path, "moved": not found.there, "files": counted}
    return Exact("lines", counted[0]["lines"], sources, details)


def _texts(files: Snapshot, path: str) -> tuple[Found, list[tuple[Entry, str]]]:
    found = files.find(path)
    if not found.files:
        raise MemoryFileUnknownError(path=path)
    places = []
    for entry in found.files[:MOST_SOURCES]:
        text = (
            Refused(entry.root.name, entry.path, NOT_TEXT) if entry.rule == NOT_TEXT else files.text(entry)
        )
        if isinstance(text, Refused):
            raise MemoryFileRefusedError(path=entry.path, reason=text.reason)
        places.append((entry, text))
    return found, places


def links(files: Snapshot, path: str, *, limit: int = MOST_SHOWN) -> Exact:
    """Find the distinct web addresses of a file, the most cited first.

    Raises:
        MemoryFileUnknownError, MemoryFileRefusedError: The file is not there, or cannot be read.
    """
    found, places = _texts(files, path)
    entry, text = places[0]
    counts: Counter[str] = Counter()
    where: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(text.split("\n"), 1):
        for url in map(_trimmed, _URL.findall(line)):
            counts[url] += 1
            where[url].append(number)
    shown = counts.most_common(max(0, min(limit, MOST_SHOWN)))  # at equal counts the earlier first
    listed = [{"url": url, "count": count, "lines": where[url][:MOST_SHOWN]} for url, count in shown]
    first = min((lines[0] for lines in where.values()), default=None)
    details: dict[str, object] = {
        "path": entry.path,
        "moved": not found.there,
        "total": counts.total(),
        "links": listed,
    }
    return Exact("links", len(counts), (files.source(entry, first),), details)


def _trimmed(url: str) -> str:
    """Return an address without what follows it in a sentence or closes a markdown link."""
    while url and (url[-1] in ".,;:!?*_~]" or (url[-1] == ")" and url.count("(") < url.count(")"))):
        url = url[:-1]
    inner = re.match(r"[^()]*\([^()]*\)[^()]*|[^)]*", url)
    return inner[0] if inner else url
