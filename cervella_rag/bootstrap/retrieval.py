"""What is made of the retriever besides answers: its measures, and one of LlamaIndex's."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cervella_rag.bootstrap.index import find_roots, make_indexer, make_retriever
from cervella_rag.errors import ExtraMissingError

if TYPE_CHECKING:
    from cervella_rag.domain import Filters, IndexReport
    from cervella_rag.protocols import StoreReader
    from cervella_rag.retrieval.llama_index import CervellaRetriever
    from cervella_rag.settings import Settings

Progress = Callable[[str, int, int], None]

_MISSED_BEYOND = 5


def make_llama_index_retriever(
    settings: Settings | None = None,
    *,
    top_k: int = 10,
    filters: Filters | None = None,
    only_enough: bool = False,
) -> CervellaRetriever:
    """Return the retriever as a LlamaIndex `BaseRetriever`. See `retrieval.llama_index`.

    Args:
        settings: What is configured; without them they are read as the command line does.
        top_k: Most nodes that are returned.
        filters: Conditions every hit must meet.
        only_enough: Return nothing where the best hits do not suffice to answer from.
    """
    from cervella_rag.bootstrap.index import load_settings
    from cervella_rag.retrieval.llama_index import CervellaRetriever

    retriever = make_retriever(settings or load_settings())
    return CervellaRetriever(retriever, top_k=top_k, filters=filters, only_enough=only_enough)


def evaluate_retrieval(
    settings: Settings,
    file: Path,
    progress: Progress,
    memory: Sequence[Path] = (),
) -> dict[str, Any]:
    """Measure retrieval on an evaluation file. See `evaluation`.

    Args:
        settings: What is configured.
        file: The questions, docs/retrieval.md.
        progress: Told how far it is.
        memory: Folders to index from nothing first, in a home of their own that is gone afterwards; without
            any the index that is there is measured.

    Raises:
        ExtraMissingError: trec_eval is not installed.
        EvaluationFileError: The file cannot be used.
        IndexAbsentError, IndexMismatchError, EmbedderError, StoreError: There is nothing to measure.
    """
    try:
        from cervella_rag.evaluation.retrieval import evaluate, find_misses, read_items
        from cervella_rag.evaluation.summary import summarise, told_miss
    except ImportError as error:
        raise ExtraMissingError(part="eval retrieval", extra="eval") from error

    items = read_items(file)
    with _indexed(settings, memory, progress) as (used, indexing):
        retriever = make_retriever(used, strict=True)
        retriever.warm()
        reader = retriever.reader()
        made = _settings(used, reader)
        outcomes = evaluate(retriever, items, lambda done, total: progress("questions", done, total))
        depth = used.retrieval.candidates
        misses = find_misses(retriever, outcomes, among=_MISSED_BEYOND, looked_at=depth)
    return {
        "file": file.name,
        "index": {name: getattr(reader.manifest, name) for name in _MADE},
        "settings": made,
        "indexing": indexing and {name: getattr(indexing, name) for name in _INDEXED},
        **summarise(outcomes),
        "misses": [told_miss(miss) for miss in misses],
    }


def compare_with_baseline(report: dict[str, Any], file: Path) -> dict[str, Any]:
    """Compare a report with an earlier run. See `evaluation.baseline`."""
    from cervella_rag.evaluation.baseline import compare

    return compare(report, file)


def save_baseline(report: dict[str, Any], file: Path) -> None:
    """Keep a report to compare later ones with. See `evaluation.baseline`."""
    from cervella_rag.evaluation.baseline import save_baseline as save

    save(report, file)


_MADE = ("generation", "documents", "chunks", "embedder", "dimension", "chunking")
_INDEXED = ("took_ms", "documents", "chunks", "embedded")


@contextmanager
def _indexed(
    settings: Settings, memory: Sequence[Path], progress: Progress
) -> Iterator[tuple[Settings, IndexReport | None]]:
    """Yield the settings to measure with and, where folders are named, the report of indexing them."""
    if not memory:
        yield settings, None
        return
    with TemporaryDirectory(prefix="cervella-eval-") as home:
        apart = settings.model_copy(
            update={"home": Path(home), "qdrant": settings.qdrant.model_copy(update={"url": None})}
        )
        yield apart, make_indexer(apart).run(find_roots(apart, memory), progress=progress)


def _settings(settings: Settings, reader: StoreReader) -> dict[str, Any]:
    """Return what the figures depend on besides questions and memory."""
    from cervella_rag import __version__

    chosen, manifest = settings.retrieval, reader.manifest
    return {
        "version": __version__,
        "embedder": manifest.embedder,
        "chunking": manifest.chunking,
        "redaction": manifest.redaction,
        "enriched": sum(bool(chunk.enrichment) for chunk in reader.chunks()),
        "store": "server" if settings.qdrant.url else "embedded",
        **{name: getattr(chosen, name) for name in ("candidates", "rrf_k", "lexical_votes")},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def calibrate(settings: Settings, file: Path, wrong: float, progress: Progress) -> dict[str, Any]:
    """Find where to draw the line for the memory at hand, and keep it with the index.

    Args:
        settings: What is configured.
        file: Questions with and without an answer in the memory, docs/evaluation.md.
        wrong: Largest share of answerable questions that may be turned away, from 0 to 1.
        progress: Told how far it is.

    Raises:
        EvaluationFileError: The file cannot be used.
        IndexAbsentError, IndexMismatchError, EmbedderError, StoreError: It cannot be asked or kept.
    """
    from cervella_rag.evaluation.calibration import find_line
    from cervella_rag.evaluation.retrieval import read_items

    items = read_items(file)
    retriever = make_retriever(settings, strict=True)
    found = find_line(items, retriever, wrong, lambda done, total: progress("questions", done, total))
    return {**found, "generation": make_indexer(settings).draw_line(found["line"])}
