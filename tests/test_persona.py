"""A persona file: who she is within her limits, a name that stays data, mistakes told by their line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cervella_rag.domain import Window
from cervella_rag.errors import PersonaFileError
from cervella_rag.persona.persona import PersonaSheet, read_persona
from cervella_rag.resources import resource
from cervella_rag.settings import Settings

SHEET = resource("prompts") / "personas" / "cervella.yaml"
WORDS = [path for path in sorted(resource("prompts").rglob("*")) if path.is_file()]
FULL, COMPACT = Window(8192, 700), Window(4096, 700, compact=True)

MINIMAL = """\
id: prova
version: 1
name: Prova
identity: Sei la socia di {partner}.
goal: Finire.
values: []
partner_rules: []
golden_rule: []
golden_rule_then: Fermati.
voice:
  - Breve.
never: []
banned: []
memory_rules:
  - Cita.
mantras: []
mantras_use: Mai.
examples: []
compact:
  identity: Sei la socia.
  rules:
    - Breve.
  examples:
    - user: Ciao
      answer: Ciao {partner}.
"""


def mistake(folder: Path, text: str | bytes) -> PersonaFileError:
    """Return the error that reading this persona ends with."""
    path = folder / "prova.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(PersonaFileError) as caught:
        read_persona(path, "Rafa")
    assert caught.value.details["path"] == str(path)
    return caught.value


def changed(old: str, new: str) -> str:
    """Return the minimal persona with one place changed."""
    assert MINIMAL.count(old) == 1
    return MINIMAL.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def sheet_with(partner: str) -> PersonaSheet:
    return read_persona(SHEET, partner).sheet


def test_the_minimal_persona_is_one(tmp_path: Path) -> None:
    (tmp_path / "prova.yaml").write_text(MINIMAL)
    assert read_persona(tmp_path / "prova.yaml", "Ada").sheet.identity == "Sei la socia di Ada."


def test_the_partner_of_a_fresh_installation_is_named(settings: Settings) -> None:
    assert settings.persona.partner in sheet_with(settings.persona.partner).identity


def test_every_place_of_the_partner_is_filled() -> None:
    words = sheet_with("Ada").model_dump_json()
    assert "Ada" in words
    assert "Rafa" not in words
    assert "{partner}" not in words


@examples(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=80))
@example("Rafa: capo")
@example("- x\n# y")
@example("\"'{a: b}[&c *c]%!|>")
@example("Rafa\nid: x")
@example("{{ 7 * 7 }}")
@example("{partner}")
def test_a_name_of_any_signs_is_only_a_name(name: str) -> None:
    written = yaml.safe_load(SHEET.read_text("utf-8"))
    read = sheet_with(name).model_dump()
    assert shape(read) == shape(written)
    assert read["identity"] == written["identity"].replace("{partner}", name)


def shape(value: object) -> object:
    """Return a value's structure without its texts."""
    match value:
        case dict():
            return {key: shape(item) for key, item in value.items()}
        case list():
            return [shape(item) for item in value]
        case _:
            return type(value)


def test_the_digest_tells_files_apart_and_not_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(MINIMAL)
    (tmp_path / "b.yaml").write_text(changed("Finire.", "Finire bene."))
    first = read_persona(tmp_path / "a.yaml", "Ada").sha256
    assert read_persona(tmp_path / "a.yaml", "Rafa").sha256 == first
    assert read_persona(tmp_path / "b.yaml", "Ada").sha256 != first


def test_she_speaks_of_herself_as_a_woman() -> None:
    sheet = sheet_with("Rafa")
    for identity in (sheet.identity, sheet.compact.identity):
        assert "la socia" in identity
        assert "femminile" in identity
    answers = " ".join(example.answer for example in [*sheet.examples, *sheet.compact.examples]).lower()
    assert "la tua socia" in answers
    assert not {"convinto", "sicuro", "contento", "sbagliato", "assistente"} & set(answers.split())


def test_no_example_uses_what_she_never_says() -> None:
    sheet = sheet_with("Rafa")
    answers = " ".join(example.answer for example in [*sheet.examples, *sheet.compact.examples])
    assert not [phrase for phrase in sheet.banned if phrase in answers]


@pytest.mark.parametrize("path", WORDS, ids=lambda path: path.name)
def test_no_word_of_hers_is_an_emoji(path: Path) -> None:
    assert not [sign for sign in path.read_text("utf-8") if is_emoji(sign)]


def is_emoji(sign: str) -> bool:
    """Return whether a character is a picture, or the sign that makes the one before it a picture."""
    return unicodedata.category(sign) in ("So", "Cs", "Co") or sign in "\N{VARIATION SELECTOR-16}\u200d"


def test_an_emoji_would_be_seen() -> None:
    assert all(map(is_emoji, "\N{BRAIN}\N{HEAVY BLACK HEART}\N{WHITE HEAVY CHECK MARK}"))
    assert not any(map(is_emoji, "«perché» è 3 €, 5 % (sì); \N{RIGHT SINGLE QUOTATION MARK}"))


def test_broken_yaml_is_told_by_its_line(tmp_path: Path) -> None:
    text = changed("goal: Finire.", "goal: Finire: bene: [")
    assert mistake(tmp_path, text).details["line"] == line_of(text, "goal")


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ("version: 1", "version: uno", "version", "version"),
        ("version: 1", "version: 0", "version", "version"),
        ("id: prova", "id: Di Prova", "id", "id"),
        ("name: Prova", "name: 2026-01-09", "name", "name"),
        ("name: Prova", "name: ''", "name", "name"),
        ("goal: Finire.", "goal: [Finire.]", "goal", "goal"),
        ("never: []", "never: mai", "never", "never"),
        ("  - Cita.", "  - Cita.\n  - no", "- no", "memory_rules.1"),
        ("voice:\n  - Breve.", "voice: []", "voice", "voice"),
        ("      answer: Ciao {partner}.", "      answer: 3", "answer: 3", "compact.examples.0.answer"),
        ("examples: []\nc", "examples:\n  - user: x\n    say: y\nc", "- user: x", "examples.0.answer"),
        ("goal: Finire.", "goal: Finire.\ncolour: blu", "colour", "colour"),
        ("  identity: Sei la socia.", "  identity: Sei la socia.\n  size: 3", "size", "compact.size"),
        ("mantras: []", "mantras:\n  - say: x\n    when: y\n    who: z", "who", "mantras.0.who"),
    ],
)
def test_a_wrong_value_is_told_by_its_line_and_name(
    tmp_path: Path, old: str, new: str, place: str, word: str
) -> None:
    text = changed(old, new)
    error = mistake(tmp_path, text)
    assert error.details["line"] == line_of(text, place)
    assert str(error.details["reason"]).startswith(f"{word}: ")
    assert f"line {line_of(text, place)}:" in str(error)


def test_a_missing_field_is_told_by_its_name_and_where_it_should_be(tmp_path: Path) -> None:
    error = mistake(tmp_path, changed("identity: Sei la socia di {partner}.\n", ""))
    assert error.details["line"] == 1
    assert "identity: Field required" in str(error)
    inner = changed("  rules:\n    - Breve.\n", "")
    error = mistake(tmp_path, inner)
    assert error.details["line"] == line_of(inner, "  identity: Sei la socia.")
    assert "compact.rules: Field required" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "solo parole",
        "- a\n- b",
        "3",
        "1: x",
        "? [a]\n: b",
        "a: &a [*a]",
        "&a a: *b",
        "\x00",
        "a: !!python/name:os",
    ],
)
def test_what_is_no_persona_at_all_is_refused(tmp_path: Path, text: str) -> None:
    assert mistake(tmp_path, text)


@pytest.mark.parametrize("value", ["2026-13-45", "!!int due", "!!float x", "!!bool forse", "!!binary è"])
def test_a_value_that_yaml_itself_cannot_read_is_a_mistake_of_the_file(tmp_path: Path, value: str) -> None:
    assert mistake(tmp_path, changed("version: 1", f"version: {value}"))


def test_a_list_without_end_is_refused(tmp_path: Path) -> None:
    assert mistake(tmp_path, changed("values: []", "values: &a [*a]"))


def test_a_missing_file_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(PersonaFileError, match=r"nobody\.yaml"):
        read_persona(tmp_path / "nobody.yaml", "Rafa")
    with pytest.raises(PersonaFileError, match="directory"):
        read_persona(tmp_path, "Rafa")


def test_a_file_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    assert "UTF-8" in str(mistake(tmp_path, MINIMAL.replace("Finire", "Perché").encode("latin-1")))
