"""The HTTP door in process: shapes, problems, streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cervella_rag import bootstrap
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import Prompt, VoiceEvent
from cervella_rag.errors import VoiceBrokenError

from .test_assistant import ScriptedLLM


@pytest.fixture
def client(january: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(january))
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")  # quick; what vectors add is tested elsewhere
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    with TestClient(bootstrap.make_app(settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    with TestClient(
        bootstrap.make_app(bootstrap.load_settings()),
        base_url="http://127.0.0.1",
        raise_server_exceptions=False,
    ) as client:
        yield client


def frames(text: str) -> list[tuple[str, Any]]:
    parts = [frame.split("\n") for frame in text.strip().split("\n\n") if not frame.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def assert_problem(response: Any, status: int, code: str) -> None:
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == response.headers["x-request-id"]


def test_health(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["parts"]["voice"]["detail"] == "memory_only"


def test_not_ready_without_an_index_and_says_why(empty: TestClient) -> None:
    response = empty.get("/health/ready", headers={"accept-language": "it-IT"})
    assert response.status_code == 503
    parts = response.json()["parts"]
    assert "Crealo: cervella index" in parts["index"]["detail"]
    assert parts["embedder"]["ready"]


def test_search_gives_hits_of_the_promised_shape(client: TestClient) -> None:
    body = client.post("/v1/search", json={"question": "forno a legna", "top_k": 2}).json()
    assert set(body) == {"hits", "enough", "closest", "understood", "exact", "index", "took_ms", "degraded"}
    assert body["index"] == {"generation": 1, "documents": 8, "chunks": 7}
    hit = body["hits"][0]
    assert hit["path"] == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"
    assert (hit["kind"], hit["date"], hit["session"], hit["status"]) == (
        "decision",
        "2026-01-10",
        "148b",
        "DECISO",
    )
    assert set(hit["scores"]) == {"lexical", "dense", "window", "fused", "rerank"}


def test_search_obeys_filters(client: TestClient) -> None:
    request = {"question": "farina", "filters": {"since": "2026-01-09", "kind": "idea"}}
    hits = client.post("/v1/search", json=request).json()["hits"]
    assert [hit["path"] for hit in hits] == ["idee/copia_impasti.md"]


def test_chat_answers_with_citations(client: TestClient) -> None:
    body = client.post("/v1/chat", json={"message": "Quante ore tiene il forno?"}).json()
    assert (body["mode"], body["grounded"]) == ("memory_only", True)
    assert body["citations"][0]["number"] == 1
    assert body["conversation_id"]


def test_a_conversation_is_kept_listed_and_deleted(client: TestClient) -> None:
    first = client.post("/v1/chat", json={"message": "Quante ore tiene il forno?"}).json()
    conversation_id = first["conversation_id"]
    second = client.post(
        "/v1/chat", json={"message": "E la farina?", "conversation_id": conversation_id}
    ).json()
    assert second["conversation_id"] == conversation_id
    kept = client.get(f"/v1/conversations/{conversation_id}").json()
    assert [turn["turn_id"] for turn in kept["turns"]] == [first["turn_id"], second["turn_id"]]
    assert kept["turns"][0]["citations"] == first["citations"]
    listed = client.get("/v1/conversations").json()["conversations"]
    assert [(card["conversation_id"], card["turns"]) for card in listed] == [(conversation_id, 2)]
    assert client.delete(f"/v1/conversations/{conversation_id}").status_code == 204
    assert client.get("/v1/conversations").json() == {"conversations": []}


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_conversation_has_its_own_status(client: TestClient, stream: bool) -> None:
    request = {"message": "Quante ore?", "conversation_id": "nope", "stream": stream}
    assert_problem(client.post("/v1/chat", json=request), 404, "conversation_unknown")
    assert_problem(client.get("/v1/conversations/nope"), 404, "conversation_unknown")
    assert_problem(client.delete("/v1/conversations/nope"), 404, "conversation_unknown")


def test_a_history_or_an_id_but_not_both(client: TestClient) -> None:
    history = [{"role": "user", "content": "Il forno?"}, {"role": "assistant", "content": "Sì."}]
    request = {"message": "E quanto tiene?", "history": history}
    assert client.post("/v1/chat", json=request).json()["conversation_id"] is None
    both = client.post("/v1/chat", json={**request, "conversation_id": "x"})
    assert_problem(both, 422, "invalid_request")


def test_health_tells_of_every_voice(client: TestClient) -> None:
    ready = client.get("/health/ready").json()
    assert ready["status"] == "degraded"  # she answers, and not with her first voice
    assert [(voice["mode"], voice["ready"]) for voice in ready["voices"]] == [
        ("ollama", False),
        ("memory_only", True),
    ]
    assert "http://127.0.0.1:1" in ready["voices"][0]["detail"]


def test_chat_streams_sources_before_tokens_and_ends_with_done(client: TestClient) -> None:
    response = client.post("/v1/chat", json={"message": "Quante ore tiene il forno?", "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    seen = frames(response.text)
    names = [name for name, _ in seen]
    assert names[:3] == ["status", "sources", "status"]
    stages = [data["stage"] for name, data in seen if name == "status"]
    assert stages == ["retrieved", "ollama", "memory_only"]
    assert set(names[4:-1]) == {"token"}
    assert names[-1] == "done"
    assert "".join(data["text"] for name, data in seen if name == "token") == seen[-1][1]["answer"]


def speak_with(client: TestClient, voice: ScriptedLLM) -> None:
    assistant = client.app.state.assistant  # type: ignore[attr-defined]
    client.app.state.assistant = replace(assistant, voices=Voices([voice], rest_seconds=0))  # type: ignore[attr-defined]


def test_a_stream_that_fails_ends_with_an_error_event(client: TestClient) -> None:
    speak_with(client, ScriptedLLM("Sei ", error=VoiceBrokenError(voice="v", place="p", reason="gone")))
    response = client.post("/v1/chat", json={"message": "Quante ore tiene il forno?", "stream": True})
    name, data = frames(response.text)[-1]
    assert (name, data["code"], data["status"]) == ("error", "voice_broken", 503)


def test_a_silent_stream_is_kept_open(client: TestClient) -> None:
    class SlowLLM(ScriptedLLM):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
            await asyncio.sleep(0.2)
            async for event in super().stream(prompt):
                yield event

    client.app.state.ping_seconds = 0.05  # type: ignore[attr-defined]
    speak_with(client, SlowLLM("Sei ore [1]."))
    response = client.post("/v1/chat", json={"message": "Quante ore tiene il forno?", "stream": True})
    assert ": ping\n\n" in response.text
    assert frames(response.text)[-1][0] == "done"


def test_a_failing_stream_that_has_not_begun_has_its_own_status(empty: TestClient) -> None:
    assert_problem(empty.post("/v1/chat", json={"message": "x", "stream": True}), 503, "index_absent")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/search", {"question": " "}, "question_empty"),
        ("/v1/chat", {"message": "x" * 4001}, "question_too_long"),
        ("/v1/search", {}, "invalid_request"),
        ("/v1/search", {"question": "x", "top_k": 0}, "invalid_request"),
        ("/v1/search", {"question": "x", "filters": {"since": "ieri"}}, "invalid_request"),
        ("/v1/search", {"question": "x", "filters": {"kind": "poema"}}, "invalid_request"),
        ("/v1/search", {"question": "x", "filters": {"since": 86400}}, "invalid_request"),
        ("/v1/search", {"question": "x", "filters": {"kindd": "idea"}}, "invalid_request"),
        (
            "/v1/chat",
            {"message": "x", "history": [{"role": "user", "content": "x" * 20_001}]},
            "invalid_request",
        ),
        ("/v1/chat", {"message": "x", "history": [{"role": "system", "content": ""}]}, "invalid_request"),
    ],
)
def test_wrong_requests_are_problems(client: TestClient, path: str, body: Any, code: str) -> None:
    assert_problem(client.post(path, json=body), 422, code)


@pytest.mark.parametrize(
    "fields",
    [b'"question": "\\ud800"', b'"question": "x", "filters": {"project": "\\ud800"}',
     b'"question": "e x", "history": [{"role": "user", "content": "\\ud800"}]'],
)  # fmt: skip
def test_half_a_surrogate_pair_is_refused(client: TestClient, fields: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/search", content=b"{" + fields + b"}", headers=headers)
    assert_problem(response, 422, "invalid_request")


def test_problems_speak_the_language_asked_for(client: TestClient) -> None:
    request = {"question": ""}
    assert client.post("/v1/search", json=request).json()["detail"].startswith("The question is empty")
    italian = client.post("/v1/search", json=request, headers={"accept-language": "it"})
    assert italian.json()["detail"].startswith("La domanda è vuota")


def test_other_errors_are_problems_too(client: TestClient) -> None:
    assert_problem(client.get("/v1/nothing"), 404, "not_found")
    assert_problem(client.get("/v1/search"), 405, "method_not_allowed")
    assert_problem(client.get("/health", headers={"host": "evil.example"}), 400, "host_not_allowed")
    assert_problem(client.post("/v1/search", content=b" " * 1_000_001), 413, "request_entity_too_large")
    unannounced = client.post("/v1/search", content=(b" " * 500_001 for _ in range(2)))
    assert_problem(unannounced, 413, "request_entity_too_large")


def test_a_defect_tells_nothing_of_itself(empty: TestClient) -> None:
    def break_down() -> None:
        raise ZeroDivisionError("secret")

    empty.app.state.retriever.reader = break_down  # type: ignore[attr-defined]
    response = empty.get("/v1/stats")
    assert_problem(response, 500, "internal")
    assert "secret" not in response.text


def test_reindexes_in_the_background(client: TestClient, january: Path) -> None:
    (january / "nuovo.md").write_text("# Nuovo\n\nIl basilico arriva a maggio.\n")
    job_id = client.post("/v1/index").json()["job_id"]
    state = wait_for_job(client)
    assert (state["state"], state["job_id"]) == ("done", job_id)
    assert (state["report"]["added"], state["report"]["generation"]) == (1, 2)
    hits = client.post("/v1/search", json={"question": "basilico"}).json()["hits"]
    assert hits[0]["path"] == "nuovo.md"


def test_a_job_that_fails_says_why(client: TestClient, january: Path) -> None:
    january.rename(january.with_name("gone"))
    client.post("/v1/index")
    state = wait_for_job(client)
    assert state["state"] == "failed"
    assert "does not exist" in state["error"]


def wait_for_job(client: TestClient) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state: dict[str, Any] = client.get("/v1/index").json()
        if state["state"] not in ("idle", "running"):
            return state
        time.sleep(0.02)
    raise AssertionError("the job did not end")


def test_stats_count_what_is_there(client: TestClient) -> None:
    body = client.get("/v1/stats").json()
    assert (body["documents"], body["chunks"], body["dated"]) == (8, 7, 7)
    assert body["undated"] == ["idee/IDEA_MENU_ESTIVO.md"]
    assert body["newest"] == "2026-01-11"
    assert body["kinds"]["research"] == 2


def test_page_and_documentation_need_no_other_server(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert client.get("/page/app.js").status_code == 200
    assert "script-src 'self';" in page.headers["content-security-policy"]
    documentation = client.get("/docs").text
    assert "/static-offline-docs/swagger-ui-bundle.js" in documentation
    assert "https://" not in documentation.replace("https://fastapi.tiangolo.com", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
