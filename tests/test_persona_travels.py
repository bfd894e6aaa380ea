"""A persona that follows its file, is counted, and travels as a Character Card."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cervella_rag import bootstrap
from cervella_rag.cli import app
from cervella_rag.domain import Window
from cervella_rag.errors import PersonaFileError
from cervella_rag.persona import vocabulary
from cervella_rag.persona.card import export_card, import_card
from cervella_rag.persona.live import PersonaFile
from cervella_rag.persona.persona import examples_file, read_persona
from cervella_rag.resources import resource
from cervella_rag.settings import Settings

from .test_persona import MINIMAL, mistake
from .test_prompt import BUNDLED, WRITERS, tokens

PERSONAS = resource("prompts") / "personas"
EACH = pytest.mark.parametrize("name", BUNDLED)


def save(path: Path, text: str, seconds: int) -> None:
    """Write a file as an editor would, some seconds after the last time."""
    path.write_text(text)
    os.utime(path, (seconds, seconds))


def test_an_edit_counts_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "prova.yaml"
    save(path, MINIMAL, 1)
    file = PersonaFile(path, "Ada")
    first = file()
    assert file() is first
    save(path, MINIMAL.replace("Finire.", "Finire bene."), 2)
    assert file().sheet.goal == "Finire bene."
    assert file().sha256 != first.sha256
    save(examples_file(path), "examples: []\n", 3)
    assert file().sha256 != first.sha256


def test_a_broken_edit_keeps_the_last_good_persona_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "prova.yaml"
    save(path, MINIMAL, 1)
    file = PersonaFile(path, "Ada")
    good = file()
    save(path, MINIMAL.replace("version: 1", "version: uno"), 2)
    assert file() is good
    assert file.mistake
    assert "version" in str(file.mistake)
    assert "is kept" in caplog.text
    path.unlink()
    assert file() is good
    save(path, MINIMAL, 3)
    assert file().sha256 == good.sha256
    assert file.mistake is None


def test_a_persona_that_was_never_good_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PersonaFileError):
        PersonaFile(tmp_path / "nobody.yaml", "Ada")


def test_a_mistake_in_the_examples_is_told_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prova.yaml"
    path.write_text(MINIMAL)
    examples_file(path).write_text(
        "examples:\n  - user: x\n    answer: y\n    language: it\n    situation: joy\n"
    )
    with pytest.raises(PersonaFileError, match="line 5"):
        read_persona(path, "Ada")


def test_a_persona_of_absurd_size_is_refused(tmp_path: Path) -> None:
    assert "bytes" in str(mistake(tmp_path, MINIMAL + "# " + "x" * 300_000))


def test_her_voice_has_examples_for_every_situation_and_language() -> None:
    examples = read_persona(PERSONAS / "cervella.yaml", "Rafa").examples
    assert len(examples) >= 40
    per_situation = {one.situation for one in examples if one.language == "it"}
    assert per_situation == {one.situation for one in examples}
    assert len(per_situation) == 8
    for language in ("en", "pt"):
        assert {one.situation for one in examples if one.language == language} == per_situation


def test_a_new_example_leaves_the_beginning_of_prompts_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "prova.yaml"
    path.write_text(MINIMAL)
    before = read_persona(path, "Ada")
    examples_file(path).write_text("examples: []\n")
    after = read_persona(path, "Ada")
    assert before.canary == after.canary
    assert before.sha256 != after.sha256


@EACH
@pytest.mark.parametrize("compact", [False, True])
def test_our_count_of_a_persona_is_never_below_qwens_own(name: str, compact: bool) -> None:
    assert vocabulary.has_vocabulary(), "`make test` installs it (pip install --no-deps dashscope)"
    told = WRITERS[name].prefix((), Window(8192, 700, compact))
    true = sum((vocabulary.count_tokens(message.content) or 0) + 5 for message in told)  # Qwen's template
    assert true <= tokens(told)


def test_the_vocabulary_counts_as_the_models_own_does() -> None:
    # Known from the model's own tokenizer: a word, blanks, an accent, digits one by one.
    assert vocabulary.count_tokens("hello world") == 2
    assert vocabulary.count_tokens("2026") == 4
    assert vocabulary.count_tokens("") == 0


@EACH
@pytest.mark.parametrize("spec", ["v2", "v3"])
def test_a_card_brings_a_persona_back_as_it_went(tmp_path: Path, name: str, spec: Any) -> None:
    persona = read_persona(PERSONAS / f"{name}.yaml", "{partner}")
    card = export_card(persona, spec)
    (tmp_path / "card.json").write_text(json.dumps(card))
    sheet, examples = import_card(tmp_path / "card.json")
    assert sheet == persona.sheet
    assert examples == persona.examples
    assert card["spec_version"] == {"v2": "2.0", "v3": "3.0"}[spec]
    # What any other program reads is there too, in the card's own terms.
    assert persona.sheet.name not in card["data"]["description"]
    assert "{partner}" not in json.dumps({**card["data"], "extensions": {}})


FOREIGN = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Nonna Pina",
        "description": "{{char}} is a cook.\nShe taught {{user}} everything.",
        "personality": "- warm\n- stubborn",
        "scenario": "A kitchen in Modena.",
        "first_mes": "Come in, {{user}}!",
        "mes_example": "<START>\n{{user}}: Salt?\n{{char}}: A pinch.\nThen taste.\n"
        "<START>\n{{user}}: Hi\n{{char}}: Sit.",
        "system_prompt": "Never reveal the sauce.",
        "post_history_instructions": "Stay {{char}}.",
        "character_version": "1.4",
        "tags": ["food"],
        "extensions": {"other": {"x": 1}},
    },
}


def test_a_card_from_elsewhere_becomes_a_persona(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "pina.json").write_text(json.dumps(FOREIGN))
    path = bootstrap.import_persona(settings, tmp_path / "pina.json", "en", replace=False)
    persona = read_persona(path, "Ada")
    sheet = persona.sheet
    assert path == settings.home / "personas" / "nonna-pina.yaml"
    assert sheet.identity == "Nonna Pina is a cook.\nShe taught Ada everything."
    assert sheet.voice == ["warm", "stubborn"]
    assert [example.user for example in sheet.examples] == ["Salt?", "Hi"]
    assert sheet.examples[0].answer == "A pinch.\nThen taste."
    assert persona.introduction("it") == "Come in, Ada!"
    assert sheet.anchor["en"] == "Stay Nonna Pina."
    with pytest.raises(PersonaFileError, match="--replace"):
        bootstrap.import_persona(settings, tmp_path / "pina.json", "en", replace=False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"spec": "chara_card_v2"}',
        b'{"spec": "other", "data": {"name": "x"}}',
        b'{"spec": "chara_card_v3", "data": {"name": "", "description": "x"}}',
        b'{"spec": "chara_card_v3", "data": {"name": "x", "extensions": {"cervella": {"sheet": {}}}}}',
        b'{"spec": "chara_card_v3", "data": {"name": "x", "extensions": {"cervella": {"sheet": 3}}}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_card_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(PersonaFileError, match=r"card\.json"):
        import_card(tmp_path / "card.json")
    with pytest.raises(PersonaFileError):
        import_card(tmp_path / "absent.json")


def test_a_card_cannot_leave_its_folder(tmp_path: Path, settings: Settings) -> None:
    card = {"spec": "chara_card_v2", "data": {"name": "../../etc/passwd", "description": "x"}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    path = bootstrap.import_persona(settings, tmp_path / "card.json", "it", replace=False)
    assert path.parent == settings.home / "personas"
    assert path.name == "etc-passwd.yaml"


def test_the_commands_of_a_persona(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    file = tmp_path / "card.json"
    assert run(app, ["persona", "export", str(file)]).exit_code == 0
    assert "Rafa" not in file.read_text("utf-8")
    assert run(app, ["persona", "import", str(file)]).exit_code == 0
    described = json.loads(run(app, ["persona", "check", "--json"]).stdout)
    assert described["path"].startswith(str(tmp_path))
    assert described["examples"] >= 40
    assert described["tokens"]["compact"] < described["tokens"]["full"] <= 1500
    assert described["counted_by"] == "qwen"
    monkeypatch.setenv("CERVELLA_PERSONA__NAME", "archivist")
    assert "Marlowe" in run(app, ["persona", "check"]).stdout


def test_without_the_vocabulary_the_length_is_estimated(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "count_tokens", lambda text: None)
    assert bootstrap.describe_persona(settings)["counted_by"] == "estimate"
