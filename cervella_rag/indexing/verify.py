"""Is the index the image of the folders? Both are read again and compared, file by file.

What the index holds is asked of its points, as everywhere; what they should be is what reading and
cutting the files gives now. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cervella_rag.domain import Difference, Scan, Source, Verification
from cervella_rag.indexing.plan import Key, Stored, by_content, is_refused
from cervella_rag.memory.sncp import Place

Cut = Callable[[Source, tuple[str, ...]], frozenset[str]]
"""Ids of the chunks that a source gives."""


def verify(scan: Scan, stored: Mapping[Key, Stored], cut: Cut) -> Verification:
    """Compare what was just read with what is stored.

    Args:
        scan: What the folders hold now.
        stored: What the index holds.
        cut: Reads and cuts a source again, with all its paths.
    """
    differences = sorted({*_of_files(scan, stored, cut), *_of_index(scan, stored)}, key=_by_place)
    retired = sum(len(document.paths) for document in stored.values() if document.retired)
    return Verification(tuple(differences), len(scan.sources), retired)


def _of_files(scan: Scan, stored: Mapping[Key, Stored], cut: Cut) -> Iterator[Difference]:
    """What is wrong with files that are in the folders."""
    known = {
        (key.root, path)
        for key, document in stored.items()
        if not document.retired
        for path in document.paths
    }
    for key, sources in by_content(scan).items():
        document, paths = stored.get(key), tuple(sources)
        if document is None:
            for path in paths:
                problem = "changed" if (key.root, path) in known else "missing"
                yield Difference(key.root, path, problem)
        elif document.retired:
            yield from (Difference(key.root, path, "retired") for path in paths)
        elif document.paths != paths:
            yield from (
                Difference(key.root, path, "elsewhere") for path in set(paths) ^ set(document.paths)
            )
        elif cut(sources[paths[0]], paths) != {chunk.chunk_id for chunk in document.chunks}:
            yield Difference(key.root, paths[0], "broken")


def _of_index(scan: Scan, stored: Mapping[Key, Stored]) -> Iterator[Difference]:
    """What the index shows as present and is not; a file that could not be read is left as it is known."""
    present: set[Place] = {(source.root, source.path) for source in scan.sources}
    for key, document in stored.items():
        if document.retired or is_refused(key.root, document.paths, scan):
            continue
        for path in document.paths:
            if (key.root, path) not in present:
                yield Difference(key.root, path, "gone")


def _by_place(difference: Difference) -> tuple[str, str, str]:
    return difference.root, difference.path, difference.problem
