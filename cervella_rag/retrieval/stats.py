"""What the index holds, counted from its own points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cervella_rag.domain import Metadata
from cervella_rag.protocols import Manifest, StoreReader


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts are files of the memory, retired ones left out, unless named otherwise.

    Attributes:
        dated: Files with a date.
        undated: Paths of those without.
        newest: Latest date of the memory.
    """

    manifest: Manifest
    retired_chunks: int
    kinds: dict[str, int]
    projects: dict[str, int]
    languages: dict[str, int]
    dated: int
    undated: tuple[str, ...]
    newest: str | None


def count(reader: StoreReader) -> Stats:
    """Count what one generation holds."""
    files: dict[tuple[str, str], Metadata] = {}
    retired_chunks = 0
    for chunk in reader.chunks():
        if chunk.retired:
            retired_chunks += 1
            continue
        files.update({(chunk.root, path): chunk.metadata for path in chunk.paths})
    metadata = list(files.values())
    undated = tuple(sorted(path for (_, path), found in files.items() if not found.date))
    return Stats(
        manifest=reader.manifest,
        retired_chunks=retired_chunks,
        kinds=_counted(str(found.kind) for found in metadata),
        projects=_counted(found.project or "-" for found in metadata),
        languages=_counted(found.language for found in metadata),
        dated=len(metadata) - len(undated),
        undated=undated,
        newest=max((found.date for found in metadata if found.date), default=None),
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
