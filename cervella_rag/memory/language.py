"""Which of the memory's three languages a text is in.

Reference: the package py3langid; on the 100 questions of the development set it is
right every time when asked to choose among these three.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from py3langid.langid import MODEL_FILE, LanguageIdentifier

LANGUAGES = ("it", "en", "pt")
DEFAULT = "it"
_SAMPLE_CHARACTERS = 3000
_SURE = 0.6
"""Least probability; below it, as with a bare name or "stato", the memory's own language is taken."""


class _Identifier(LanguageIdentifier):  # type: ignore[misc]  # the package publishes no types
    """Knows three languages; the package's own restriction keeps the others in memory, 27 MB."""

    def __init__(
        self, table: Any, prior: Any, languages: list[str], *automaton: Any, **options: Any
    ) -> None:
        places = [languages.index(language) for language in LANGUAGES]
        super().__init__(table[:, places], prior[places], list(LANGUAGES), *automaton, **options)


@cache
def _identifier() -> _Identifier:
    return cast(_Identifier, _Identifier.from_model_file(MODEL_FILE, norm_probs=True))


def detect_language(text: str) -> str:
    """Return "it", "en" or "pt"; Italian where it cannot be told."""
    language, probability = _identifier().classify(text[:_SAMPLE_CHARACTERS])
    return str(language) if probability >= _SURE else DEFAULT
