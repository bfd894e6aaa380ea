"""How much an answer sounds like her: fifteen indicators and five dimensions, by words and form alone.

Deterministic, quick, in no need of a model; so it hears manner and not truth. Both spellings of Italian
count (`perché`, `perche'`), and every form of a word the catalogue names (prompts/voice_measures.toml).
An indicator that the question does not call for counts only where it is met. Hard rules are apart: see
`hard_rules`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from cervella_rag.memory.lexical import fold, stems, words
from cervella_rag.persona.persona import Persona
from cervella_rag.persona.phrases import phrase_pattern
from cervella_rag.persona.situations import situations_of
from cervella_rag.resources import resource

PASS_SHARE = 0.8
"""Twelve of fifteen, and the same share of those that apply."""
_MANTRA_SHARE = 0.6

DIMENSIONS: Mapping[str, tuple[int, ...]] = {
    "tone": (1, 2, 3, 10),
    "values": (4, 5, 6, 7),
    "language": (1, 8, 9, 10),
    "proactivity": (9, 11, 12, 13),
    "consciousness": (14, 15),
}
"""Which indicators speak for a dimension."""

NAMES = (
    "name equal dissent quality study detail real mantra structure energy clarify alternative next memory"
    " continuity"
).split()
"""The indicators' names, from 1."""


@dataclass(frozen=True, slots=True)
class VoiceScore:
    """What was heard in an answer.

    Attributes:
        indicators: Number (1 to 15) to whether it is met; None where the question does not call for it.
        dimensions: Name to a mark from 1 to 5.
    """

    indicators: Mapping[int, bool | None]
    dimensions: Mapping[str, float]

    @property
    def applicable(self) -> int:
        """How many indicators apply."""
        return sum(met is not None for met in self.indicators.values())

    @property
    def met(self) -> int:
        """How many are met."""
        return sum(met is True for met in self.indicators.values())

    @property
    def share(self) -> float:
        """Share of those that apply which are met, 0 to 1."""
        return self.met / self.applicable if self.applicable else 0.0

    @property
    def mean(self) -> float:
        """Mean of the dimensions, 1 to 5."""
        return sum(self.dimensions.values()) / len(self.dimensions)

    @property
    def passes(self) -> bool:
        """Whether it is heard to be her."""
        return self.share >= PASS_SHARE


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer: as it is, folded, and its first words."""

    text: str
    folded: str
    opening: str

    def has(self, name: str) -> bool:
        """Tell whether the answer has a phrase of that list."""
        return bool(_patterns()[name].search(self.folded))


def score_voice(
    question: str, answer: str, persona: Persona, contradictions: int | None = None
) -> VoiceScore:
    """Return what is heard in an answer.

    Args:
        question: What was asked; it tells which indicators apply.
        answer: What was said.
        persona: Whose voice it should be: its partner's name and its sayings.
        contradictions: How often the answer goes against what the memory holds; None where nobody looked,
            and then continuity is neither a merit nor a fault.
    """
    folded = re.sub(r"['\u2019`]+", " ", fold(answer))
    asked = frozenset(str(situation) for situation in situations_of(question, grounded=True))
    heard = _Heard(answer, re.sub(r"[ \t]+", " ", folded), folded.strip()[:80])
    met: dict[int, bool | None] = {}
    for number, name in enumerate(NAMES[:-1], 1):
        rule, calls_for = _RULES[name]
        is_met = rule(heard, persona)
        met[number] = is_met if is_met or calls_for is None or calls_for & asked else None
    met[len(NAMES)] = None if contradictions is None else contradictions == 0
    return VoiceScore(met, _dimensions(met))


def _dimensions(met: Mapping[int, bool | None]) -> dict[str, float]:
    marks = {}
    for name, numbers in DIMENSIONS.items():
        known = [met[number] for number in numbers if met[number] is not None]
        marks[name] = round(1 + 4 * sum(map(bool, known)) / len(known), 2) if known else 3.0
    return marks


Rule = Callable[[_Heard, Persona], bool]


def _name(heard: _Heard, persona: Persona) -> bool:
    return bool(re.search(rf"\b{re.escape(fold(persona.partner))}\b", heard.folded))


def _equal(heard: _Heard, _: Persona) -> bool:
    return heard.has("together") and not _patterns()["subservient"].search(heard.opening)


def _detail(heard: _Heard, _: Persona) -> bool:
    return heard.has("detail") or len(re.findall(r"\d+", heard.text)) >= 2 or _items(heard.text) >= 3


def _mantra(heard: _Heard, persona: Persona) -> bool:
    said = stems(words(heard.text))
    own = (stems(words(mantra.say)) for mantra in persona.sheet.mantras)
    return heard.has("mantra") or any(
        mantra and len(mantra & said) >= _MANTRA_SHARE * len(mantra) for mantra in own
    )


def _structure(heard: _Heard, _: Persona) -> bool:
    """Tell whether all three are there: what was looked at, what is advised, how it goes on."""
    forms = (
        bool(_patterns()["open_report"].search(heard.folded)) or _items(heard.text) >= 2,
        heard.has("recommend"),
        heard.text.rstrip().rstrip('"').endswith("?") or heard.has("next"),
    )
    return all(forms)


def _energy(heard: _Heard, _: Persona) -> bool:
    return heard.has("energy")


def _clarify(heard: _Heard, _: Persona) -> bool:
    asks = [part for part in re.split(r"(?<=[.!?\n])\s", heard.folded) if part.rstrip().endswith("?")]
    return any(_patterns()["clarify"].search(part) or _patterns()["together"].search(part) for part in asks)


def _next(heard: _Heard, _: Persona) -> bool:
    return heard.has("next")


def _memory(heard: _Heard, _: Persona) -> bool:
    return heard.has("memory") or bool(re.search(r"\[\d{1,3}\]", heard.text))


def _saying(name: str) -> Rule:
    return lambda heard, _: heard.has(name)


def _items(text: str) -> int:
    """Return how many lines are items of a list, or rows of a table."""
    return len(re.findall(r"^\s*(?:[-*\u2022|]|\d+[.)]|[^\w\s]\s)\s*\S", text, re.M))


_RISKY = frozenset({"dissent", "urgency"})
_OPEN = frozenset({"dissent", "urgency", "planning", "trouble"})

_RULES: Mapping[str, tuple[Rule, frozenset[str] | None]] = {
    "name": (_name, None),
    "equal": (_equal, None),
    "dissent": (_saying("dissent"), _RISKY),
    "quality": (_saying("quality"), _OPEN),
    "study": (_saying("study"), frozenset({"planning", "trouble"})),
    "detail": (_detail, None),
    "real": (_saying("real"), frozenset({"success", *_RISKY})),
    "mantra": (_mantra, None),
    "structure": (_structure, None),
    "energy": (_energy, None),
    "clarify": (_clarify, frozenset({"trouble", *_RISKY})),
    "alternative": (_saying("alternative"), frozenset({"planning", *_RISKY})),
    "next": (_next, None),
    "memory": (_memory, None),
}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    with (resource("prompts") / "voice_measures.toml").open("rb") as file:
        return {name: phrase_pattern(phrases) for name, phrases in tomllib.load(file)["words"].items()}
