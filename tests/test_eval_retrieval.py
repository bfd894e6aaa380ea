"""`cervella eval retrieval`: figures as trec_eval has them, shares, order, misses, and the gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cervella_rag import bootstrap, terminal_eval
from cervella_rag.domain import (
    Chunk,
    Exact,
    Hit,
    IndexInfo,
    Metadata,
    Question,
    Retrieval,
    Scores,
    Understood,
)
from cervella_rag.errors import EvaluationFileError
from cervella_rag.evaluation.baseline import compare, save_baseline
from cervella_rag.evaluation.noise import chance_of_drop, interval
from cervella_rag.evaluation.retrieval import Outcome, evaluate, find_misses, read_items
from cervella_rag.evaluation.summary import summarise, told_miss
from cervella_rag.evaluation.trec import by_question
from cervella_rag.retrieval.retriever import Retriever
from cervella_rag.settings import Settings

from .test_cli import cervella


def test_ranks_become_the_figures_of_trec_eval() -> None:
    """As `trec_eval -m success.1,5,10 -m recip_rank` gives them; beyond the tenth nothing is found."""
    figures = by_question({"first": 1, "fourth": 4, "tenth": 10, "beyond": 11, "never": None})
    assert figures["first"] == {"hit@1": 1, "hit@5": 1, "hit@10": 1, "mrr@10": 1}
    assert figures["fourth"] == {"hit@1": 0, "hit@5": 1, "hit@10": 1, "mrr@10": 0.25}
    assert figures["tenth"] == pytest.approx({"hit@1": 0, "hit@5": 0, "hit@10": 1, "mrr@10": 0.1})
    assert figures["beyond"] == figures["never"] == {"hit@1": 0, "hit@5": 0, "hit@10": 0, "mrr@10": 0}


def test_an_interval_holds_the_mean_and_narrows_with_more_questions() -> None:
    few, many = interval([1.0, 0.0] * 10), interval([1.0, 0.0] * 200)
    assert few is not None
    assert many is not None
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
    assert interval([1.0, 0.0] * 10) == few  # drawn from a fixed seed
    assert interval([1.0]) is None


@pytest.mark.parametrize(
    ("lost", "won", "is_noise"),
    [(0, 0, True), (3, 0, True), (5, 1, True), (6, 0, False), (20, 8, False), (0, 9, True)],
)
def test_a_drop_is_more_than_noise_where_chance_seldom_gives_it(
    lost: int, won: int, is_noise: bool
) -> None:
    before = [1.0] * (lost + 50) + [0.0] * (won + 50)
    now = [0.0] * lost + [1.0] * 50 + [1.0] * won + [0.0] * 50
    assert (chance_of_drop(before, now) >= 0.05) is is_noise


def hit(path: str, text: str) -> Hit:
    chunk = Chunk("", "m", path, (path,), "", (), 1, 1, text, text, Metadata(title="t"))
    return Hit(chunk, Scores())


class Scripted(Retriever):
    """Answers what it is told to, by the question's text."""

    def __init__(self, answers: dict[str, tuple[list[Hit], bool, Exact | None]]) -> None:
        self._answers = answers

    def retrieve(self, question: Question, *, top_k: int = 10) -> Retrieval:
        """See `Retriever`."""
        hits, enough, exact = self._answers[question.text]
        return Retrieval(
            question, tuple(hits[:top_k]), enough, (), Understood("", ()), IndexInfo(1, 1, 1), 1.0, exact
        )


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps({"lang": "it", "answer": "", **row}) for row in rows))
    return path


def fact(one: str, **more: Any) -> dict[str, Any]:
    return {"id": one, "kind": "fact", "question": one, "file": "gold.md", "span": "the gold", **more}


NOISE = [hit("other.md", f"no {number}") for number in range(11)]
GOLD = hit("gold.md", "here\n  is the   gold")


def outcomes(tmp_path: Path) -> list[Outcome]:
    counted = {"kind": "count_exist", "file": None, "span": None}
    items = read_items(
        written(
            tmp_path / "eval.jsonl",
            fact("found"),
            fact("late"),
            {**fact("newer"), "kind": "superseded", "old_file": "old.md", "old_span": "it was"},
            {**fact("older"), "kind": "superseded", "old_file": "old.md", "old_span": "it was"},
            {**fact("counted"), **counted, "tool_answer": 3},
            {**fact("miscounted"), **counted, "tool_answer": True},
            {**fact("unknown"), "kind": "unanswerable", "file": None, "span": None},
        )
    )
    old = hit("old.md", "it was")
    scripted = Scripted(
        {
            "found": ([NOISE[0], GOLD], True, None),
            "late": ([*NOISE[:6], hit("gold.md", "elsewhere"), *NOISE[6:], GOLD], False, None),
            "newer": ([GOLD, old], True, None),
            "older": ([old, *NOISE[:6], GOLD], True, None),
            "counted": (NOISE, False, Exact("count_files", 3)),
            "miscounted": (NOISE, False, Exact("count_files", 1)),
            "unknown": (NOISE, False, None),
        }
    )
    found = evaluate(scripted, items, lambda done, total: None)
    (miss, other) = find_misses(scripted, found, among=5, looked_at=60)
    assert told_miss(miss) | {"question": ""} == {
        "id": "late", "kind": "fact", "question": "", "file": "gold.md", "span": "the gold",
        "span_rank": 13, "file_rank": 7, "looked_at": 60, "first": "other.md",
    }  # fmt: skip
    assert (other.item.id, other.span_rank) == ("older", 8)
    return found


def test_outcomes_add_up(tmp_path: Path) -> None:
    report = summarise(outcomes(tmp_path))
    assert report["overall"]["span"] == {"hit@1": 0.25, "hit@5": 0.5, "hit@10": 0.75, "mrr@10": 0.4062}
    assert report["overall"]["file"]["hit@10"] == 1.0
    assert report["kinds"]["fact"]["span"]["hit@5"] == 0.5
    assert report["older_above_newer"]["superseded"] == {
        "items": 2, "share": 0.5, "questions": 2, "newer_first_5": 1, "both": 2, "newer_above": 1,
    }  # fmt: skip
    assert report["count_exist_exact"] == 0.5  # True is not 1
    assert report["unanswerable_abstained"] == 1.0
    assert report["wrongly_abstained"] == pytest.approx(1 / 6, abs=1e-4)  # "late"; a count is an answer
    assert set(report["latency_ms"]) == {"p50", "p95", "p99"}
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]


def told(tmp_path: Path, **ranks: int | None) -> dict[str, Any]:
    """Return a report whose questions have these ranks."""
    template = outcomes(tmp_path)[0]
    many = [
        replace(template, item=replace(template.item, id=one), span_rank=rank, file_rank=rank)
        for one, rank in ranks.items()
    ]
    return {"file": "eval.jsonl", "settings": {}, **summarise(many)}


def test_the_gate_stops_a_drop_and_lets_noise_pass(tmp_path: Path) -> None:
    names = [f"q{number}" for number in range(20)]
    kept = tmp_path / "baseline.json"
    save_baseline(told(tmp_path, **dict.fromkeys(names, 2)), kept)
    noise = compare(told(tmp_path, **dict.fromkeys(names, 2) | {"q3": None, "new": 1}), kept)
    assert (noise["passed"], noise["lost"], noise["asked"]) == (True, ["q3"], 20)
    drop = compare(told(tmp_path, **dict.fromkeys(names, 2) | dict.fromkeys(names[:8], 7)), kept)
    assert not drop["passed"]
    assert drop["lost"] == sorted(names[:8])
    assert drop["measures"]["span hit@5"] == {"before": 1.0, "now": 0.6, "chance": 0.0039, "dropped": True}
    better = compare(told(tmp_path, **dict.fromkeys(names, 1)), kept)
    assert (better["passed"], better["measures"]["span mrr@10"]["now"]) == (True, 1.0)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"questions": {"x": 1}}', '{"questions": {"elsewhere": {}}}', '{"questions": {}}']
)
def test_a_baseline_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "baseline.json").write_text(text)
    with pytest.raises(EvaluationFileError, match=r"baseline\.json"):
        compare(told(tmp_path, q=1), tmp_path / "baseline.json")
    with pytest.raises(EvaluationFileError, match="gone"):
        compare(told(tmp_path, q=1), tmp_path / "gone.json")


def test_one_id_stands_for_one_question(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFileError, match=r"line 2.*'a' again"):
        read_items(written(tmp_path / "eval.jsonl", fact("a"), fact("a")))


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    oven = {"file": "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md", "span": "per **sei ore**"}
    return written(
        tmp_path / "eval.jsonl",
        {**fact("1"), **oven, "question": "Quante ore tiene il forno?"},
        {**fact("2"), **oven, "question": "Xyzzy?", "span": "no such words"},
        {"id": "3", "kind": "count_exist", "question": "Quanti file ci sono nella cartella idee?",
         "file": "idee", "span": None, "tool_answer": 2},
    )  # fmt: skip


def test_it_indexes_apart_and_leaves_the_index_alone(
    january: Path, asked: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    stages: set[str] = set()
    report = bootstrap.evaluate_retrieval(
        settings, asked, lambda stage, done, total: stages.add(stage), [january]
    )
    assert stages == {"read", "embed", "questions"}
    assert report["indexing"]["took_ms"] > 0
    assert report["settings"]["embedder"].startswith("use-")
    assert report["count_exist_exact"] == 1.0
    assert not (settings.home / "index").exists()
    terminal_eval.show_measures(report)
    terminal_eval.show_misses(report["misses"])
    shown = capsys.readouterr().out
    for told in (
        "The passage",
        "95 in 100",
        "indexed from nothing",
        "exact facts right: 1.000 of 1",
        "Xyzzy?",
    ):
        assert told in shown


def test_the_gate_of_the_command(january: Path, asked: Path, tmp_path: Path) -> None:
    kept, words = tmp_path / "baseline.json", {"CERVELLA_EMBEDDER__NAME": "none"}
    command = ("eval", "retrieval", asked, "--memory", january)
    first = cervella(*command, "--save-baseline", kept, "--misses", env=words)
    assert (first.returncode, "Xyzzy?" in first.stdout) == (0, True), first.stderr
    rows = json.loads(kept.read_text())["questions"]
    many = {f"more {number}": rows["1"] for number in range(9)}
    kept.write_text(json.dumps({"questions": rows | many}))
    written(asked, *(fact(one, question="Xyzzy?", file="no.md") for one in ("1", *many)))
    dropped = cervella(*command, "--baseline", kept, env=words)
    assert dropped.returncode == 1
    assert "A drop beyond chance: span hit@5" in dropped.stderr
    assert "Lost from the first five: 1, more 0" in dropped.stdout


def test_what_was_won_and_lost_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "baseline.json"
    save_baseline(told(tmp_path, a=1, b=None, c=3), kept)
    terminal_eval.show_comparison(compare(told(tmp_path, a=1, b=2, c=None), kept))
    shown = capsys.readouterr().out
    assert "on 3 questions" in shown
    assert "New among the first five: b" in shown
    assert "Lost from the first five: c" in shown
    assert "No drop beyond chance." in shown
