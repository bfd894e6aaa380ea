"""What a question asks of the voice besides a fact, by its words; and the examples that fit.

The phrases are data, prompts/situations.toml: `word*` stands for every word that begins so.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache

from cervella_rag.memory.lexical import fold, stems, words
from cervella_rag.persona.persona import Persona, Situation, VoiceExample
from cervella_rag.persona.phrases import phrase_pattern
from cervella_rag.resources import resource

_SHORT_QUESTION_WORDS = 10
_WORDS_BESIDE = 1
"""Words with a meaning that a question about her may have besides: "Ciao Cervella, chi sei davvero?"."""


def situations_of(question: str, *, grounded: bool) -> tuple[Situation, ...]:
    """Return the situations, those with most phrases first; at equal counts in the order of the file.

    Args:
        question: What was asked.
        grounded: Whether the memory holds an answer; without one there is the situation of not knowing.
    """
    folded = _plain(question)
    counts = {situation: len(pattern.findall(folded)) for situation, pattern in _patterns().items()}
    found = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
    if not grounded and not found:
        found = [Situation.UNKNOWN]
    return tuple(found)


def asks_about_her(question: str, persona: Persona) -> bool:
    """Tell whether the question is who she is, or only a greeting, and nothing besides."""
    folded = _plain(question)
    if len(folded.split()) > _SHORT_QUESTION_WORDS:
        return False
    rest, found = _about().subn(" ", folded)
    own = {fold(persona.sheet.name), fold(persona.partner)}
    return bool(found) and len([word for word in words(rest) if word not in own]) <= _WORDS_BESIDE


def choose_examples(
    examples: Iterable[VoiceExample],
    situations: Sequence[str],
    language: str,
    question: str,
    most: int,
) -> tuple[VoiceExample, ...]:
    """Return the examples that fit best, at most so many, the same ones for the same question.

    Only those of the situations; then those of the language, of the weightiest situation, and with most
    words of the question.
    """
    asked = stems(words(question))
    order = {situation: number for number, situation in enumerate(situations)}
    fitting = [example for example in examples if example.situation in order]
    fitting.sort(
        key=lambda one: (
            one.language != language,
            order[one.situation],
            -len(asked & stems(words(one.user))),
        )
    )
    return tuple(fitting[:most])


def _plain(text: str) -> str:
    return fold(text).replace("\u2019", "'")


@cache
def _phrases() -> dict[str, list[str]]:
    with (resource("prompts") / "situations.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def _patterns() -> dict[Situation, re.Pattern[str]]:
    phrases = _phrases()
    return {
        situation: phrase_pattern(phrases[situation]) for situation in Situation if phrases.get(situation)
    }


@cache
def _about() -> re.Pattern[str]:
    return phrase_pattern([*_phrases()[Situation.IDENTITY], *_phrases()["greeting"]])
