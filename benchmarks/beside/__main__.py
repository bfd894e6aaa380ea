"""Measure one system: `python -m benchmarks.beside NAME ROUNDS [COUNT]`, in a process of its own.

Every question is asked alone, without what was said before it: the others know no history.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.corpus import Corpus, read_corpus
from benchmarks.measuring import Figures, measured, middle, report, spread, timed
from cervella_rag.evaluation.retrieval import Item
from cervella_rag.tokens import CHARACTERS_PER_TOKEN

from .local_mode import LocalMode
from .system import HIT_TOKENS, Passage, System

CONTEXT_TOKENS = 2000
_NOWHERE = 10**6
SYSTEMS = {
    "cervella": ("cervella", "Cervella"),
    "llama_index": ("llama_index", "LlamaIndex"),
    "llama_index_500": ("llama_index", "LlamaIndexOf500"),
    "local_mode": ("local_mode", "LocalMode"),
    "grep": ("grep", "Grep"),
}


def make(name: str, place: Path) -> System:
    """Return one of the systems, its data in a folder; no other's library is loaded."""
    module, kind = SYSTEMS[name]
    made: System = getattr(importlib.import_module(f"benchmarks.beside.{module}"), kind)(place)
    return made


def measure(name: str, corpus: Corpus, rounds: int) -> Figures:
    """Index the corpus, ask every question, and see what was found."""
    with tempfile.TemporaryDirectory() as place:
        system = make(name, Path(place))
        indexing: Figures = {}
        with measured(indexing):
            pieces = system.index(corpus.folder)
        first = timed(lambda: system.search(corpus.questions[0]))
        found = {item.id: system.search(item.question.text) for item in corpus.scored}
        times = [
            spread([timed(lambda text=text: system.search(text)) for text in corpus.questions])  # type: ignore[misc]
            for _ in range(rounds)
        ]
    return {
        "name": getattr(system, "name", name),
        "pieces": pieces,
        "indexing": indexing,
        "first_search_ms": round(first, 1),
        "search_ms": middle(times),
        **_ranked(corpus.scored, found),
    }


def _ranked(items: Sequence[Item], found: dict[str, list[Passage]]) -> Figures:
    whole = [_rank(item, found[item.id]) for item in items]
    shown = [_rank(item, [_opening(one) for one in found[item.id]]) for item in items]
    shares = {f"hit@{k}": _share(rank <= k for rank in shown) for k in (1, 5, 10)}
    within = [_rank(item, _within(found[item.id])) for item in items]
    return {
        **shares,
        "mrr@10": round(sum(1 / rank for rank in shown if rank <= 10) / len(shown), 4),
        "whole_pieces_hit@5": _share(rank <= 5 for rank in whole),
        "within_context": _share(rank < _NOWHERE for rank in within),
        "characters_of_five": round(
            median(sum(len(one.text) for one in hits[:5]) for hits in found.values())
        ),
    }


def _opening(passage: Passage) -> Passage:
    """A hit shows at most 500 tokens, and only this is scored."""
    return Passage(passage.path, passage.text[: HIT_TOKENS * CHARACTERS_PER_TOKEN])


def _within(passages: Sequence[Passage]) -> list[Passage]:
    """What of the passages, best first, fits into the context that a model is given."""
    left, kept = CONTEXT_TOKENS * CHARACTERS_PER_TOKEN, []
    for one in passages:
        kept.append(Passage(one.path, one.text[:left]))
        left -= len(one.text)
        if left <= 0:
            break
    return kept


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return round(sum(values) / len(values), 4)


def _rank(item: Item, found: Sequence[Passage]) -> int:
    """Return the place of the first passage of a gold file that holds its span, white space collapsed."""
    spans = [(gold.file, " ".join(gold.span.split())) for gold in item.gold]
    return next(
        (
            rank
            for rank, one in enumerate(found, 1)
            if any(one.path == file and span in " ".join(one.text.split()) for file, span in spans)
        ),
        _NOWHERE,
    )


def measure_filled(corpus: Corpus, count: int) -> Figures:
    """Measure the script's searches among so many vectors drawn by lot: it compares with all of them."""
    drawn = np.random.default_rng(1).standard_normal((count, 512), np.float32)
    with tempfile.TemporaryDirectory() as place:
        system = LocalMode(Path(place))
        system.fill(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
        questions = corpus.questions[:30]
        system.search(questions[0])
        return spread([timed(lambda text=text: system.search(text)) for text in questions])  # type: ignore[misc]


if __name__ == "__main__":
    chosen = sys.argv[1]
    if len(sys.argv) > 3:
        report(measure_filled(read_corpus(), int(sys.argv[3])))
    else:
        report(measure(chosen, read_corpus(), int(sys.argv[2])))
