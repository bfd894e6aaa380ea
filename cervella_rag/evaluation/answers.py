"""How good answers are on an evaluation file: right words and figures, citations, abstention, language."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from cervella_rag.domain import Answer, Question
from cervella_rag.errors import EvaluationFileError
from cervella_rag.evaluation.retrieval import Item, read_items
from cervella_rag.memory.lexical import stems, words

_WORDS_SHARE = 0.6
"""Share of the expected answer's words that must be said; it may be said in other words around them."""
_UNIT = re.compile(r"(?<=\d)(?=[A-Za-z])")
"""Where a unit begins: 20GB and 20 GB are one."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?$")
_QUOTED = re.compile(r"^\s*>.*$|^\s*\[\d+\] .*$", re.M)


@dataclass(frozen=True, slots=True)
class Asked:
    """An item with what a right answer says."""

    item: Item
    answer: str
    language: str


@dataclass(frozen=True, slots=True)
class Given:
    """What was answered and how it was judged; None where the item does not ask for it."""

    asked: Asked
    answer: Answer
    is_right: bool | None
    cites_gold: bool | None
    precision: float | None
    in_language: bool


def read_asked(path: Path) -> list[Asked]:
    """Read an evaluation file with its answers.

    Raises:
        EvaluationFileError: It is missing or a line is not an item.
    """
    items = read_items(path)
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    try:
        return [
            Asked(item, str(row["answer"] or ""), str(row["lang"]))
            for item, row in zip(items, rows, strict=True)
        ]
    except KeyError as error:
        raise EvaluationFileError(path=str(path), reason=f"no {error} in an item") from error


async def evaluate_answers(
    asked: Sequence[Asked],
    reply: Callable[[Question], Awaitable[Answer]],
    detect_language: Callable[[str], str],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Ask every question and return the measures."""
    given = []
    for number, one in enumerate(asked, 1):
        given.append(judge(one, await reply(one.item.question), detect_language))
        progress(number, len(asked))
    return summarise(given)


def judge(asked: Asked, answer: Answer, detect_language: Callable[[str], str]) -> Given:
    """Compare one answer with what the item expects."""
    gold = {passage.file for passage in asked.item.gold}
    cited = [citation.path for citation in answer.citations]
    is_answerable = asked.item.kind != "unanswerable"
    # The closest passages, offered after an answer that was taken back, do not make it right.
    is_kept = not answer.provenance.get("refusal")
    # What is quoted is in the memory's language; her own words are to be in the asker's.
    span = answer.provenance.get("voice_span")
    said = answer.answer[slice(*span)] if isinstance(span, list) else answer.answer
    own = _QUOTED.sub("", said).strip() or answer.answer
    return Given(
        asked=asked,
        answer=answer,
        is_right=is_kept and says(answer.answer, asked.answer) if is_answerable and asked.answer else None,
        cites_gold=bool(gold & set(cited)) if gold else None,
        precision=sum(path in gold for path in cited) / len(cited) if gold and cited else None,
        in_language=detect_language(own) == asked.language,
    )


def says(text: str, expected: str) -> bool:
    """Tell whether a text says what is expected: every figure of it, and most of its words."""
    said, wanted = words(_UNIT.sub(" ", text)), words(_UNIT.sub(" ", expected))
    if not _figures(wanted) <= _figures(said) | _thousands(said):
        return False
    wanted_stems = stems([word for word in wanted if not word[0].isdigit()])
    return not wanted_stems or len(wanted_stems & stems(said)) >= _WORDS_SHARE * len(wanted_stems)


def _figures(found: Sequence[str]) -> set[str]:
    return {_figure(word) for word in found if word[0].isdigit()}


def _thousands(found: Sequence[str]) -> set[str]:
    """Return the figures said in thousands: 70.2K is 70200."""
    counted = (_figure(word) for word, unit in pairwise(found) if word[0].isdigit() and unit == "k")
    return {
        format((Decimal(figure) * 1000).normalize(), "f") for figure in counted if _NUMBER.match(figure)
    }


def _figure(word: str) -> str:
    """Return a figure without what separates its thousands: 1.749, 1,749 and 1749 are one."""
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", word):
        word = re.sub(r"[.,]", "", word)
    return word.replace(",", ".").lstrip("0") or "0"


def summarise(given: Sequence[Given]) -> dict[str, Any]:
    """Return the measures of what was answered; shares are between 0 and 1."""
    kinds = sorted({one.asked.item.kind for one in given})
    unanswerable = [one for one in given if one.asked.item.kind == "unanswerable"]
    answerable = [one for one in given if one.asked.item.kind != "unanswerable"]
    return {
        "items": len(given),
        "right": _share(one.is_right for one in given),
        "right_by_kind": {
            kind: _share(one.is_right for one in given if one.asked.item.kind == kind) for kind in kinds
        },
        "citation_precision": _mean(one.precision for one in given),
        "citation_recall": _share(one.cites_gold for one in given),
        "invalid_citations": sum(len(_list(one.answer, "citations_removed")) for one in given),
        "unsupported_sentences": sum(len(_list(one.answer, "unsupported")) for one in given),
        "unanswerable_abstained": _share(not one.answer.grounded for one in unanswerable),
        "wrongly_abstained": _share(not one.answer.grounded for one in answerable),
        "in_language": _share(one.in_language for one in given),
        "answers": [
            {
                "id": one.asked.item.id,
                "kind": one.asked.item.kind,
                "mode": one.answer.mode,
                "answer": one.answer.answer,
                "right": one.is_right,
                "cites_gold": one.cites_gold,
                "in_language": one.in_language,
                "refusal": one.answer.provenance.get("refusal", ""),
                "grounded": one.answer.grounded,
            }
            for one in given
        ],
    }


def _list(answer: Answer, name: str) -> Sequence[object]:
    """Return what was taken out of an answer or doubted: it never reached the reader, but was said."""
    found = answer.provenance.get(name)
    return found if isinstance(found, list) else ()


def _share(flags: Iterable[bool | None]) -> float | None:
    return _mean(None if flag is None else float(flag) for flag in flags)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 4) if known else None
