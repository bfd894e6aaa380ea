"""Outcomes become measures, overall and by kind; shares are between 0 and 1, times in milliseconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, quantiles
from typing import Any

from cervella_rag.evaluation.noise import interval
from cervella_rag.evaluation.retrieval import COUNTED, ORDERED_KINDS, UNANSWERABLE, Miss, Outcome
from cervella_rag.evaluation.trec import MEASURES, by_question

_FIRST = 5

Values = Mapping[str, Mapping[str, float]]
"""Measures of every question, by its id and the measure's name."""


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what the outcomes add up to, and each of them under `questions`."""
    scored = [outcome for outcome in outcomes if outcome.item.gold]
    values = {
        "span": by_question({outcome.item.id: outcome.span_rank for outcome in scored}),
        "file": by_question({outcome.item.id: outcome.file_rank for outcome in scored}),
    }
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.item.kind].append(outcome)
    unanswerable = kinds.get(UNANSWERABLE, [])
    elsewhere = [outcome for outcome in outcomes if outcome.item.kind != UNANSWERABLE]
    exact = [outcome.is_exact for outcome in kinds.get(COUNTED, []) if outcome.is_exact is not None]
    return {
        "items": len(outcomes),
        "overall": _measures(scored, values),
        "kinds": {
            kind: _measures(found, values)
            for kind, group in sorted(kinds.items())
            if (found := [outcome for outcome in group if outcome.item.gold])
        },
        "older_above_newer": {kind: _order(kinds.get(kind, ())) for kind in ORDERED_KINDS},
        "count_exist_exact": _share(exact),
        "unanswerable_abstained": _share(outcome.abstained for outcome in unanswerable),
        "wrongly_abstained": _share(outcome.abstained for outcome in elsewhere),
        "counts": {
            "count_exist": len(exact),
            "unanswerable": len(unanswerable),
            "elsewhere": len(elsewhere),
        },
        "latency_ms": _latency([outcome.took_ms for outcome in outcomes]),
        "questions": [_told(outcome) for outcome in outcomes],
    }


def told_miss(miss: Miss) -> dict[str, Any]:
    """Return a missed question as JSON."""
    return {
        "id": miss.item.id,
        "kind": miss.item.kind,
        "question": miss.item.question.text,
        "file": miss.item.gold[0].file,
        "span": miss.item.gold[0].span,
        "span_rank": miss.span_rank,
        "file_rank": miss.file_rank,
        "looked_at": miss.looked_at,
        "first": miss.first,
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.item.id,
        "kind": outcome.item.kind,
        "has_gold": bool(outcome.item.gold),
        "span_rank": outcome.span_rank,
        "file_rank": outcome.file_rank,
        "older_rank": outcome.older_rank,
        "abstained": outcome.abstained,
        "exact": outcome.is_exact,
        "took_ms": round(outcome.took_ms, 2),
    }


def _measures(outcomes: Sequence[Outcome], values: Mapping[str, Values]) -> dict[str, Any]:
    ids = [outcome.item.id for outcome in outcomes]
    return {
        "items": len(ids),
        **{group: {name: _mean([found[one][name] for one in ids]) for name in MEASURES}
           for group, found in values.items()},
        "interval": {
            group: {name: interval([found[one][name] for one in ids]) for name in MEASURES}
            for group, found in values.items()
        },
    }  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 4) if values else None


def _order(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Tell how the newer and the older passage rank, where a question names both.

    `share` is of those where either was found, as often as the old one comes first; `newer_above` of
    `both` where both were; `newer_first_5` of `questions`, found or not.
    """
    named = [outcome for outcome in outcomes if outcome.item.older]
    found = [outcome for outcome in named if outcome.span_rank or outcome.older_rank]
    both = [(one.span_rank, one.older_rank) for one in named if one.span_rank and one.older_rank]
    return {
        "items": len(found),
        "share": _share(_is_older_first(outcome) for outcome in found),
        "questions": len(named),
        "newer_first_5": sum((outcome.span_rank or _FIRST + 1) <= _FIRST for outcome in named),
        "both": len(both),
        "newer_above": sum(newer < older for newer, older in both),
    }


def _is_older_first(outcome: Outcome) -> bool:
    if outcome.older_rank is None:
        return False
    return outcome.span_rank is None or outcome.older_rank < outcome.span_rank


def _share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return round(sum(values) / len(values), 4) if values else None


def _latency(times: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [*times] * 99
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}
