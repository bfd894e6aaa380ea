"""How long a search takes at a size: `python -m benchmarks.retrieval ROUNDS`, in a process of its own.

The retriever is the one that is served, the question's vector included. Questions that code answers by
counting in the files have figures of their own: what takes time there is not the index. *Cold* is the first
search of a process whose index the disk's cache has forgotten; *new* is every question asked for the first
time; *again* every question asked a second time and more, the median of several rounds. *Filtered* asks
decisions of a span of days.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cervella_rag import bootstrap
from cervella_rag.domain import Filters, Question
from cervella_rag.retrieval.retriever import Retriever

from .corpus import read_corpus
from .measuring import Figures, middle, report, spread, timed

_FILTERS = Filters(kind="decision", since="2026-01-01", until="2026-01-31")


def measure(rounds: int) -> Figures:
    """Return the times of all questions of the corpus."""
    settings = bootstrap.load_settings()
    _forget(settings.home / "index")
    embedder = bootstrap.make_embedder(settings)
    if embedder:
        embedder.embed_query("memoria")  # loading the model is measured where the program starts
    retriever = bootstrap.make_retriever(settings, embedder, strict=True)
    questions = read_corpus().questions
    cold = timed(lambda: retriever.retrieve(Question(questions[0])))
    retriever.warm()
    _read(settings.home / "index")
    gc.collect()
    gc.freeze()  # as a server does once it is warm
    new = _round(retriever, questions, Filters())
    again = [_round(retriever, questions, Filters()) for _ in range(rounds)]
    filtered = [_round(retriever, questions, _FILTERS) for _ in range(rounds)]
    return {
        "chunks": retriever.reader().manifest.chunks,
        "cold_ms": round(cold, 2),
        "new_ms": spread(new.found),
        "again_ms": middle([spread(one.found) for one in again]),
        "filtered_ms": middle([spread(one.found) for one in filtered]),
        "counted_new_ms": spread(new.counted),
        "counted_again_ms": middle([spread(one.counted) for one in again]),
        "counted": len(new.counted),
    }


@dataclass(frozen=True)
class _Times:
    """Milliseconds of the questions that the index answers, and of those that code counts in the files."""

    found: list[float]
    counted: list[float]


def _round(retriever: Retriever, questions: Sequence[str], filters: Filters) -> _Times:
    times = _Times([], [])
    for text in questions:
        began = time.perf_counter()
        retrieval = retriever.retrieve(Question(text, filters=filters))
        taken = (time.perf_counter() - began) * 1000
        (times.counted if retrieval.exact else times.found).append(taken)
    return times


def _read(folder: Path) -> None:
    """Let the disk's cache hold an index, as it does where a server has run for a while."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                while opened.read(1 << 24):
                    pass


def _forget(folder: Path) -> None:
    """Let the disk's cache forget the files of an index, where the system allows it."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


if __name__ == "__main__":
    report(measure(int(sys.argv[1])))
