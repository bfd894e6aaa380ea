"""How long a search takes at a size: `python -m benchmarks.retrieval ROUNDS`, in a process of its own.

The retriever is the one that is served, the question's vector and exact facts included. *Cold* is the first
search of a process whose index the disk's cache has forgotten; *new* is every question asked for the first
time; *again* every question asked a second time and more, the median of several rounds. *Filtered* asks
decisions of a span of days.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
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
    retriever = bootstrap.make_retriever(settings, strict=True)
    retriever.warm()  # the model; its loading is measured where the program starts
    questions = read_corpus().questions
    cold = timed(lambda: retriever.retrieve(Question(questions[0])))
    retriever.reader().warm()
    gc.collect()
    gc.freeze()  # as a server does once it is warm
    new = _round(retriever, questions, Filters())
    again = [_round(retriever, questions, Filters()) for _ in range(rounds)]
    filtered = [_round(retriever, questions, _FILTERS) for _ in range(rounds)]
    return {
        "chunks": retriever.reader().manifest.chunks,
        "cold_ms": round(cold, 2),
        "new_ms": new,
        "again_ms": middle(again),
        "filtered_ms": middle(filtered),
    }


def _round(retriever: Retriever, questions: Sequence[str], filters: Filters) -> dict[str, float]:
    asked = [Question(text, filters=filters) for text in questions]
    return spread([timed(lambda one=one: retriever.retrieve(one)) for one in asked])  # type: ignore[misc]


def _forget(folder: Path) -> None:
    """Let the disk's cache forget the files of an index, where the system allows it."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


if __name__ == "__main__":
    report(measure(int(sys.argv[1])))
