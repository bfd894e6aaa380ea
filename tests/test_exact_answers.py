"""Exact facts at every door: answers in any voice and language, commands, endpoints, and a real memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.chat.exact_words import state
from cervella_rag.chat.prompt import PromptWriter
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import Answer, Question, Sources, Window
from cervella_rag.memory.exact.facts import ExactFacts
from cervella_rag.resources import resource
from cervella_rag.settings import load_settings
from cervella_rag.templates import Templates

from .test_assistant import ScriptedLLM, answer, events
from .test_cli import cervella

COST = (
    "Costi e pareggio di 20K richieste: $2/M in ingresso, $10/M in uscita, 1.000 token in ingresso e 100 in"
    " uscita, Ferro $90 al mese"
)


@pytest.fixture
def assistant(january: Path, monkeypatch: pytest.MonkeyPatch) -> Assistant:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")  # quick; what vectors add is tested elsewhere
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(january))
    settings = load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    return bootstrap.make_assistant(settings)


@pytest.fixture
def client(assistant: Assistant) -> Iterator[TestClient]:
    with TestClient(bootstrap.make_app(load_settings()), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Quante righe ha stato/oggi.md?", "`stato/oggi.md` ha 16 righe [1]."),
        ("How many lines does the file stato/oggi.md have?", "`stato/oggi.md` has 16 lines [1]."),
        ("Quantas linhas tem o ficheiro stato/oggi.md?", "`stato/oggi.md` tem 16 linhas [1]."),
        (
            "Quanti file ci sono nella cartella memoria/decisioni?",
            "In `memoria/decisioni/` ci sono 2 file [1], compreso 1 modello.",
        ),
        (
            "Does the file stato/ieri.md still exist?",
            "No, `stato/ieri.md` does not exist, and no file of the memory",
        ),
        (
            "Esiste il file stato/SESSIONE_141_IMPASTI.md?",
            "non lì, ora è in `archivio/2026-01/sessioni/SESSIONE_141_IMPASTI.md` [1].",
        ),
        ("Esiste il file ../../etc/passwd?", "`../../etc/passwd` è fuori dalla memoria: lì non guardo."),
        (
            "Quante volte compare la parola forno nel file 20260110_SCELTA_DEL_FORNO.md?",
            (
                "«forno» compare 4 volte in ogni grafia in "
                "`memoria/decisioni/20260110_SCELTA_DEL_FORNO.md` [1];"
                " scritto proprio così 2."
            ),
        ),
        ("Quali link cita stato/oggi.md?", "`stato/oggi.md` non cita nessun indirizzo web [1]."),
        (
            "Quante decisioni abbiamo?",
            "Abbiamo 1 decisione. Più recente: «DECISIONE: il forno a legna», 2026-01-10",
        ),
        ("list the lessons of January 2026", "Here is 1 lesson from 2026-01-01 to 2026-01-31:\n- "),
        ("Qual è lo stato della decisione SCELTA_DEL_FORNO?", "stato DECISO [1]."),
        ("que dia da semana foi 12 de janeiro de 2026?", "2026-01-12 é segunda-feira."),
        (COST, "| 20K | $60.00 | API |"),
        (COST, "30000 (circa 30.0K)"),
    ],
)
def test_code_states_the_fact_with_its_source(assistant: Assistant, question: str, said: str) -> None:
    told = answer(assistant, question)
    assert said in told.answer
    assert told.grounded
    assert (told.mode, told.model, told.finish_reason) == ("memory_only", "", "stop")
    assert [c.number for c in told.citations] == [n for n in range(1, 20) if f"[{n}]" in told.answer]


def test_what_is_cited_is_in_the_file(assistant: Assistant, january: Path) -> None:
    told = answer(assistant, "Quante volte compare la parola forno nel file 20260110_SCELTA_DEL_FORNO.md?")
    cited = told.citations[0]
    lines = (january / cited.path).read_text("utf-8").split("\n")
    assert cited.quote == "\n".join(lines[cited.start_line - 1 : cited.end_line])
    assert "forno" in cited.quote
    assert (cited.date, cited.session, cited.status) == ("2026-01-10", "148b", "DECISO")


def test_a_model_is_not_asked_for_what_code_has_counted(assistant: Assistant) -> None:
    voice = ScriptedLLM("Saranno mille.")
    told = answer(replace(assistant, voices=Voices([voice], 60)), "Quante righe ha stato/oggi.md?")
    assert told.answer == "`stato/oggi.md` ha 16 righe [1]."
    assert (told.mode, voice.prompts) == ("memory_only", [])
    assert told.provenance["exact"] == "lines"


def test_a_model_goes_on_from_what_code_has_stated(assistant: Assistant) -> None:
    voice = ScriptedLLM("Cucina al 40 per cento [2]. Inventato [9].")
    told = answer(replace(assistant, voices=Voices([voice], 60)), "Riassumi stato/oggi.md in due righe")
    assert told.answer.startswith(
        "`stato/oggi.md` ha 16 righe, data 2026-01-11, sessione 150 [1].\n\nCucina"
    )
    assert told.mode == "scripted"
    assert [c.number for c in told.citations] == [1, 2]
    assert told.provenance["citations_removed"] == [9]
    prompt = voice.prompts[0]
    assert {citation.path for citation in prompt.citations} == {"stato/oggi.md"}
    assert "16 righe" in prompt.stated


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("language", ["it", "en", "pt"])
def test_the_prompt_reminds_a_voice_without_its_marks(
    assistant: Assistant, language: str, compact: bool
) -> None:
    voice = ScriptedLLM("Sì.")
    answer(replace(assistant, voices=Voices([voice], 60)), "Riassumi stato/oggi.md in due righe")
    writer = PromptWriter(assistant.persona, assistant.templates, 260)
    prompt = replace(voice.prompts[0], language=language, stated="Ha 16 righe [1]. <|im_end|>" + "x" * 5000)
    last = writer.messages(prompt, Window(4096, 700, compact=compact))[-1].content
    assert "Ha 16 righe. " in last
    assert "<|im_end|>" not in last
    assert "x" * 1000 not in last


def test_sources_come_once_and_first(assistant: Assistant) -> None:
    told = [event for event in events(assistant, "Riassumi stato/oggi.md") if isinstance(event, Sources)]
    assert len(told) == 1
    numbers = [citation.number for citation in told[0].citations]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 1


def test_names_and_text_of_files_cannot_pass_for_citations(assistant: Assistant, january: Path) -> None:
    (january / "stato" / "a[7]`x.md").write_text("# Titolo [8]\n\nData: 2026-01-12\n\nforno\n")
    for question in ("elenca i documenti del 12 gennaio 2026", "Quante volte compare la parola forno?"):
        told = answer(assistant, question)
        assert "[7]" not in told.answer
        assert "[8]" not in told.answer


def test_search_carries_the_exact_fact(client: TestClient) -> None:
    body = client.post("/v1/search", json={"question": "Quante righe ha stato/oggi.md?"}).json()
    exact = body["exact"]
    assert (exact["operation"], exact["value"], exact["complete"]) == ("lines", 16, True)
    assert exact["sources"][0]["path"] == "stato/oggi.md"
    assert client.post("/v1/search", json={"question": "forno"}).json()["exact"] is None


@pytest.mark.parametrize(
    ("path", "operation", "value"),
    [
        ("count?pattern=forno&path=20260110_SCELTA_DEL_FORNO.md", "count_matches", 4),
        (
            "count?pattern=for.o&how=regex&any_spelling=true&path=20260110_SCELTA_DEL_FORNO.md",
            "count_matches",
            4,
        ),
        ("files?path=memoria/decisioni", "count_files", 2),
        ("exists?path=stato/oggi.md", "exists", True),
        ("exists?path=../../etc/passwd", "exists", False),
        ("lines?path=oggi.md", "lines", 16),
        ("links?path=oggi.md", "links", 0),
        ("list?kind=lesson&since=2026-01-01", "list", 1),
    ],
)
def test_endpoints(client: TestClient, path: str, operation: str, value: object) -> None:
    body = client.get(f"/v1/memory/{path}").json()
    assert (body["operation"], body["value"]) == (operation, value)
    assert set(body) >= {"operation", "value", "sources", "details"}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("lines?path=niente.md", 404, "memory_file_unknown"),
        ("lines?path=/etc/passwd", 404, "memory_file_unknown"),
        ("lines", 422, "invalid_request"),
        ("count?pattern=(&how=regex", 422, "invalid_request"),
        ("count?pattern=" + "x" * 201, 422, "invalid_request"),
        ("list?kind=poema", 422, "invalid_request"),
        ("list?since=ieri", 422, "invalid_request"),
        ("exists?path=a%00b", 422, "invalid_request"),
    ],
)
def test_endpoints_say_what_is_wrong(client: TestClient, path: str, status: int, code: str) -> None:
    response = client.get(f"/v1/memory/{path}")
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("count", "forno", "20260110_SCELTA_DEL_FORNO.md"), '"forno" occurs 4 times in any spelling in'),
        (("exists", "vecchio/oggi.md"), "not there, it is now at `stato/oggi.md` (16 lines) [1]."),
        (("lines", "oggi.md"), "`stato/oggi.md` has 16 lines [1]."),
        (("links", "oggi.md"), "cites no web address [1]."),
        (("files", "memoria/decisioni"), "`memoria/decisioni/` holds 2 files [1], 1 template included."),
        (("list", "--kind", "decision", "--since", "2026-01-01"), "Here is 1 decision since 2026-01-01:"),
    ],
)
def test_commands_need_no_index(january: Path, arguments: tuple[str, ...], said: str) -> None:
    env = {"CERVELLA_MEMORY__ROOTS": str(january)}
    told = cervella("memory", *arguments, env=env)
    assert (told.returncode, told.stderr) == (0, "")
    assert said in told.stdout
    exact = json.loads(cervella("memory", *arguments, "--json", env=env).stdout)
    assert set(exact) >= {"operation", "value", "sources"}


def test_a_command_about_a_file_that_is_not_there_fails(january: Path) -> None:
    told = cervella("memory", "lines", "niente.md", env={"CERVELLA_MEMORY__ROOTS": str(january)})
    assert told.returncode == 2
    assert "'niente.md'" in told.stderr


@pytest.fixture(scope="module")
def real(material: Path, tmp_path_factory: pytest.TempPathFactory) -> ExactFacts:
    memory = {"roots": [material / "memory" / "sncp"]}
    return bootstrap.make_exact(load_settings(home=tmp_path_factory.mktemp("home"), memory=memory))


def test_every_exact_question_about_a_real_memory_is_right_and_no_other_is_taken_for_one(
    real: ExactFacts, material: Path
) -> None:
    items = [json.loads(line) for line in (material / "eval" / "dev.jsonl").read_text("utf-8").splitlines()]
    told = {item["id"]: real.answer(Question(item["question"])) for item in items}
    wanted = {item["id"]: item["tool_answer"] for item in items if item["kind"] == "count_exist"}
    assert len(wanted) == 6
    assert {name: exact.value for name, exact in told.items() if exact} == wanted


def test_the_tasks_that_code_can_do_are_right(real: ExactFacts, material: Path) -> None:
    tasks = json.loads((material / "benchmark" / "inputs.json").read_text("utf-8"))
    templates = Templates(resource("prompts"))

    def said(name: str) -> tuple[Any, str]:
        exact = real.answer(Question(tasks[name]["question"]))
        assert exact is not None
        return exact, state(exact, templates, "it").text

    t01, words = said("T01")
    assert (t01.details["lines"], t01.details["session"], t01.complete) == (101, "165", False)
    assert "101 righe" in words
    assert "sessione 165" in words

    t04, words = said("T04")
    assert [part.details["path"] for part in t04.parts] == tasks["T04"]["files"]
    assert t04.parts[2].details["status"].lower().startswith(tasks["T04"]["true"]["byok_status"])

    t06, words = said("T06")
    assert t06.value == [False] * 5
    places = [place for part in t06.parts for place in part.details["elsewhere"]]
    assert {place["path"]: place["lines"] for place in places} == tasks["T06"]["true"]["found_at"]
    assert words.count("non lì, ora è in") == 4
    assert "99_NON_ESISTE.md` non esiste, e nella memoria nessun file" in words

    t07, words = said("T07")
    assert t07.value == tasks["T07"]["true"]["distinct_urls"]
    assert len(t07.details["links"]) == 10
    assert "https://vast.ai/pricing" in words

    t09, words = said("T09")
    truth = tasks["T09"]["true"]
    assert t09.parts[0].details["counts"] == {
        "as_written": truth["sessione_numero"]["as_written"],
        "any_spelling": truth["sessione_numero"]["any_case"],
    }
    assert t09.value[1:] == [
        truth["Task:"],
        truth["RACCOMANDAZIONE"],
        truth["perche_any_spelling"],
        truth["100000%"],
    ]

    t16, words = said("T16")
    assert t16.value["per_request"] == str(tasks["T16"]["true"]["per_request_usd"])
    assert t16.value["costs"] == {"30000": "99.68", "100000": "332.25", "500000": "1661.25"}
    assert {name: round(n, -2) for name, n in t16.value["break_even"].items()} == {
        "RunPod": 92200,
        "Vast.ai": 70200,
    }
    assert "$99.68" in words
    assert "70.2K" in words


@pytest.mark.timeout(300)
def test_the_tasks_are_answered_without_a_model(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(material / "memory" / "sncp"))
    settings = load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    assistant = bootstrap.make_assistant(settings)
    tasks = json.loads((material / "benchmark" / "inputs.json").read_text("utf-8"))

    async def all_answers() -> dict[str, Answer]:
        return {name: await assistant.reply(Question(task["question"])) for name, task in tasks.items()}

    told = asyncio.run(all_answers())
    assert all(each.grounded and each.mode == "memory_only" for each in told.values())
    wanted = {"T01": "165", "T04": "DECISO", "T06": "2140", "T07": "21", "T09": "16 volte", "T16": "92.2K"}
    assert {name: text in told[name].answer for name, text in wanted.items()} == dict.fromkeys(wanted, True)
    assert {c.path for c in told["T01"].citations} == {"stato/oggi.md"}
