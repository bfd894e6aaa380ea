"""What no answer of hers may hold: emoji, a banned opening, "as an AI", the wrong sex, another language.

Two of them code can take out as the words come; the others are told as faults, for a second try. The
patterns are data, prompts/hard_rules.toml; the banned phrases are the persona's.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

from cervella_rag.marks import MARK
from cervella_rag.memory.lexical import fold
from cervella_rag.persona.persona import Persona
from cervella_rag.resources import resource

EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U0001fb00-\U0001fbff\u2600-\u27bf\u2b00-\u2bff\u231a\u231b\u23e9-\u23fa"
    "\u2b50\ufe0f\u200d\u20e3]"
)
"""Pictures, and what joins or colours them; letters of every script, arrows and frames are none."""

_EMOJI_AND_BLANK = re.compile(rf"[ \t]?{EMOJI.pattern}+")
_QUOTED = re.compile(r"^\s*>.*$|```.*?(?:```|\Z)|«[^»]*»|“[^”]*”|\"[^\"\n]*\"", re.M | re.S)
_FEWEST_WORDS_OF_A_LANGUAGE = 8
_SIGNS = "!?.,;:"


class Cleaner:
    """Takes emoji and a banned opening out of an answer, however the stream cuts it.

    Args:
        banned: Phrases an answer may not begin with; one that ends without "!" goes only where it is a
            sentence of its own, since the rest of its sentence would be left without a head.

    Attributes:
        removed: Names of the rules that something was taken out for.
    """

    def __init__(self, banned: tuple[str, ...]) -> None:
        self._banned = [_opening(phrase) for phrase in banned]
        self._beginnings = [" ".join(phrase.rstrip(_SIGNS).casefold().split()) for phrase in banned]
        self._longest = max(map(len, banned), default=0) + 2
        self._held: str | None = ""
        self.removed: set[str] = set()

    def feed(self, piece: str) -> str:
        """Return what may be shown now; the first words are held while they may become a banned opening."""
        plain = self._without_emoji(piece)
        if self._held is None:
            return plain
        self._held += plain
        if len(self._held.lstrip()) <= self._longest and self._may_be_banned(self._held):
            return ""
        return self._release()

    def _may_be_banned(self, text: str) -> bool:
        begun = " ".join(text.casefold().split())
        return any(
            begun.startswith(beginning) or beginning.startswith(begun) for beginning in self._beginnings
        )

    def finish(self) -> str:
        """Return what was held."""
        return "" if self._held is None else self._release()

    def _release(self) -> str:
        text, self._held = (self._held or "").lstrip(), None
        is_open = True
        while is_open:
            is_open = False
            for opening in self._banned:
                found = opening.match(text)
                if found and found.end() < len(text):  # what is nothing else is left, rather than silence
                    text = text[found.end() :]
                    text = text[:1].upper() + text[1:]
                    self.removed.add("banned")
                    is_open = True
        return text

    def _without_emoji(self, piece: str) -> str:
        plain, count = _EMOJI_AND_BLANK.subn("", piece)
        if count:
            self.removed.add("emoji")
        return plain


def _opening(phrase: str) -> re.Pattern[str]:
    body = r"\s+".join(map(re.escape, phrase.rstrip(_SIGNS).split()))
    end = r"[!.,…]+" if phrase.endswith("!") else r"[!.…]+"
    return re.compile(rf"{body}\s*{end}\s*", re.IGNORECASE)


def hard_faults(
    text: str, persona: Persona, language: str, detect_language: Callable[[str], str]
) -> tuple[str, ...]:
    """Return the names of the rules that an answer breaks.

    Args:
        text: The answer; what it quotes is not hers and does not count.
        persona: Whose answer it is.
        language: "it", "en" or "pt": the one it should be in.
        detect_language: Text to language.
    """
    own = MARK.sub("", _QUOTED.sub(" ", text))
    folded = re.sub(r"\s+", " ", fold(own).replace("\u2019", "'"))
    checks = {
        "emoji": bool(EMOJI.search(own)),
        "banned": _says_banned(folded, persona),
        "model": _speaks_as_model(folded),
        _gender_name(persona): _has_wrong_gender(folded, persona),
        "language": len(own.split()) >= _FEWEST_WORDS_OF_A_LANGUAGE and detect_language(own) != language,
    }
    return tuple(name for name, is_broken in checks.items() if is_broken)


def _says_banned(folded: str, persona: Persona) -> bool:
    phrases = (fold(phrase).rstrip(_SIGNS) for phrase in persona.sheet.banned)
    # A whole sentence, or the beginning of one: "certamente" inside a sentence is a word like others.
    return any(re.search(rf"(?:^|[.!?:]\s+|\n){re.escape(phrase)}\b", folded) for phrase in phrases)


def _speaks_as_model(folded: str) -> bool:
    denied = re.compile(_rules()["denied"])
    return any(
        not denied.search(folded[max(0, found.start() - 20) : found.start()])
        for pattern in _rules()["model"]
        for found in re.finditer(pattern, folded)
    )


def _gender_name(persona: Persona) -> str:
    return "gender_male" if persona.sheet.gender == "male" else "gender"


def _has_wrong_gender(folded: str, persona: Persona) -> bool:
    gender = persona.sheet.gender
    if gender == "unstated":
        return False
    wrong = _rules()["male" if gender == "female" else "female"]
    return any(re.search(rf"{pattern}{wrong}\b", folded) for pattern in _rules()["first_person"])


@cache
def _rules() -> dict[str, Any]:
    with (resource("prompts") / "hard_rules.toml").open("rb") as file:
        return tomllib.load(file)
