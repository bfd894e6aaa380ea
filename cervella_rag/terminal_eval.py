"""How measures look in a terminal: tables of figures, words from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from cervella_rag.terminal import err, out, safe, say

_MAIN = "hit@5"
"""The figure that is shown with its interval."""


def show_line(found: Mapping[str, Any]) -> None:
    """Print what `eval calibrate` found."""
    right, wrong = (_number(found[f"turned_away_{name}"]) for name in ("rightly", "wrongly"))
    out.print(say("line_drawn", right=right, wrong=wrong, **found))


def show_measures(report: Mapping[str, Any]) -> None:
    """Print the measures of `eval retrieval`."""
    out.print(safe(f"{report['file']}: {say('eval_title', items=report['items'], **report['index'])}"))
    for group in ("span", "file"):
        out.print(_table(report, group))
    _show_shares(report)
    settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items())
    out.print(safe(say("eval_settings", settings=settings)), style="dim")


def _table(report: Mapping[str, Any], group: str) -> Table:
    """Return the measures of passages or of files, overall and by kind."""
    table = Table(title=say(f"eval_{group}"))
    table.add_column("")
    names = list(report["overall"][group])
    for name in ("n", *names):
        table.add_column(name, justify="right")
        if name == _MAIN:
            table.add_column(say("eval_interval"), justify="right")
    for kind, measures in ((say("eval_all"), report["overall"]), *report["kinds"].items()):
        table.add_row(safe(kind), str(measures["items"]), *_cells(measures, group))
    return table


def _cells(measures: Mapping[str, Any], group: str) -> Iterator[str]:
    for name, value in measures[group].items():
        yield _number(value)
        if name == _MAIN:
            bounds = measures["interval"][group][name]
            yield f"{bounds[0]:.2f}-{bounds[1]:.2f}" if bounds else "-"


def _show_shares(report: Mapping[str, Any]) -> None:
    for kind, order in report["older_above_newer"].items():
        if order["questions"]:
            out.print(safe(say("eval_older", kind=kind, **{**order, "share": _number(order["share"])})))
    counts = report["counts"]
    if counts["count_exist"]:
        out.print(
            say("eval_exact", share=_number(report["count_exist_exact"]), items=counts["count_exist"])
        )
    right, wrong = (_number(report[name]) for name in ("unanswerable_abstained", "wrongly_abstained"))
    out.print(say("eval_abstained", right=right, wrong=wrong, **counts))
    out.print(say("eval_latency", **report["latency_ms"]))
    if indexing := report["indexing"]:
        seconds = f"{indexing['took_ms'] / 1000:.1f}"
        out.print(say("eval_indexing", **{**indexing, "seconds": seconds}))


def show_misses(misses: Sequence[Mapping[str, Any]]) -> None:
    """Print what is not among the first five, the nearest first."""
    out.print(say("eval_misses", count=len(misses)), style="bold")
    for miss in sorted(misses, key=lambda miss: (miss["span_rank"] or miss["looked_at"] + 1, miss["id"])):
        ranks = {name: _rank(miss[f"{name}_rank"], miss["looked_at"]) for name in ("span", "file")}
        out.print(safe(say("eval_miss", **{**miss, **ranks})))
        out.print(safe(f"    {miss['question']}"))


def _rank(rank: int | None, looked_at: int) -> str:
    return f"> {looked_at}" if rank is None else str(rank)


def show_comparison(comparison: Mapping[str, Any]) -> None:
    """Print what changed since a baseline; a drop beyond noise is told on stderr."""
    out.print(safe(say("eval_compared", asked=comparison["asked"], baseline=comparison["baseline"])))
    for name, measure in comparison["measures"].items():
        figures = {key: _number(measure[key]) for key in ("before", "now", "chance")}
        out.print(safe(say("eval_measure", name=name, **figures)))
    for name in ("lost", "won"):
        if comparison[name]:
            out.print(safe(f"{say(f'eval_{name}')}: {', '.join(comparison[name])}"))
    if comparison["passed"]:
        out.print(say("eval_held"))
    else:
        dropped = [name for name, measure in comparison["measures"].items() if measure["dropped"]]
        err.print(safe(say("eval_dropped", measures=", ".join(dropped))), style="red")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def show_voice_measures(report: dict[str, Any]) -> None:
    """Print the measures of `eval persona`."""
    table = Table(title=say("voice_title", persona=report["persona"], answers=report["answers"]))
    for column in ("", *(say(f"eval_{name}") for name in _VOICE_MEASURES)):
        table.add_column(column, justify="right" if column else "left")
    for condition, measures in report["conditions"].items():
        table.add_row(say(f"eval_{condition}"), *(_number(measures[name]) for name in _VOICE_MEASURES))
        for turn, part in measures["turns"].items():
            label = f"  {say('eval_turn', turn=turn)}"
            table.add_row(label, *(_number(part[name]) for name in _VOICE_MEASURES))
    out.print(table)
    for name in ("indicators", "situations"):
        shown = ", ".join(f"{key} {_number(value)}" for key, value in report[name].items())
        out.print(safe(f"{say(f'eval_{name}')}: {shown}"))
    out.print(say("voice_end", drift=_number(report["drift"]), margin=_number(report["margin"])))


_VOICE_MEASURES = ("share", "mark", "passed", "without_faults")


def show_answer_measures(report: dict[str, Any]) -> None:
    """Print the measures of `eval answers`."""
    for name, value in report.items():
        if name != "answers" and not isinstance(value, dict):
            shown = _number(value) if isinstance(value, float) or value is None else str(value)
            out.print(safe(f"{name}: {shown}"))
    kinds = ", ".join(f"{kind} {_number(share)}" for kind, share in report["right_by_kind"].items())
    out.print(safe(f"right_by_kind: {kinds}"))


def show_task_measures(report: dict[str, Any]) -> None:
    """Print what came of the twenty tasks, each with the checks it fails."""
    table = Table(
        title=say("tasks_title", passed=report["passed"], tasks=report["tasks"], left=report["open"])
    )
    for column in ("", "tier", say("eval_checks"), say("eval_marks"), say("eval_failed")):
        table.add_column(column)
    for result in report["results"]:
        checks = f"{sum(result['checks'].values())}/{len(result['checks'])}"
        marks = "/".join(str(mark) for mark in (result["marks"] or {}).values()) or "-"
        failed = safe("; ".join(result["failed"])[:160])
        table.add_row(result["id"], str(result["tier"]), checks, marks, failed)
    out.print(table)
    if not report["judged"]:
        out.print(say("tasks_unjudged"))
