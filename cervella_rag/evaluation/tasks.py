"""The twenty tasks: what code can check of an answer, what a judge marks, and what is left for a person.

Form and figures are checked by patterns (task_checks.toml) and by the true values that come with the
tasks. The rubric's four criteria are marked by a model where one is asked to; without one the answers go,
unnamed and in random places, on a sheet for a person: see `sheet`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from cervella_rag.domain import Answer, Question
from cervella_rag.errors import EvaluationFileError
from cervella_rag.evaluation.answers import says
from cervella_rag.memory.lexical import fold
from cervella_rag.persona.hard_rules import EMOJI

CRITERIA = ("correctness", "completeness", "style", "utility")
PASS_SHARES: Mapping[int, float] = {1: 0.80, 2: 0.75, 3: 0.70}
"""Share of the rubric a task of each tier needs, as the partner set them."""

_CHECKS = Path(__file__).parent / "task_checks.toml"
_ITEM = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+\S", re.M)
_ROW = re.compile(r"^\s*\|.*\|\s*$", re.M)
_SECTION = re.compile(r"^#{1,4}\s+\S", re.M)


@dataclass(frozen=True, slots=True)
class Task:
    """One task: what is asked, what is true of it, and what an answer could look like."""

    id: str
    tier: int
    name: str
    question: str
    true: Any
    expected: str


@dataclass(frozen=True, slots=True)
class Done:
    """One answer with what code found and, where a judge was asked, its marks from 1 to 5."""

    task: Task
    answer: Answer
    checks: Mapping[str, bool]
    marks: Mapping[str, int] | None


def read_tasks(folder: Path) -> list[Task]:
    """Read `tasks.json` and `inputs.json` of a folder.

    Raises:
        EvaluationFileError: One of them cannot be read.
    """
    tasks, inputs = (_read(folder / name) for name in ("tasks.json", "inputs.json"))
    try:
        return [
            Task(
                id=task["id"],
                tier=int(task["tier"]),
                name=task["name"],
                question=inputs.get(task["id"], {}).get("question", task["input"]),
                true=inputs.get(task["id"], {}).get("true"),
                expected=task.get("output_expected", ""),
            )
            for task in tasks["tasks"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise EvaluationFileError(path=str(folder / "tasks.json"), reason=repr(error)) from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise EvaluationFileError(path=str(path), reason=error.strerror) from error
    except ValueError as error:
        raise EvaluationFileError(path=str(path), reason=str(error)) from error


Judge = Callable[[Task, str], Awaitable[Mapping[str, int] | None]]


async def evaluate_tasks(
    tasks: Sequence[Task],
    reply: Callable[[Question], Awaitable[Answer]],
    judge: Judge | None,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Ask every task and return what came of it."""
    done = []
    for number, task in enumerate(tasks, 1):
        answer = await reply(Question(task.question))
        marks = await judge(task, answer.answer) if judge else None
        done.append(Done(task, answer, check(task, answer.answer), marks))
        progress(number, len(tasks))
    return summarise(done)


def check(task: Task, text: str) -> dict[str, bool]:
    """Return every check of a task by its name, and whether the answer passes it."""
    found: dict[str, bool] = {}
    entry = _rules().get(task.id, {})
    for rule in entry.get("checks", []):
        for name, passed in _apply(rule, text):
            found[name] = passed
    for place, value in _values(task.true):
        if place not in entry.get("unasked", []):
            found[f"true: {place} = {value}"] = says(text, value)
    return found


def _apply(rule: Mapping[str, Any], text: str) -> Iterator[tuple[str, bool]]:
    kind, value, patterns = rule["kind"], rule.get("value", 0), rule.get("patterns", [])
    folded = fold(text)
    match kind:
        case "words_at_most":
            yield f"at most {value} words", 0 < len(text.split()) <= value
        case "items_at_most":
            yield f"at most {value} items", len(_ITEM.findall(text)) <= value
        case "items_at_least":
            yield f"at least {value} items", len(_ITEM.findall(text)) >= value
        case "sections":
            yield f"at least {value} sections", len(_SECTION.findall(text)) >= value
        case "table":
            yield f"a table of {value} rows", len(_ROW.findall(text)) >= value + 2
        case "no_emoji":
            yield "no emoji", bool(text.strip()) and not EMOJI.search(text)
        case "all":
            for pattern in patterns:
                yield f"says {pattern}", bool(re.search(pattern, folded))
        case "any":
            yield f"says {' or '.join(patterns)}", any(re.search(one, folded) for one in patterns)
        case _:
            raise ValueError(f"no check {kind!r}")


def _values(true: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every true value with its place; of a table both its keys' names and their values are one."""
    match true:
        case bool() | None:
            return  # what is so and cannot be said in a word is a pattern
        case dict():
            for key, value in true.items():
                if "/" in str(key):  # where a file was found is to be said, not only what is in it
                    yield place, str(key)
                yield from _values(value, f"{place}.{key}".lstrip("."))
        case list():
            for value in true:
                yield from _values(value, place)
        case _:
            yield place, str(true)


@cache
def _rules() -> dict[str, dict[str, Any]]:
    with _CHECKS.open("rb") as file:
        return tomllib.load(file)


def summarise(done: Sequence[Done]) -> dict[str, Any]:
    """Return the measures; shares are between 0 and 1, marks of the rubric between 1 and 5.

    A task passes where all its checks do and its marks reach their tier's share. Without marks one whose
    truth is known passes by its checks alone; any other that passes them is left open for a person.
    """
    tiers = sorted({one.task.tier for one in done})
    return {
        "tasks": len(done),
        "checks_passed": _share([passed for one in done for passed in one.checks.values()]),
        "judged": sum(one.marks is not None for one in done),
        "passed": sum(_passes(one) is True for one in done),
        "open": sum(_passes(one) is None for one in done),
        "tiers": {
            str(tier): {
                "tasks": len(group),
                "passed": sum(_passes(one) is True for one in group),
                "needed": PASS_SHARES.get(tier),
            }
            for tier in tiers
            for group in [[one for one in done if one.task.tier == tier]]
        },
        "results": [_told(one) for one in done],
    }


def _passes(one: Done) -> bool | None:
    if not all(one.checks.values()):
        return False
    if one.marks is None:
        return True if one.task.true else None
    return fmean(one.marks.values()) / 5 >= PASS_SHARES.get(one.task.tier, 1.0)


def _told(one: Done) -> dict[str, Any]:
    return {
        "id": one.task.id,
        "tier": one.task.tier,
        "name": one.task.name,
        "question": one.task.question,
        "answer": one.answer.answer,
        "mode": one.answer.mode,
        "finish_reason": one.answer.finish_reason,
        "checks": dict(one.checks),
        "failed": [name for name, passed in one.checks.items() if not passed],
        "marks": dict(one.marks) if one.marks else None,
        "passed": _passes(one),
        "total_ms": one.answer.timings_ms.get("total"),
    }


def read_marks(text: str) -> dict[str, int] | None:
    """Return the marks a judge wrote, one line a criterion, or None where one of them is missing."""
    marks = {}
    for name in CRITERIA:
        found = re.search(rf"\b{name}\W{{1,4}}([1-5])\b", text, re.IGNORECASE)
        if not found:
            return None
        marks[name] = int(found[1])
    return marks


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None
