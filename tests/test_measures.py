"""What `cervella eval` measures: her voice, right words, the twenty tasks, a blind sheet; and costs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.chat.bare import BareWriter
from cervella_rag.chat.conversations import SQLConversationStore
from cervella_rag.chat.costs import count_costs
from cervella_rag.cli import app
from cervella_rag.domain import Answer, Prompt, Question, Turn, Usage, Window
from cervella_rag.errors import EvaluationFileError, InvalidSettingError
from cervella_rag.evaluation.answers import evaluate_answers, read_asked, says
from cervella_rag.evaluation.persona import hear, read_scenes, summarise
from cervella_rag.evaluation.sheet import key_of, pair_answers
from cervella_rag.evaluation.tasks import Task, check, evaluate_tasks, read_marks, read_tasks
from cervella_rag.llm.profiles import profiles, with_profile
from cervella_rag.memory.language import detect_language
from cervella_rag.settings import LLMSettings

from .test_assistant import ScriptedLLM, answer, speaking
from .test_assistant import assistant as assistant  # noqa: PLC0414 - a fixture
from .test_prompt import FULL, HISTORY, OVEN, WRITER, asking
from .test_voice_check import GENERIC, HER, HERS

run = CliRunner().invoke


def ignore(done: int, total: int) -> None:
    """Take progress and do nothing."""


def heard_as(say: Callable[[Prompt], str]) -> dict[str, Any]:
    """Return the measures of a voice that is hers with the persona, and anybody's without."""

    async def speak(prompt: Prompt) -> str:
        return say(prompt)

    async def flat(prompt: Prompt) -> str:
        return str(GENERIC[0][1])

    scenes = read_scenes(HER)
    hers = asyncio.run(hear(scenes, "persona", speak, HER, detect_language))
    return summarise([*hers, *asyncio.run(hear(scenes, "bare", flat, HER, detect_language))])


def test_every_situation_is_asked_at_every_turn_with_its_history() -> None:
    scenes = read_scenes(HER)
    assert len(scenes) == 8 * 3
    assert {len(scene.prompt.history) for scene in scenes} == {0, 14, 38}
    assert [scene.prompt.about_her for scene in scenes].count(True) == 3
    for scene in scenes:
        assert WRITER.messages(scene.prompt, FULL)


def test_the_margin_is_what_the_persona_adds() -> None:
    report = heard_as(lambda prompt: HERS[0][1])
    assert report["conditions"]["persona"]["share"] > 0.8
    assert report["margin"] > 0.5
    assert report["drift"] == 0
    assert report["answers"] == 48


def test_drift_is_what_is_lost_from_the_first_turn_to_the_last() -> None:
    report = heard_as(lambda prompt: GENERIC[0][1] if len(prompt.history) > 20 else HERS[0][1])
    assert report["drift"] > 0.5
    turns = report["conditions"]["persona"]["turns"]
    assert turns["1"]["share"] == turns["8"]["share"] > turns["20"]["share"]


def test_a_bare_prompt_has_the_same_memory_and_nobody_to_be() -> None:
    prompt = replace(asking("Saltiamo i test?", OVEN, history=HISTORY), situations=("dissent",))
    bare, full = BareWriter(WRITER).compose(prompt, FULL).messages, WRITER.messages(prompt, FULL)
    assert "Cervella" not in str(bare)
    assert "tiene sei ore" in bare[-1].content
    assert bare[1:-1] == full[len(WRITER.prefix((), FULL)) : -1]
    assert BareWriter(WRITER).prefix(HISTORY, FULL) == bare[:-1]


def test_the_command_measures_a_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(app, ["eval", "persona", "--voice", "memory_only", "--turns", "1,8", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["answers"] == 32
    assert report["margin"] == 0  # without a model there is nobody to be
    assert run(app, ["eval", "persona", "--voice", "memory_only", "--turns", "1"]).exit_code == 0
    assert run(app, ["eval", "persona", "--turns", "0"]).exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected", "is_said"),
    [
        ("Sono 1.749 righe.", "1749 righe", True),
        ("Sono 1,749 righe.", "1749 righe", True),
        ("Costa 3,50 euro", "3.50 euro", True),
        ("Sono 174 righe.", "1749 righe", False),
        ("Perché il cliente paga la propria chiave.", "paga la propria chiave", True),
        ("Non lo trovo.", "paga la propria chiave", False),
        ("N/A", "N/A", True),
    ],
)
def test_what_is_expected_is_said_by_its_figures_and_words(text: str, expected: str, is_said: bool) -> None:
    assert says(text, expected) is is_said


ITEMS: list[dict[str, Any]] = [
    {
        "id": "a",
        "kind": "fact",
        "question": "Quante ore tiene la temperatura il forno a legna?",
        "lang": "it",
        "file": "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md",
        "span": "sei ore",
        "answer": "sei ore",
    },
    {
        "id": "b",
        "kind": "unanswerable",
        "question": "Chi dipinse la Gioconda?",
        "lang": "it",
        "file": None,
        "span": None,
        "answer": "",
    },
]


def items_file(folder: Path, items: list[dict[str, Any]]) -> Path:
    path = folder / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, items)))
    return path


def test_answers_are_measured(assistant: Assistant, tmp_path: Path) -> None:
    asked = read_asked(items_file(tmp_path, ITEMS))
    report = asyncio.run(evaluate_answers(asked, assistant.reply, detect_language, ignore))
    assert report["items"] == 2
    assert report["right"] == 1
    assert report["citation_recall"] == 1
    assert report["unanswerable_abstained"] == 1
    assert report["wrongly_abstained"] == 0
    assert report["in_language"] == 1
    wrong = speaking(assistant, ScriptedLLM("The moon is made of green cheese, they say so [1] [9]."))
    report = asyncio.run(evaluate_answers(asked, wrong.reply, detect_language, ignore))
    assert report["right"] == 0
    assert report["in_language"] == 0
    assert report["invalid_citations"] == 3  # [9] twice, and [1] where nothing was found
    assert report["unanswerable_abstained"] == 1


def test_the_command_measures_answers_and_keeps_none(assistant: Assistant, tmp_path: Path) -> None:
    result = run(app, ["eval", "answers", str(items_file(tmp_path, ITEMS)), "--json"])
    assert json.loads(result.stdout)["right"] == 1
    assert asyncio.run(assistant.conversations.list(10)) == ()
    lacking = [{key: value for key, value in ITEMS[0].items() if key != "answer"}]
    assert run(app, ["eval", "answers", str(items_file(tmp_path, lacking))]).exit_code != 0


TASK = Task("T09", 1, "count", "Conta.", {"x": 8, "y": {"z": [16, "sei ore"]}, "b": True}, "")


def test_true_values_are_looked_for_wherever_they_stand() -> None:
    found = check(replace(TASK, id="X"), "Sono 8, poi 16; tiene sei ore.")
    assert found == {"true: x = 8": True, "true: y.z = 16": True, "true: y.z = sei ore": True}
    assert not all(check(replace(TASK, id="X"), "Sono 18.").values())
    place = check(replace(TASK, id="X", true={"at": {"a/b.md": 3}}), "In a/b.md, 3 righe.")
    assert place == {"true: at = a/b.md": True, "true: at.a/b.md = 3": True}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("T02", "Sessione 153b: FASE 4, costi, timeline, GO/NO-GO, consolidato", "fatto \N{PARTY POPPER}"),
        ("T13", "- uno\n- due", "uno e due"),
        ("T16", "Il punto di pareggio.", "Costa."),
        ("T18", "Costi, rischi e prossimi passi.", "Costi, rischi e prossimi passi. " * 100),
        ("T01", "Sessione 165.", "Sessione 164."),
    ],
)
def test_the_form_of_a_task_is_checked(name: str, good: str, bad: str) -> None:
    task = replace(TASK, id=name, true=None)
    assert all(check(task, good).values()), check(task, good)
    assert not all(check(task, bad).values())


def write_tasks(folder: Path) -> Path:
    tasks = [
        {"id": "T16", "tier": 2, "name": "a", "input": "Pareggio?", "output_expected": "Il pareggio è 8."},
        {
            "id": "T13",
            "tier": 2,
            "name": "<b>",
            "input": "<script>alert(1)</script>",
            "output_expected": "- a\n- b",
        },
    ]
    (folder / "tasks.json").write_text(json.dumps({"tasks": tasks}))
    (folder / "inputs.json").write_text(json.dumps({"T16": {"question": "Il pareggio?", "true": {"n": 8}}}))
    return folder


def evaluate(folder: Path, text: str, marks: dict[str, int] | None = None) -> dict[str, Any]:
    async def reply(question: Question) -> Answer:
        return Answer(text, True, "scripted", (), None, "t", "m", "stop", {}, {"total": 1.0}, {})

    async def judge(task: Task, said: str) -> dict[str, int] | None:
        return marks

    return asyncio.run(evaluate_tasks(read_tasks(folder), reply, judge if marks else None, ignore))


def test_a_task_passes_by_its_truth_or_by_a_judge_and_is_open_otherwise(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path)
    report = evaluate(folder, "Pareggio a 8.\n- uno\n- due")
    assert (report["passed"], report["open"]) == (1, 1)
    high = dict.fromkeys(("correctness", "completeness", "style", "utility"), 4)
    assert evaluate(folder, "Pareggio a 8.\n- uno\n- due", high)["passed"] == 2
    assert (
        evaluate(folder, "Pareggio a 8.\n- uno\n- due", {**high, "style": 1, "utility": 1})["passed"] == 0
    )
    assert evaluate(folder, "Niente.", high)["passed"] == 0


@pytest.mark.parametrize("name", ["tasks.json", "inputs.json"])
def test_tasks_that_cannot_be_read_are_told(tmp_path: Path, name: str) -> None:
    write_tasks(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(EvaluationFileError, match=name):
        read_tasks(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(EvaluationFileError, match=name):
        read_tasks(tmp_path)


def test_marks_are_read_or_there_are_none() -> None:
    text = "correctness: 4\n**Completeness**: 3\nstyle - 5\nutility: 2/5"
    assert read_marks(text) == {"correctness": 4, "completeness": 3, "style": 5, "utility": 2}
    assert read_marks("correctness: 4\nstyle: 9") is None
    assert read_marks("") is None


def test_the_partners_twenty_tasks_are_all_checked(material: Path) -> None:
    tasks = read_tasks(material / "benchmark")
    assert len(tasks) == 20
    assert all(check(task, "") for task in tasks)
    assert not any(all(check(task, "").values()) for task in tasks)


def test_a_sheet_is_blind_and_its_key_apart(assistant: Assistant, tmp_path: Path) -> None:
    folder, sheet = write_tasks(tmp_path), tmp_path / "sheet.html"
    result = run(app, ["eval", "tasks", str(folder), "--sheet", str(sheet), "--json"])
    assert result.exit_code == 0, result.output
    page = sheet.read_text("utf-8")
    assert "memory_only" not in page
    assert "<script>alert" not in page
    key = json.loads((tmp_path / "sheet.key.json").read_text())
    assert {tuple(sorted(places.values())) for places in key.values()} == {("expected", "memory_only")}
    other = tmp_path / "other.json"
    other.write_text(result.stdout)
    command = ["eval", "tasks", str(folder), "--sheet", str(sheet), "--against", str(other)]
    assert run(app, command).exit_code == 0
    other.write_text("[]")
    assert isinstance(run(app, command).exception, EvaluationFileError)


def test_places_on_a_sheet_are_drawn_and_can_be_told() -> None:
    names = [str(number) for number in range(40)]
    first, second = dict.fromkeys(names, "mine"), dict.fromkeys(names, "other")
    pairs = pair_answers(dict.fromkeys(names, "?"), first, {**second, "3": " "}, seed=1)
    assert len(pairs) == 39
    assert 5 < sum(pair.swapped for pair in pairs) < 34
    key = key_of(pairs, "mine", "other")
    assert all((key[pair.id]["A"], key[pair.id]["B"]) == (pair.a, pair.b) for pair in pairs)


def test_a_profile_is_all_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_LLM__PROFILE", "deepseek-r1")
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "ollama")
    settings = bootstrap.load_settings()
    llm = with_profile(settings.llm)
    assert (llm.ollama_model, llm.thinks, llm.context_tokens) == ("deepseek-r1:7b", True, 16384)
    [voice] = bootstrap.make_assistant(settings).voices.voices
    assert voice.mode == "ollama"
    assert voice.model == "deepseek-r1:7b"
    monkeypatch.setenv("CERVELLA_LLM__CONTEXT_TOKENS", "4096")
    assert with_profile(bootstrap.load_settings().llm).context_tokens == 4096


def test_every_profile_is_whole_and_an_unknown_one_names_them() -> None:
    assert set(profiles()) == {"qwen3-4b", "qwen3-8b", "llama3.1-8b", "deepseek-r1", "mistral-7b"}
    assert all(profile.license and profile.title for profile in profiles().values())
    assert with_profile(LLMSettings()) == LLMSettings()
    assert with_profile(LLMSettings(profile="qwen3-4b")).ollama_model == LLMSettings().ollama_model
    with pytest.raises(InvalidSettingError, match="mistral-7b"):
        with_profile(LLMSettings(profile="gpt-9"))


def test_costs_are_counted_from_tokens() -> None:
    usage = [Usage("ollama", "m", 10, 8, 8000, 1600), Usage("memory_only", "", 5, 0, 0, 0)]
    costs = count_costs(usage, input_usd=3, output_usd=15, machine_month_usd=85)
    assert costs["api_usd"] == 0.048  # 8,000 at 3 and 1,600 at 15 dollars a million
    assert costs["api_usd_per_turn"] == 0.006
    assert costs["break_even_turns"] == 14167
    assert costs["turns"] == 15
    assert count_costs([], input_usd=3, output_usd=15, machine_month_usd=85)["break_even_turns"] is None


def test_the_tokens_of_a_turn_are_kept_and_priced(assistant: Assistant) -> None:
    answer(speaking(assistant, ScriptedLLM("Sei ore [1].")), "Quante ore tiene il forno?")
    costs = json.loads(run(app, ["stats", "--cost", "--json"]).stdout)
    assert (costs["prompt_tokens"], costs["completion_tokens"]) == (7, 3)  # what the scripted voice says
    assert "7" in run(app, ["stats", "--cost"]).stdout


def test_a_file_from_before_is_read_and_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    turn = Turn("t1", "Domanda", "Risposta", "ollama", "m", True, "stop", (), "2026-01-01T00:00:00+00:00")
    conversation = asyncio.run(SQLConversationStore(path).begin(turn))
    with sqlite3.connect(path) as file:
        for column in ("prompt_tokens", "completion_tokens"):
            file.execute(f"ALTER TABLE turns DROP COLUMN {column}")
    file.close()
    store = SQLConversationStore(path)
    assert asyncio.run(store.read(conversation)).turns == (turn,)
    more = replace(turn, turn_id="t2", prompt_tokens=9)
    asyncio.run(store.append(conversation, more))
    [usage] = asyncio.run(store.usage())
    assert (usage.turns, usage.counted, usage.prompt_tokens) == (2, 1, 9)


def test_the_window_of_a_measure_is_as_any_other() -> None:
    scenes = read_scenes(HER)
    for compact in (False, True):
        window = Window(4096, 160, compact)
        assert all(WRITER.compose(scene.prompt, window).messages for scene in scenes)
