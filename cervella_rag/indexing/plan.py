"""What the folders hold beside what the index holds: which files to write, keep, retire or drop.

Pure: values in, a plan out. A document is one content under one root, whatever its places.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cervella_rag.domain import Chunk, Scan, Source
from cervella_rag.memory.sncp import Place
from cervella_rag.memory.sources import EMPTY


class Key(NamedTuple):
    """Identity of a document: its root and the hash of its bytes."""

    root: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as the index holds it.

    Attributes:
        retired: Day it was last seen, or None while it is in the folders.
    """

    paths: tuple[str, ...]
    retired: str | None
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        write: Documents to read and write: the source of their own path, and all their paths.
        retire: Documents whose last file disappeared, with the paths that are missed.
        drop: Documents whose points go away: replaced, moved, or no longer part of the memory.
        counts: Files by outcome: added, changed, moved, retired, removed, unchanged.
    """

    write: tuple[tuple[Source, tuple[str, ...]], ...]
    retire: tuple[tuple[Key, tuple[str, ...]], ...]
    drop: tuple[Key, ...]
    counts: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """True where the index already is the image of the folders."""
        return not (self.write or self.retire or self.drop)


def stored_documents(chunks: Iterable[Chunk]) -> dict[Key, Stored]:
    """Group the index's chunks by document."""
    groups: dict[Key, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        groups[Key(chunk.root, chunk.sha256)].append(chunk)
    return {key: Stored(group[0].paths, group[0].retired, tuple(group)) for key, group in groups.items()}


def plan(scan: Scan, roots: frozenset[str], stored: Mapping[Key, Stored], *, rebuild: bool) -> Plan:
    """Compare a scan with what is stored.

    Args:
        scan: What was just read.
        roots: Names of the roots of the memory; documents of others are dropped.
        stored: What the index holds.
        rebuild: Write every document, changed or not.
    """
    present = by_content(scan)
    sha_now = {(key.root, path): key.sha256 for key, sources in present.items() for path in sources}
    sha_before = _places(stored)
    counts: Counter[str] = Counter()
    write: list[tuple[Source, tuple[str, ...]]] = []
    drop: list[Key] = []
    for key, sources in present.items():
        paths = tuple(sources)
        before = stored.get(key)
        same = before is not None and before.retired is None and before.paths == paths
        left = _missing(before, key.root, sha_now) if before else ()
        outcomes = [_outcome(sha_before.get((key.root, path)), key.sha256, bool(left)) for path in paths]
        counts.update(outcomes)
        counts["removed"] += max(0, len(left) - outcomes.count("moved"))
        if rebuild or not same:
            write.append((sources[paths[0]], paths))
            if before:
                drop.append(key)
    absent = {key: document for key, document in stored.items() if key not in present}
    retire: list[tuple[Key, tuple[str, ...]]] = []
    for key, document in absent.items():
        if key.root in roots and (document.retired or is_refused(key.root, document.paths, scan)):
            continue  # what is known of it stays
        missed = _missed(key.root, document.paths, scan, sha_now) if key.root in roots else ()
        if missed:
            retire.append((key, missed))
            counts["retired"] += len(missed)
        else:
            drop.append(key)
            counts["removed"] += sum((key.root, path) not in sha_now for path in document.paths)
    return Plan(tuple(write), tuple(retire), tuple(drop), counts)


def is_refused(root: str, paths: Iterable[str], scan: Scan) -> bool:
    """Tell whether one of the paths could not be read this time, so that nothing is known of it."""
    entries = [refused.path for refused in scan.refused if refused.root == root]
    return any(_listed(path, entries) for path in paths)


def _missed(root: str, paths: Iterable[str], scan: Scan, sha_now: Mapping[Place, str]) -> tuple[str, ...]:
    """The paths that disappeared; a file left out by a rule did not, an emptied one did."""
    left_out = [skip.path for skip in scan.skipped if skip.root == root and skip.rule != EMPTY]
    return tuple(path for path in paths if (root, path) not in sha_now and not _listed(path, left_out))


def _listed(path: str, entries: Iterable[str]) -> bool:
    """True where `entries` names the file or, ending in "/", a folder above it."""
    return any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in entries)


def _outcome(before: str | None, now: str, something_left: bool) -> str:
    if before == now:
        return "unchanged"
    if before:
        return "changed"
    return "moved" if something_left else "added"


def by_content(scan: Scan) -> dict[Key, dict[str, Source]]:
    """Sources by content; the path nearest to its root comes first and names the document."""
    groups: dict[Key, dict[str, Source]] = defaultdict(dict)
    for source in sorted(scan.sources, key=lambda source: (source.path.count("/"), source.path)):
        groups[Key(source.root, source.sha256)][source.path] = source
    return groups


def _places(stored: Mapping[Key, Stored]) -> dict[Place, str]:
    return {
        (key.root, path): key.sha256
        for key, document in stored.items()
        if document.retired is None
        for path in document.paths
    }


def _missing(document: Stored, root: str, sha_now: Mapping[Place, str]) -> tuple[str, ...]:
    if document.retired:
        return ()
    return tuple(path for path in document.paths if (root, path) not in sha_now)
