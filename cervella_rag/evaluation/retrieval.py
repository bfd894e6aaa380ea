"""How often the right passage is found: an evaluation file in, a table of measures out.

A hit counts when its path is a gold file and its text, white space collapsed, holds a gold span.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from cervella_rag.domain import Hit, Message, Question, Retrieval
from cervella_rag.errors import EvaluationFileError
from cervella_rag.retrieval.retriever import Retriever

TOP_K = 10
_NOT_FOUND = 10**6
_ORDERED_KINDS = {"superseded": ("old_file", "old_span"), "project_state": ("newer_than", "old_span")}


@dataclass(frozen=True, slots=True)
class Passage:
    """A gold file and, where the item has one, the span that must be in the hit's text."""

    file: str
    span: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its gold; `older` is what the gold must rank above."""

    id: str
    kind: str
    question: Question
    gold: tuple[Passage, ...]
    older: Passage | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one question got: 1-based ranks, `_NOT_FOUND` where not among the hits."""

    item: Item
    span_rank: int
    file_rank: int
    older_rank: int
    abstained: bool
    took_ms: float


def read_items(path: Path) -> list[Item]:
    """Read an evaluation file.

    Raises:
        EvaluationFileError: It is missing or a line is not an item.
    """
    items = []
    number = 0
    try:
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):  # noqa: B007 - for the error
            if line.strip():
                items.append(_item(json.loads(line)))
    except OSError as error:
        raise EvaluationFileError(path=str(path), reason=error.strerror) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationFileError(path=str(path), reason=f"line {number}: {error!r}") from error
    if not items:
        raise EvaluationFileError(path=str(path), reason="no items")
    return items


def _item(data: dict[str, Any]) -> Item:
    files = data["file"] if isinstance(data["file"], list) else [data["file"]]
    gold = [Passage(file, data["span"]) for file in files if file and data["span"]]
    gold += [Passage(other["file"], other["span"]) for other in data.get("alt") or ()]
    history = tuple(Message(turn["role"], turn["content"]) for turn in data.get("history") or ())
    older = None
    names = _ORDERED_KINDS.get(data["kind"], ())
    if names and all(name in data for name in names):
        older = Passage(*(data[name] for name in names))
    for text in (data["question"], *(passage.span for passage in gold), older.span if older else ""):
        if not isinstance(text, str):
            raise TypeError(f"not a text: {text!r}")
    return Item(data["id"], data["kind"], Question(data["question"], history), tuple(gold), older)


def evaluate(
    retriever: Retriever, items: Sequence[Item], progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Ask every question and return the measures, overall and by kind."""
    outcomes = []
    for number, item in enumerate(items, 1):
        outcomes.append(_outcome(item, retriever.retrieve(item.question, top_k=TOP_K)))
        progress(number, len(items))
    return summarise(outcomes)


def _outcome(item: Item, retrieval: Retrieval) -> Outcome:
    hits = retrieval.hits
    return Outcome(
        item=item,
        span_rank=min((_rank(hits, gold) for gold in item.gold), default=_NOT_FOUND),
        file_rank=min((_rank(hits, Passage(gold.file, "")) for gold in item.gold), default=_NOT_FOUND),
        older_rank=_rank(hits, item.older) if item.older else _NOT_FOUND,
        abstained=not retrieval.enough,
        took_ms=retrieval.took_ms,
    )


def _rank(hits: Sequence[Hit], passage: Passage) -> int:
    span = _collapse(passage.span)
    return next(
        (
            rank
            for rank, hit in enumerate(hits, 1)
            if hit.chunk.path == passage.file and span in _collapse(hit.chunk.text)
        ),
        _NOT_FOUND,
    )


def _collapse(text: str) -> str:
    return " ".join(text.split())


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the measures of `outcomes`; shares are between 0 and 1, times in milliseconds."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.item.kind].append(outcome)
    scored = [outcome for outcome in outcomes if outcome.item.gold]
    unanswerable = by_kind.get("unanswerable", [])
    return {
        "items": len(outcomes),
        "overall": _measures(scored),
        "kinds": {
            kind: _measures([outcome for outcome in group if outcome.item.gold])
            for kind, group in sorted(by_kind.items())
            if any(outcome.item.gold for outcome in group)
        },
        "older_above_newer": {kind: _older_above(by_kind.get(kind, ())) for kind in _ORDERED_KINDS},
        "unanswerable_abstained": _share(outcome.abstained for outcome in unanswerable),
        "wrongly_abstained": _share(outcome.abstained for outcome in scored),
        "latency_ms": _latency([outcome.took_ms for outcome in outcomes]),
    }


def _measures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "items": len(outcomes),
        "span": _ranking([outcome.span_rank for outcome in outcomes]),
        "file": _ranking([outcome.file_rank for outcome in outcomes]),
    }


def _ranking(ranks: Sequence[int]) -> dict[str, float | None]:
    measures = {f"hit@{k}": _share(rank <= k for rank in ranks) for k in (1, 5, TOP_K)}
    reciprocal = [1 / rank if rank <= TOP_K else 0.0 for rank in ranks]
    return {**measures, f"mrr@{TOP_K}": round(fmean(reciprocal), 4) if reciprocal else None}


def _older_above(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Among questions whose new or old passage was found, how often the old one comes first."""
    found = [o for o in outcomes if min(o.span_rank, o.older_rank) < _NOT_FOUND]
    return {"items": len(found), "share": _share(o.older_rank < o.span_rank for o in found)}


def _share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return round(sum(values) / len(values), 4) if values else None


def _latency(times: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [*times] * 99
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}
