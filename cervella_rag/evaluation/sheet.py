"""A blind sheet: two answers to each question, unnamed, in places that a seed decides, for a person."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with two answers; `swapped` tells that A is the second source's."""

    id: str
    question: str
    a: str
    b: str
    swapped: bool


def pair_answers(
    questions: Mapping[str, str], first: Mapping[str, str], second: Mapping[str, str], seed: int
) -> list[Pair]:
    """Return the pairs of the questions that both sources answered, each in a random place."""
    places = random.Random(seed)  # noqa: S311 - for fairness, not for secrets
    pairs = []
    for name, question in questions.items():
        swapped = places.random() < 0.5  # drawn for every question, so that a missing one moves no other
        answers = first.get(name, ""), second.get(name, "")
        if all(map(str.strip, answers)):
            a, b = reversed(answers) if swapped else answers
            pairs.append(Pair(name, question, a, b, swapped))
    return pairs


def key_of(pairs: Sequence[Pair], first: str, second: str) -> dict[str, dict[str, str]]:
    """Return who is who, to be kept apart from the sheet until it is filled in."""
    return {
        pair.id: {"A": second if pair.swapped else first, "B": first if pair.swapped else second}
        for pair in pairs
    }
