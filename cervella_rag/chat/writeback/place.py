"""Where a file belongs: the folder where the memory keeps its like, and a name that says date and topic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cervella_rag.chat.brief.records import Record
from cervella_rag.domain import Kind
from cervella_rag.memory.lexical import fold, words

_FOLDERS = {"decision": "decisioni", "lesson": "lezioni", "handoff": "handoff"}
_WORDS = {"decision": "decisione", "lesson": "lezione", "handoff": "handoff"}
_SLUG_CHARACTERS = 50
_SLUG_WORDS = 6
_MOST_TRIES = 99


@dataclass(frozen=True, slots=True)
class Place:
    """A root's name and a path below it."""

    root: str
    path: str


def folder_for(kind: str, project: str | None, records: Sequence[Record], roots: Collection[str]) -> Place:
    """Return the folder for a kind of file.

    The one that holds most of its like, outside of archives: of the project where one is named and has a
    folder, else of none. Without any, `memoria/decisioni`, `memoria/lezioni` or `handoff`, or the
    project's own.

    Args:
        kind: "decision", "lesson" or "handoff".
        project: The project it belongs to.
        records: What the memory holds.
        roots: Names of the roots that can be written to, at least one.
    """
    records = [record for record in records if record.root in roots]
    home = _project_folder(project, records)
    alike = Counter(
        (record.root, str(PurePosixPath(record.path).parent))
        for record in records
        if PurePosixPath(record.path).parent.name.lower() == _FOLDERS[kind]
        and not record.is_archived
        and _project_part(record.path) == (home.path if home else None)
    )
    if alike:
        (root, folder), _ = min(alike.items(), key=lambda entry: (-entry[1], entry[0]))
        return Place(root, folder)
    if home:
        return Place(home.root, f"{home.path}/{_FOLDERS[kind]}")
    root = _largest(records, roots)
    inside = any(record.root == root and record.path.startswith(".sncp/") for record in records)
    above = "" if kind == "handoff" else "memoria/"
    return Place(root, f"{'.sncp/' if inside else ''}{above}{_FOLDERS[kind]}")


def path_in(
    stem: str, title: str, *, kind: str, reads_as: Callable[[str], Kind], taken: Callable[[str], bool]
) -> str:
    """Return a free path, `YYYYMMDD_slug.md`.

    Args:
        stem: Folder and date, `memoria/decisioni/20260111`.
        title: What the slug is made of.
        kind: What it is; the slug begins with its word where the name would be read as something else.
        reads_as: Tells the kind that a path is read as.
        taken: Tells whether a path is in use.
    """
    slug = _slug(title) or _WORDS[kind]
    if str(reads_as(f"{stem}_{slug}.md")) != kind:
        slug = f"{_WORDS[kind]}_{slug}"
    names = [f"{stem}_{slug}{ending}.md" for ending in ("", *(f"_{n}" for n in range(2, _MOST_TRIES)))]
    return next((name for name in names if not taken(name)), names[-1])


def _slug(title: str) -> str:
    told = words(title) or re.findall(r"[a-z0-9]+", fold(title))
    slug = re.sub(r"[^a-z0-9]+", "_", "_".join(told[:_SLUG_WORDS]))[:_SLUG_CHARACTERS]
    return slug.strip("_")


def _project_part(path: str) -> str | None:
    parts = path.split("/")
    lower = [part.lower() for part in parts[:-1]]
    if "progetti" not in lower[:-1]:
        return None
    return "/".join(parts[: lower.index("progetti") + 2])


def _project_folder(project: str | None, records: Sequence[Record]) -> Place | None:
    for record in records:
        part = _project_part(record.path)
        if project and part and PurePosixPath(part).name.lower() == project.strip().lower():
            return Place(record.root, part)
    return None


def _largest(records: Sequence[Record], roots: Collection[str]) -> str:
    sizes = Counter(record.root for record in records)
    return min(roots, key=lambda root: (-sizes[root], root))
