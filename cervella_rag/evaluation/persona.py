"""How much a voice sounds like her: fixed questions, at three turns, with the persona and without it."""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from cervella_rag.domain import Chunk, Citation, Hit, Message, Metadata, Prompt, Scores
from cervella_rag.persona.hard_rules import hard_faults
from cervella_rag.persona.persona import Persona
from cervella_rag.persona.situations import asks_about_her
from cervella_rag.persona.voice_score import NAMES, VoiceScore, score_voice
from cervella_rag.resources import resource

TURNS = (1, 8, 20)
CONDITIONS = ("persona", "bare")
ANSWER_TOKENS = 160
"""Longest answer that is measured; 48 of them take a 1.5B model on two cores about a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One question and when it is asked."""

    situation: str
    turn: int
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer and what was heard in it."""

    scene: Scene
    condition: str
    answer: str
    score: VoiceScore
    faults: tuple[str, ...]


def read_scenes(persona: Persona, turns: Sequence[int] = TURNS) -> list[Scene]:
    """Return the questions of prompts/evaluation/persona.toml at each turn, by turn."""
    with (resource("prompts") / "evaluation" / "persona.toml").open("rb") as file:
        data = tomllib.load(file)
    return [
        Scene(scene["situation"], turn, _prompt(scene, _before(data["before"], turn - 1), persona))
        for turn in turns
        for scene in data["scenes"]
    ]


def _before(pairs: Sequence[Mapping[str, str]], count: int) -> tuple[Message, ...]:
    said = (pairs[number % len(pairs)] for number in range(count))
    return tuple(
        message
        for pair in said
        for message in (Message("user", pair["question"]), Message("assistant", pair["answer"]))
    )


def _prompt(scene: Mapping[str, str], history: tuple[Message, ...], persona: Persona) -> Prompt:
    found = [_passage(scene)] if "note" in scene else []
    return Prompt(
        question=scene["question"],
        language="it",
        hits=tuple(hit for hit, _ in found),
        citations=tuple(citation for _, citation in found),
        grounded=bool(found),
        history=history,
        today="2026-02-09",
        situations=(scene["situation"],),
        about_her=asks_about_her(scene["question"], persona),
    )


def _passage(scene: Mapping[str, str]) -> tuple[Hit, Citation]:
    file, note, date = scene["file"], scene["note"], scene["date"]
    metadata = Metadata(file, date=date)
    chunk = Chunk(file, "eval", file, (file,), "", (), 1, 1, note, note, metadata)
    return Hit(chunk, Scores()), Citation(1, file, file, (), 1, 1, date, None, None, None, note)


async def hear(
    scenes: Iterable[Scene],
    condition: str,
    speak: Callable[[Prompt], Awaitable[str]],
    persona: Persona,
    detect_language: Callable[[str], str],
) -> list[Heard]:
    """Ask every question of a voice, in order, and score what it says."""
    heard = []
    for scene in scenes:
        prompt = scene.prompt
        answer = await speak(prompt)
        score = score_voice(prompt.question, answer, persona)
        faults = hard_faults(answer, persona, prompt.language, detect_language)
        heard.append(Heard(scene, condition, answer, score, faults))
    return heard


def summarise(heard: Sequence[Heard]) -> dict[str, Any]:
    """Return the measures: by condition and turn, by indicator, how far she drifts, what the persona adds.

    Shares are between 0 and 1, marks between 1 and 5. `drift` is the share at the first turn less that at
    the last; `margin` the share with the persona less that without.
    """
    by_condition = {name: [one for one in heard if one.condition == name] for name in CONDITIONS}
    shares = {name: _mean(one.score.share for one in group) for name, group in by_condition.items()}
    hers = by_condition["persona"]
    turns = sorted({one.scene.turn for one in heard})
    at = {turn: _mean(one.score.share for one in hers if one.scene.turn == turn) for turn in turns}
    return {
        "answers": len(heard),
        "conditions": {
            name: {
                **_measures(group),
                "turns": {
                    str(turn): _measures([one for one in group if one.scene.turn == turn]) for turn in turns
                },
            }
            for name, group in by_condition.items()
        },
        "situations": {
            situation: _mean(one.score.share for one in hers if one.scene.situation == situation)
            for situation in dict.fromkeys(one.scene.situation for one in hers)
        },
        "indicators": {
            f"{number}. {NAMES[number - 1]}": _rate(one.score.indicators[number] for one in hers)
            for number in range(1, len(NAMES) + 1)
        },
        "drift": _less(at.get(turns[0]), at.get(turns[-1])) if turns else None,
        "margin": _less(shares["persona"], shares["bare"]),
        "heard": [_told(one) for one in heard],
    }


def _measures(group: Sequence[Heard]) -> dict[str, Any]:
    return {
        "answers": len(group),
        "share": _mean(one.score.share for one in group),
        "mark": _mean(one.score.mean for one in group),
        "passed": _mean(float(one.score.passes) for one in group),
        "without_faults": _mean(float(not one.faults) for one in group),
    }


def _told(one: Heard) -> dict[str, Any]:
    return {
        "situation": one.scene.situation,
        "turn": one.scene.turn,
        "condition": one.condition,
        "question": one.scene.prompt.question,
        "answer": one.answer,
        "met": one.score.met,
        "applicable": one.score.applicable,
        "mark": round(one.score.mean, 2),
        "missed": [NAMES[number - 1] for number, met in one.score.indicators.items() if met is False],
        "faults": list(one.faults),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(fmean(known), 3) if known else None


def _rate(flags: Iterable[bool | None]) -> float | None:
    return _mean(float(flag) for flag in flags if flag is not None)


def _less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else round(first - second, 3)
