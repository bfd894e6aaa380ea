"""From a conversation into the memory: the form, the place, the confirmation, and what never happens."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cervella_rag import bootstrap
from cervella_rag.bootstrap.writeback import make_memory_writer
from cervella_rag.chat.brief.records import read_records
from cervella_rag.chat.writeback.disk import write_new
from cervella_rag.chat.writeback.draft import RecordKind, Wish, draft
from cervella_rag.chat.writeback.phrase import phrase
from cervella_rag.chat.writeback.place import Place, folder_for, path_in
from cervella_rag.domain import Conversation, ConversationInfo, Kind, Message, Root, Source, Turn
from cervella_rag.errors import MemoryNotWritableError, MemoryPathTakenError, VoiceBrokenError
from cervella_rag.memory.sncp import DocumentReader, kind_of_path
from cervella_rag.resources import resource
from cervella_rag.settings import Settings
from cervella_rag.templates import Templates
from cervella_rag.vectors.generations import EmbeddedStore

from .conftest import FIXTURES, Index
from .test_assistant import ScriptedLLM
from .test_brief import KNOWLEDGE, read
from .test_cli import QUICK, cervella

TEMPLATES = Templates(resource("prompts"))
SOURCE = {
    "number": 2,
    "path": "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md",
    "title": "DECISIONE: il forno a legna",
    "headings": ["Perche' a legna"],
    "start_line": 8,
    "end_line": 10,
    "date": "2026-01-10",
    "session": "148b",
    "status": "DECISO",
    "retired": None,
    "quote": "## Perche' a legna\n\nIl forno a legna tiene la temperatura per **sei ore**.",
}


def turn(number: int, question: str, answer: str, **told: Any) -> Turn:
    made = Turn(
        turn_id=f"turn-{number}",
        question=question,
        answer=answer,
        mode="ollama",
        model="qwen3",
        grounded=True,
        finish_reason="stop",
        citations=(SOURCE,),
        created="2026-01-12T10:00:00.000+00:00",
    )
    return replace(made, **told)


def conversation(*turns: Turn) -> Conversation:
    info = ConversationInfo("c-1", turns[0].question, "2026-01-12", "2026-01-12", len(turns))
    return Conversation(info, turns)


TALK = conversation(
    turn(1, "Quanto tiene il forno?", "Il forno a legna tiene sei ore [2]."),
    turn(2, "E il forno elettrico?", "Non lo trovo.", grounded=False),
    turn(
        3, "Allora legna?", "# Legna\n\nScegliamo il forno a legna perche' tiene [2] e non costa [9]. Fine."
    ),
)
WISH = Wish("decision", "c-1", "2026-01-12", session="150", project="pizzeria")


@pytest.mark.parametrize("language", ["it", "en"])
@pytest.mark.parametrize("kind", ["decision", "lesson", "handoff"])
def test_a_draft_reads_as_what_it_is(kind: RecordKind, language: str) -> None:
    text = draft(replace(WISH, kind=kind), TALK, TEMPLATES, language)
    folder = {"decision": "decisioni", "lesson": "lezioni", "handoff": "handoff"}[kind]
    reader = DocumentReader(volatile=[], template=[], detect_language=lambda _: "it")
    path = f"memoria/{folder}/20260112_forno.md"
    metadata = reader.read(Source("r", path, "0", text), (path,)).metadata
    assert metadata.kind == kind
    assert (metadata.date, metadata.session, metadata.project) == ("2026-01-12", "150", "pizzeria")
    assert metadata.title.endswith(": Quanto tiene il forno")
    assert "E il forno elettrico?" in text
    assert "Scegliamo il forno a legna perche' tiene [1] e non costa. Fine." in text
    assert "#### Legna" in text
    assert "1. `memoria/decisioni/20260110_SCELTA_DEL_FORNO.md`" in text
    assert "8-10, 2026-01-10: Perche' a legna" in text


def test_a_handoff_has_the_six_sections() -> None:
    old = turn(
        4, "E Chroma?", "Superata [2].", citations=({**SOURCE, "path": "c.md", "status": "SUPERSEDED"},)
    )
    text = draft(replace(WISH, kind="handoff"), conversation(*TALK.turns, old), TEMPLATES, "it")
    assert [line for line in text.split("\n") if line.startswith("## ")] == [
        "## 1. Fatto",
        "## 2. Deciso",
        "## 3. Aperto",
        "## 4. File letti",
        "## 5. Trappole",
        "## 6. Prossimo passo",
    ]
    assert "- `c.md` non vale più." in text
    assert "SCELTA_DEL_FORNO.md` non vale" not in text
    assert text.endswith("Trovare risposta a: E il forno elettrico?\n")


def test_own_words_go_before_hers() -> None:
    text = draft(replace(WISH, title="Il forno", text="Legna. E basta."), TALK, TEMPLATES, "it")
    assert "# DECISIONE: Il forno\n" in text
    assert "## La decisione\n\nLegna. E basta.\n" in text
    assert "Scegliamo" not in text


def test_the_memorys_own_voice_gives_its_quotes() -> None:
    quoting = conversation(turn(1, "Quanto tiene?", "Ecco che cosa dice la memoria.", mode="memory_only"))
    text = draft(WISH, quoting, TEMPLATES, "it")
    assert "Ecco che cosa dice" not in text
    assert (
        "> **Perche' a legna**\n>\n> Il forno a legna tiene la temperatura per **sei ore**.\n\n[1]" in text
    )
    assert "## In breve\n\nIl forno a legna tiene la temperatura per sei ore.\n" in text


def test_what_only_came_close_is_no_source() -> None:
    nothing = conversation(turn(1, "Chi è Ada?", "Non lo trovo.", grounded=False, mode="memory_only"))
    text = draft(WISH, nothing, TEMPLATES, "it")
    assert "SCELTA_DEL_FORNO" not in text
    assert "Non lo trovo." in text


PLACES = [
    ("decision", None, "memoria/decisioni"),
    ("lesson", None, "memoria/lezioni"),
    ("handoff", None, "handoff"),
    ("decision", "Miracollo", "progetti/miracollo/decisioni"),
    ("handoff", "cervella", "progetti/cervella/handoff"),
    ("lesson", "miracollo", "progetti/miracollo/lezioni"),
    ("decision", "altro", "memoria/decisioni"),
]


@pytest.mark.parametrize(("kind", "project", "folder"), PLACES)
def test_the_folder_of_the_layout(
    index: Index, store: EmbeddedStore, kind: str, project: str | None, folder: str
) -> None:
    index(KNOWLEDGE)
    records = read_records(read(store).chunks())
    assert folder_for(kind, project, records, ["knowledge"]) == Place("knowledge", folder)


@pytest.mark.parametrize(
    ("kind", "project", "folder"),
    [
        ("handoff", None, ".sncp/handoff"),
        ("decision", "pomelo", ".sncp/progetti/pomelo/decisioni"),
        ("decision", None, ".sncp/memoria/decisioni"),
    ],
)
def test_the_folder_of_the_other_layout(
    index: Index, store: EmbeddedStore, kind: str, project: str | None, folder: str
) -> None:
    index(FIXTURES / "march")
    records = read_records(read(store).chunks())
    assert folder_for(kind, project, records, ["march"]) == Place("march", folder)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Perché abbiamo scelto il forno a legna?", "20260112_scelto_forno_legna.md"),
        ("La roadmap del motore", "20260112_decisione_roadmap_motore.md"),
        ("../../etc/passwd", "20260112_etc_passwd.md"),
        ("日本", "20260112_decisione.md"),
        ("x" * 500, f"20260112_{'x' * 50}.md"),
    ],
)
def test_names_say_date_and_topic_and_read_as_their_kind(title: str, name: str) -> None:
    stem = "memoria/decisioni/20260112"
    path = path_in(stem, title, kind="decision", reads_as=kind_of_path, taken=lambda _: False)
    assert path == f"memoria/decisioni/{name}"
    assert kind_of_path(path) is Kind.DECISION


def test_a_taken_name_gets_a_number() -> None:
    taken = {"d/1_forno.md", "d/1_forno_2.md"}
    path = path_in(
        "d/1", "forno", kind="decision", reads_as=lambda _: Kind.DECISION, taken=taken.__contains__
    )
    assert path == "d/1_forno_3.md"


def test_it_never_overwrites(january: Path) -> None:
    root = Root("january", january)
    write_new(root, "memoria/lezioni/nuova.md", "uno")
    with pytest.raises(MemoryPathTakenError):
        write_new(root, "memoria/lezioni/nuova.md", "due")
    assert (january / "memoria" / "lezioni" / "nuova.md").read_text() == "uno"


def test_it_never_leaves_the_root(january: Path, tmp_path: Path) -> None:
    outside = tmp_path / "fuori"
    outside.mkdir()
    (january / "porta").symlink_to(outside)
    (january / "appeso.md").symlink_to(outside / "nuovo.md")
    root = Root("january", january)
    for path in ("porta/x.md", "../fuori/x.md", str(outside / "x.md"), "stato/oggi.md/x.md"):
        with pytest.raises(MemoryNotWritableError):
            write_new(root, path, "x")
    with pytest.raises(MemoryPathTakenError):
        write_new(root, "appeso.md", "x")
    assert not list(outside.iterdir())


@pytest.fixture
def client(january: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(january))
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    with TestClient(bootstrap.make_app(settings), base_url="http://127.0.0.1") as client:
        yield client


def ask(client: TestClient, message: str = "Quante ore tiene il forno?") -> dict[str, Any]:
    answer: dict[str, Any] = client.post("/v1/chat", json={"message": message}).json()
    return answer


def proposed(client: TestClient, **told: Any) -> dict[str, Any]:
    answer = ask(client)
    body = {"kind": "decision", "conversation_id": answer["conversation_id"], **told}
    response = client.post("/v1/proposals", json=body)
    assert response.status_code == 201, response.text
    proposal: dict[str, Any] = response.json()
    return proposal


def settle(client: TestClient) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get("/v1/index").json()
        if job["state"] != "running":
            return job
    raise AssertionError("the index was not brought up to date")


def test_proposed_confirmed_written_found(client: TestClient, january: Path) -> None:
    before = sorted(january.rglob("*"))
    proposal = proposed(client, title="Forno a basilico", text="Si usa il basilico fresco.", session="151")
    assert sorted(january.rglob("*")) == before
    assert proposal["path"].startswith("memoria/decisioni/20")
    assert proposal["path"].endswith("_forno_basilico.md")

    written = client.post(f"/v1/proposals/{proposal['proposal_id']}/confirm")
    assert written.status_code == 201
    assert (january / proposal["path"]).read_text("utf-8") == proposal["text"]
    job = settle(client)
    assert (job["state"], job["job_id"]) == ("done", written.json()["job_id"])
    assert job["report"]["added"] == 1
    hits = client.post("/v1/search", json={"question": "basilico fresco"}).json()["hits"]
    assert (hits[0]["path"], hits[0]["kind"], hits[0]["session"]) == (proposal["path"], "decision", "151")

    again = client.post(f"/v1/proposals/{proposal['proposal_id']}/confirm")
    assert (again.status_code, again.json()["code"]) == (409, "proposal_spent")


def test_what_came_to_its_place_stays(client: TestClient, january: Path) -> None:
    proposal = proposed(client)
    (january / proposal["path"]).write_text("mio")
    taken = client.post(f"/v1/proposals/{proposal['proposal_id']}/confirm")
    assert (taken.status_code, taken.json()["code"]) == (409, "memory_path_taken")
    assert (january / proposal["path"]).read_text() == "mio"
    assert proposed(client)["path"] == proposal["path"].replace(".md", "_2.md")


def test_no_secret_is_written(client: TestClient) -> None:
    proposal = proposed(client, title="Scrivi a mario.rossi@albergo.it", text="La password è: Segreta99!x")
    assert "mario" not in proposal["text"] + proposal["path"]
    assert "Segreta99" not in proposal["text"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"conversation_id": "no"}, 404, "conversation_unknown"),
        ({"kind": "poem"}, 422, "invalid_request"),
        ({"title": "una\nriga"}, 422, "invalid_request"),
        ({"project": "a\u0000b"}, 422, "invalid_request"),
        ({"session": "oggi"}, 422, "invalid_request"),
        ({"text": "x" * 20_001}, 422, "invalid_request"),
    ],
)
def test_wrong_proposals(client: TestClient, body: dict[str, str], status: int, code: str) -> None:
    told = {"kind": "lesson", "conversation_id": ask(client)["conversation_id"], **body}
    answer = client.post("/v1/proposals", json=told)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_unknown_proposal(client: TestClient) -> None:
    answer = client.post("/v1/proposals/no/confirm")
    assert (answer.status_code, answer.json()["code"]) == (404, "proposal_unknown")


def test_feedback_is_kept_and_exported_and_goes_with_its_conversation(client: TestClient) -> None:
    answer = ask(client)
    told = {"turn_id": answer["turn_id"], "kind": "wrong_source", "note": "dillo a mario.rossi@albergo.it"}
    kept = client.post("/v1/feedback", json=told)
    assert kept.status_code == 201
    assert kept.json()["note"] == "dillo a [redacted:email]"
    client.post("/v1/feedback", json={"turn_id": answer["turn_id"], "kind": "good"})

    exported = cervella("feedback", "export")
    entries = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [entry["kind"] for entry in entries] == ["wrong_source", "good"]
    assert entries[0]["question"] == "Quante ore tiene il forno?"
    assert entries[0]["citations"][0]["path"] == SOURCE["path"]
    assert entries[0]["conversation_id"] == answer["conversation_id"]

    client.delete(f"/v1/conversations/{answer['conversation_id']}")
    assert cervella("feedback", "export").stdout == ""


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"turn_id": "no", "kind": "good"}, 404, "turn_unknown"),
        ({"turn_id": "x", "kind": "bad"}, 422, "invalid_request"),
        ({"turn_id": "x", "kind": "good", "note": "x" * 2001}, 422, "invalid_request"),
    ],
)
def test_wrong_feedback(client: TestClient, body: dict[str, str], status: int, code: str) -> None:
    answer = client.post("/v1/feedback", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def write_command(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cervella_rag", "write", *arguments],
        env={**os.environ, **QUICK},
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_shows_asks_and_writes(january: Path) -> None:
    cervella("index", january)
    answer = json.loads(cervella("ask", "Quante ore tiene il forno?", "--json").stdout)
    told = ["lesson", "--conversation", answer["conversation_id"], "--title", "Il basilico"]
    for refusing in ("n\n", ""):
        refused = write_command(*told, said=refusing)
        assert refused.returncode == 0
        assert "Nothing was written." in refused.stdout
        assert "# LEZIONE: Il basilico" in refused.stdout
        assert "To be written in january: memoria/lezioni/" in refused.stderr
    assert not (january / "memoria" / "lezioni").exists()

    written = write_command(*told, said="y\n")
    assert written.returncode == 0, written.stderr
    assert "Written and indexed: memoria/lezioni/" in written.stdout
    assert "il_basilico" not in written.stdout
    assert [file.name[8:] for file in (january / "memoria" / "lezioni").iterdir()] == ["_basilico.md"]
    assert "memoria/lezioni/" in cervella("search", "basilico").stdout
    assert "_basilico_2.md" in write_command(*told, "--yes").stdout
    assert write_command("lesson", "--conversation", "no", "--yes").returncode == 2
    assert write_command(*told, "--session", "oggi", "--yes").returncode == 2


def test_a_memory_that_cannot_be_written_to(client: TestClient, january: Path) -> None:
    proposal = proposed(client)
    folder = january / "memoria" / "decisioni"
    folder.rename(january / "memoria" / "altrove")
    folder.write_text("un file")
    refused = client.post(f"/v1/proposals/{proposal['proposal_id']}/confirm")
    assert (refused.status_code, refused.json()["code"]) == (503, "memory_not_writable")


def test_a_voice_may_say_it_and_need_not(january: Path, quick_settings: Settings) -> None:
    store = bootstrap.make_store(quick_settings)
    assistant = bootstrap.make_assistant(quick_settings)
    voice = ScriptedLLM("Si sceglie il forno a legna [1].", mode="ollama")
    spoken = replace(assistant, voices=type(assistant.voices)([voice], rest_seconds=60))

    async def text(with_voice: bool) -> str:
        answer = await assistant.reply(bootstrap.make_question("Quante ore tiene il forno?"))
        assert answer.conversation_id
        writer = make_memory_writer(quick_settings, spoken, store)
        wish = Wish("decision", answer.conversation_id, "2026-01-12")
        return (await writer.propose(wish, with_voice=with_voice)).text

    assert "## In breve\n\nSi sceglie il forno a legna.\n" in asyncio.run(text(True))
    assert voice.prompts[0].citations
    assert voice.prompts[0].history[0] == Message("user", "Quante ore tiene il forno?")
    assert "Si sceglie" not in asyncio.run(text(False))
    voice.error = VoiceBrokenError(voice="ollama", place="x", reason="y")
    assert "Si sceglie" not in asyncio.run(text(True))


@pytest.fixture
def quick_settings(january: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    return settings


def test_the_memorys_own_voice_is_not_asked_to_phrase(quick_settings: Settings) -> None:
    voices = bootstrap.make_assistant(quick_settings).voices
    assert asyncio.run(phrase(voices, WISH, TALK, "it")) is None
