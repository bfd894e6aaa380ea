"""What a run of the indexer did, and how the index compares with the folders."""

from __future__ import annotations

from dataclasses import dataclass, field

from cervella_rag.domain.files import Refused, Skipped


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of `index` did; counts are documents unless named otherwise.

    Attributes:
        enriched: Chunks whose enrichment came, changed or went.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    retired: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()
    documents: int = 0
    chunks: int = 0
    embedded: int = 0
    generation: int = 0
    took_ms: float = 0.0
    roots: dict[str, str] = field(default_factory=dict)
    dropped_roots: dict[str, str] = field(default_factory=dict)
    redacted: dict[str, int] = field(default_factory=dict)
    enriched: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A file whose place in the index is not as the folders are.

    Attributes:
        problem: "missing" from the index, "changed" since, "gone" from the folders without being
            retired, "elsewhere" (its other places differ), "retired" though it is there, or "broken"
            (its chunks are not those that its content gives).
    """

    root: str
    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Folders and index compared, file by file.

    Attributes:
        files: Files in the folders that belong in the index.
        retired: Paths the index remembers of files that are gone.
    """

    differences: tuple[Difference, ...]
    files: int
    retired: int
