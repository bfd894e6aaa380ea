"""A report beside an earlier one of the same questions: what was lost, what won, and is it noise?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from cervella_rag.errors import EvaluationFileError
from cervella_rag.evaluation.noise import SIGNIFICANT, chance_of_drop
from cervella_rag.evaluation.retrieval import UNANSWERABLE
from cervella_rag.evaluation.trec import by_question

_KEPT = ("kind", "has_gold", "span_rank", "file_rank", "abstained", "exact")
Row = Mapping[str, Any]


def save_baseline(report: Mapping[str, Any], path: Path) -> None:
    """Write what a later run is compared with, one line a question.

    Raises:
        EvaluationFileError: It cannot be written.
    """
    rows = sorted(report["questions"], key=lambda row: str(row["id"]))
    lines = [
        f"  {json.dumps(row['id'])}: {json.dumps({name: row[name] for name in _KEPT})}" for row in rows
    ]
    made = json.dumps({"file": report["file"], "settings": report["settings"]}, sort_keys=True)
    text = f'{{"made": {made},\n "questions": {{\n' + ",\n".join(lines) + "\n}}\n"
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise EvaluationFileError(path=str(path), reason=error.strerror) from error


def compare(report: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Compare a report with a baseline; only questions that both asked count.

    Returns:
        `measures`: each with `before`, `now`, `chance` (how likely such a drop is by chance alone) and
        `dropped`; `lost` and `won`: ids of questions whose passage left or entered the first five;
        `asked`: questions compared; `passed`: False where one of the measures dropped beyond noise.

    Raises:
        EvaluationFileError: The baseline cannot be read, or has none of the questions.
    """
    before = _read(path)
    now = {str(row["id"]): row for row in report["questions"]}
    ids = sorted(before.keys() & now.keys())
    if not ids:
        raise EvaluationFileError(path=str(path), reason="none of the questions is in it")
    pairs = {name: _paired(values, before, now, ids) for name, values in _MEASURES.items()}
    measures = {name: _told(*pair) for name, pair in pairs.items() if pair[0]}
    was_found, is_found = (_FOUND({one: rows[one] for one in ids}) for rows in (before, now))
    return {
        "baseline": str(path),
        "asked": len(ids),
        "measures": measures,
        "lost": [one for one in ids if was_found.get(one, 0) > is_found.get(one, 0)],
        "won": [one for one in ids if was_found.get(one, 0) < is_found.get(one, 0)],
        "passed": not any(measure["dropped"] for measure in measures.values()),
    }


def _read(path: Path) -> dict[str, Row]:
    try:
        questions = json.loads(path.read_text("utf-8"))["questions"]
        return {str(one): {name: row[name] for name in _KEPT} for one, row in questions.items()}
    except OSError as error:
        raise EvaluationFileError(path=str(path), reason=error.strerror) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationFileError(path=str(path), reason=repr(error)) from error


Valued = Callable[[Mapping[str, Row]], dict[str, float]]


def _ranked(rank: str, measure: str) -> Valued:
    """Return what gives a measure of the questions that have gold."""

    def values(rows: Mapping[str, Row]) -> dict[str, float]:
        ranks = {one: row[rank] for one, row in rows.items() if row["has_gold"]}
        return {one: found[measure] for one, found in by_question(ranks).items()}

    return values


def _decided(rows: Mapping[str, Row]) -> dict[str, float]:
    return {one: float(row["abstained"] == (row["kind"] == UNANSWERABLE)) for one, row in rows.items()}


def _exact(rows: Mapping[str, Row]) -> dict[str, float]:
    return {one: float(row["exact"]) for one, row in rows.items() if row["exact"] is not None}


_FOUND = _ranked("span_rank", "hit@5")
_MEASURES: Mapping[str, Valued] = {
    "span hit@5": _FOUND,
    "span mrr@10": _ranked("span_rank", "mrr@10"),
    "file hit@5": _ranked("file_rank", "hit@5"),
    "abstention": _decided,
    "exact": _exact,
}


def _paired(
    values: Valued, before: Mapping[str, Row], now: Mapping[str, Row], ids: list[str]
) -> tuple[list[float], list[float]]:
    was, is_ = (values({one: rows[one] for one in ids}) for rows in (before, now))
    common = [one for one in ids if one in was and one in is_]
    return [was[one] for one in common], [is_[one] for one in common]


def _told(before: list[float], now: list[float]) -> dict[str, Any]:
    chance = chance_of_drop(before, now)
    return {
        "before": round(fmean(before), 4),
        "now": round(fmean(now), 4),
        "chance": chance,
        "dropped": chance < SIGNIFICANT,
    }
