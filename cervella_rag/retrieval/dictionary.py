"""Words and what other languages call them: who asks in English finds what was written in Italian.

The memory mixes its languages too: a decision on "prezzi" stands in a file about pricing. The words are
data, prompts/dictionary.tsv: a line a thing, with its Italian, English and Portuguese names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import Stemmer

from cervella_rag.memory.lexical import STOP_WORDS, fold, words
from cervella_rag.resources import resource

_WORD = re.compile(r"[a-z]+")
_LANGUAGES = ("it", "en", "pt")
_STEMMERS = {
    language: Stemmer.Stemmer(name)
    for language, name in zip(_LANGUAGES, ("italian", "english", "portuguese"), strict=True)
}


class Dictionary:
    """Looks words up by their stem.

    Args:
        lines: Lines of the table: columns parted by ";", names of a column by ",".
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._names: dict[str, dict[str, dict[str, None]]] = {
            language: defaultdict(dict) for language in _LANGUAGES
        }
        for line in filter(str.strip, lines):
            columns = [fold(column.strip()).split(",") for column in line.split(";")]
            for language, names in zip(_LANGUAGES, columns, strict=True):
                others = [name for column in columns if column is not names for name in column]
                for name in names:
                    self._names[language][_stem(language, name)] |= dict.fromkeys(others)

    def translations(self, text: str) -> dict[str, tuple[str, ...]]:
        """Return for each word of `text` that is known what it is called in the other languages."""
        language = self.language(text)
        names = self._names[language]
        found = {word: names.get(_stem(language, word), {}).keys() - {word} for word in words(text)}
        return {word: tuple(sorted(others)) for word, others in found.items() if others}

    def language(self, text: str) -> str:
        """Return the language that most words of `text` are of; Italian where two have as many."""
        spoken = _WORD.findall(fold(text))
        return max(_LANGUAGES, key=lambda language: self._known(language, spoken))

    def _known(self, language: str, spoken: Sequence[str]) -> int:
        names: Mapping[str, object] = self._names[language]
        return sum(word in STOP_WORDS[language] or _stem(language, word) in names for word in spoken)


def _stem(language: str, word: str) -> str:
    stem: str = _STEMMERS[language].stemWord(word)
    return stem


@cache
def dictionary() -> Dictionary:
    """Return the one of prompts/."""
    return Dictionary((resource("prompts") / "dictionary.tsv").read_text(encoding="utf-8").splitlines())
