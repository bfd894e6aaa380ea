"""How often the right passage is found: an evaluation file in, the outcome of every question out.

A hit counts when its path is a gold file and its text, white space collapsed, holds a gold span. What the
outcomes add up to is in `summary`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cervella_rag.domain import Exact, Hit, Message, Question, Retrieval
from cervella_rag.errors import EvaluationFileError
from cervella_rag.retrieval.retriever import Retriever

TOP_K = 10
ORDERED_KINDS: Mapping[str, tuple[str, str]] = {
    "superseded": ("old_file", "old_span"),
    "project_state": ("newer_than", "old_span"),
}
"""Kinds whose questions may name what is older than their gold, and in which fields."""
UNANSWERABLE = "unanswerable"
COUNTED = "count_exist"


@dataclass(frozen=True, slots=True)
class Passage:
    """A gold file and, where the item has one, the span that must be in the hit's text."""

    file: str
    span: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its gold.

    Attributes:
        older: What the gold must rank above.
        value: What code must count or look up; None where nothing is to be.
    """

    id: str
    kind: str
    question: Question
    gold: tuple[Passage, ...]
    older: Passage | None
    value: Any = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one question got.

    Attributes:
        span_rank: 1-based rank of the first hit with a gold span; None where there is none.
        file_rank: The same of the first hit of a gold file.
        older_rank: The same of what the gold must rank above.
        abstained: She would say that it is not in memory. A fact that code counted is an answer.
        is_exact: Whether the value that was asked for came exactly; None where none is asked for.
        took_ms: Wall time of the whole retrieval.
    """

    item: Item
    span_rank: int | None
    file_rank: int | None
    older_rank: int | None
    abstained: bool
    is_exact: bool | None
    took_ms: float


@dataclass(frozen=True, slots=True)
class Miss:
    """A question whose passage was not among the first hits, and where it was.

    Attributes:
        looked_at: How many hits were looked at.
        span_rank: Rank among those; None where it is not there.
        file_rank: The same of the gold file.
        first: Path of the first hit, "" where there is none.
    """

    item: Item
    looked_at: int
    span_rank: int | None
    file_rank: int | None
    first: str


def read_items(path: Path) -> list[Item]:
    """Read an evaluation file.

    Raises:
        EvaluationFileError: It is missing, a line is not an item, or two have one id.
    """
    items: dict[str, Item] = {}
    number = 0
    try:
        for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):  # noqa: B007 - for the error
            if line.strip():
                item = _item(json.loads(line))
                if item.id in items:
                    raise ValueError(f"id {item.id!r} again")  # noqa: TRY301 - told with its line, below
                items[item.id] = item
    except OSError as error:
        raise EvaluationFileError(path=str(path), reason=error.strerror) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationFileError(path=str(path), reason=f"line {number}: {error!r}") from error
    if not items:
        raise EvaluationFileError(path=str(path), reason="no items")
    return list(items.values())


def _item(data: dict[str, Any]) -> Item:
    files = data["file"] if isinstance(data["file"], list) else [data["file"]]
    gold = [Passage(file, data["span"]) for file in files if file and data["span"]]
    gold += [Passage(other["file"], other["span"]) for other in data.get("alt") or ()]
    history = tuple(Message(turn["role"], turn["content"]) for turn in data.get("history") or ())
    older = None
    names = ORDERED_KINDS.get(data["kind"], ())
    if names and all(name in data for name in names):
        older = Passage(*(data[name] for name in names))
    for text in (
        data["id"],
        data["kind"],
        data["question"],
        *(passage.span for passage in gold),
        older.span if older else "",
    ):
        if not isinstance(text, str):
            raise TypeError(f"not a text: {text!r}")
    question = Question(data["question"], history)
    return Item(data["id"], data["kind"], question, tuple(gold), older, data.get("tool_answer"))


def evaluate(
    retriever: Retriever, items: Sequence[Item], progress: Callable[[int, int], None]
) -> list[Outcome]:
    """Ask every question; return what each got, in their order."""
    outcomes = []
    for number, item in enumerate(items, 1):
        started = time.perf_counter()
        retrieval = retriever.retrieve(item.question, top_k=TOP_K)
        outcomes.append(_outcome(item, retrieval, (time.perf_counter() - started) * 1000))
        progress(number, len(items))
    return outcomes


def find_misses(
    retriever: Retriever, outcomes: Sequence[Outcome], *, among: int, looked_at: int
) -> list[Miss]:
    """Ask again where the passage was not among the first, and tell where it is.

    Args:
        retriever: What was measured.
        outcomes: What the questions got.
        among: Beyond which rank a question counts as missed.
        looked_at: Hits to look at; not more than candidates are ranked, so that the order stays the same.
    """
    missed = [
        outcome.item
        for outcome in outcomes
        if outcome.item.gold and (outcome.span_rank is None or outcome.span_rank > among)
    ]
    return [_miss(item, retriever.retrieve(item.question, top_k=looked_at), looked_at) for item in missed]


def _miss(item: Item, retrieval: Retrieval, looked_at: int) -> Miss:
    return Miss(
        item=item,
        looked_at=looked_at,
        span_rank=_best(retrieval.hits, item.gold),
        file_rank=_best(retrieval.hits, _files(item)),
        first=retrieval.hits[0].chunk.path if retrieval.hits else "",
    )


def _outcome(item: Item, retrieval: Retrieval, took_ms: float) -> Outcome:
    hits, exact = retrieval.hits, retrieval.exact
    return Outcome(
        item=item,
        span_rank=_best(hits, item.gold),
        file_rank=_best(hits, _files(item)),
        older_rank=_rank(hits, item.older) if item.older else None,
        abstained=not (retrieval.enough or (exact and exact.complete)),
        is_exact=None if item.value is None else _is_value(exact, item.value),
        took_ms=took_ms,
    )


def _files(item: Item) -> list[Passage]:
    return [Passage(gold.file, "") for gold in item.gold]


def _best(hits: Sequence[Hit], gold: Sequence[Passage]) -> int | None:
    return min(filter(None, (_rank(hits, passage) for passage in gold)), default=None)


def _rank(hits: Sequence[Hit], passage: Passage) -> int | None:
    span = collapse(passage.span)
    return next(
        (
            rank
            for rank, hit in enumerate(hits, 1)
            if hit.chunk.path == passage.file and span in collapse(hit.chunk.text)
        ),
        None,
    )


def collapse(text: str) -> str:
    """Return `text` with every run of white space as one blank."""
    return " ".join(text.split())


def _is_value(exact: Exact | None, wanted: Any) -> bool:
    """Tell whether code found the value itself: True is not 1, the order of a list does not matter."""
    found = exact.value if exact else None
    if isinstance(found, list | tuple) and isinstance(wanted, list):
        return sorted(map(str, found)) == sorted(map(str, wanted))
    return type(found) is type(wanted) and found == wanted
