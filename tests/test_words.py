"""The catalogue of words and the code that uses it say the same."""

from __future__ import annotations

import re
import string
import tomllib
from pathlib import Path

import pytest

from cervella_rag import errors
from cervella_rag.messages import LANGUAGES, message
from cervella_rag.resources import resource

CATALOGUE = tomllib.loads((resource("prompts") / "messages.toml").read_text("utf-8"))
CODE = "\n".join(path.read_text("utf-8") for path in Path(errors.__file__).parent.rglob("*.py"))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def leaves(kind: type[errors.CervellaError]) -> list[type[errors.CervellaError]]:
    children = kind.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [kind]


@pytest.mark.parametrize("section", CATALOGUE)
def test_every_message_says_the_same_in_every_language(section: str) -> None:
    for name, texts in CATALOGUE[section].items():
        assert set(texts) == set(LANGUAGES), name
        assert placeholders(texts["it"]) == placeholders(texts["en"]), name


def test_every_error_has_words_and_every_word_an_error() -> None:
    codes = {kind.code for kind in leaves(errors.CervellaError)} | {errors.CervellaError.code}
    assert codes == set(CATALOGUE["errors"])


@pytest.mark.parametrize("kind", leaves(errors.CervellaError), ids=lambda kind: kind.code)
def test_every_error_says_what_happened_and_is_in_the_tree(kind: type[errors.CervellaError]) -> None:
    details = dict.fromkeys(placeholders(CATALOGUE["errors"][kind.code]["en"]), "x")
    assert kind(**details).text("it") != kind(**details).text("en")
    assert kind.__name__ in (errors.__doc__ or "")
    assert 400 <= kind.status < 600
    assert kind.exit_code in (1, 2)


def test_every_message_of_the_command_line_is_used() -> None:
    used = set(re.findall(r"say\(\s*f?[\"'](\w+?)(?:_\{\w+\})?[\"']", CODE))
    used |= set(re.findall(r'message\("cli\.(\w+)"', CODE))
    prefixes = tuple(
        f"{name}_"
        for name in (
            "progress",
            "stats",
            "check",
            "doing",
            "cut",
            "problem",
            "counted",
            "eval",
            "sheet",
            "command",
            "told",
        )
    )
    unused = {name for name in CATALOGUE["cli"] if name not in used and not name.startswith(prefixes)}
    assert not unused


def test_an_unknown_language_reads_english() -> None:
    assert message("errors.question_empty", "de") == message("errors.question_empty", "en")
