"""A part that is gone is done without, and that is said; when it is back, it is used, without a restart."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cervella_rag import bootstrap
from cervella_rag.errors import EmbedderError
from cervella_rag.settings import Settings
from cervella_rag.vectors.resting import RestingEmbedder

from .conftest import HashEmbedder
from .ollama_double import OllamaDouble, saying
from .qdrant_double import qdrant_double

ASK = {"message": "Quante ore tiene il forno?"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, january: Path) -> None:
    for name, value in {
        "MEMORY__ROOTS": str(january),
        "EMBEDDER__NAME": "none",
        "LLM__OLLAMA_MODEL": "m",
        "LLM__REST_SECONDS": "0",
    }.items():
        monkeypatch.setenv(f"CERVELLA_{name}", value)


def indexed(**settings: Any) -> Settings:
    loaded = bootstrap.load_settings(**settings)
    bootstrap.make_indexer(loaded).run(bootstrap.find_roots(loaded))
    return loaded


def client(settings: Settings) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=bootstrap.make_app(settings))
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def ask(door: httpx2.AsyncClient, conversation: str | None = None) -> dict[str, Any]:
    answer = await door.post("/v1/chat", json={**ASK, "conversation_id": conversation})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def state(door: httpx2.AsyncClient) -> tuple[int, str, list[str]]:
    answer = await door.get("/health/ready")
    body = answer.json()
    gone = [name for name, part in body["parts"].items() if not part["ready"]]
    return answer.status_code, body["status"], gone


def test_ollama_killed_and_restarted_under_a_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        async with OllamaDouble(saying("Sei", " ore", " [1].")) as ollama:
            monkeypatch.setenv("CERVELLA_LLM__OLLAMA_URL", ollama.url)
            async with client(indexed()) as door:
                said = await ask(door)
                conversation = said["conversation_id"]
                assert (said["mode"], said["degraded"]) == ("ollama", [])
                assert await state(door) == (200, "ready", [])
                await ollama.stop()
                said = await ask(door, conversation)
                assert (said["mode"], said["degraded"]) == ("memory_only", ["voice"])
                assert said["provenance"]["passed_over"][0]["mode"] == "ollama"
                assert await state(door) == (200, "degraded", [])
                await ollama.start(ollama.port)
                said = await ask(door, conversation)
                assert (said["mode"], said["degraded"]) == ("ollama", [])
                kept = (await door.get(f"/v1/conversations/{conversation}")).json()["turns"]
                assert [turn["mode"] for turn in kept] == ["ollama", "memory_only", "ollama"]

    asyncio.run(talk())


def test_a_model_that_is_not_there_is_named_until_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        async with OllamaDouble(saying("Sei ore [1].")) as ollama:
            monkeypatch.setenv("CERVELLA_LLM__OLLAMA_URL", ollama.url)
            models, ollama.models = ollama.models, {}
            async with client(indexed()) as door:
                said = await ask(door)
                assert said["degraded"] == ["voice"]
                assert "ollama pull m" in said["provenance"]["passed_over"][0]["reason"]
                ollama.models = models
                assert (await ask(door))["degraded"] == []

    asyncio.run(talk())


def test_an_embedder_that_is_gone_leaves_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        async with OllamaDouble() as ollama:
            monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "ollama")
            monkeypatch.setenv("CERVELLA_EMBEDDER__MODEL", "m")
            monkeypatch.setenv("CERVELLA_EMBEDDER__URL", ollama.url)
            monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
            settings = await asyncio.to_thread(indexed)
            async with client(settings) as door:
                search = {"question": "Quante ore tiene il forno?"}
                found = (await door.post("/v1/search", json=search)).json()
                assert found["degraded"] == []
                assert found["hits"][0]["scores"]["dense"] is not None
                await ollama.stop()
                found = (await door.post("/v1/search", json=search)).json()
                assert (found["degraded"], found["enough"]) == (["embedder"], True)
                assert found["hits"][0]["scores"]["dense"] is None
                said = await ask(door)
                assert "sei ore" in said["answer"]
                assert said["degraded"] == ["embedder"]
                assert await state(door) == (200, "degraded", ["embedder"])
                vectors = await door.post("/v1/embeddings", json={"input": "x"})
                assert (vectors.status_code, vectors.json()["error"]["code"]) == (503, "embedder_failed")
                await ollama.start(ollama.port)
                assert (await ask(door))["degraded"] == []
                assert await state(door) == (200, "ready", [])

    asyncio.run(talk())


def test_an_embedder_that_failed_is_left_alone_for_a_while(embedder: HashEmbedder) -> None:
    now, tries = 0.0, 0

    class Broken(HashEmbedder):
        def embed_query(self, text: str) -> Any:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise EmbedderError(embedder=self.name, reason="gone")
            return super().embed_query(text)

    resting = RestingEmbedder(Broken(), 15, lambda: now)
    for _ in range(3):
        with pytest.raises(EmbedderError):
            resting.embed_query("farina")
    assert tries == 1
    now = 15.0
    assert resting.embed_query("farina").shape == (64,)
    assert resting.embed_documents(["farina"]).shape == (1, 64)


def test_the_index_server_killed_and_restarted_under_a_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def talk(settings: Settings, first: ExitStack, again: Callable[[], ExitStack]) -> None:
        async with client(settings) as door:
            conversation = (await ask(door))["conversation_id"]
            await asyncio.to_thread(first.close)
            refused = await door.post("/v1/chat", json={**ASK, "conversation_id": conversation})
            assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
            assert await state(door) == (503, "not_ready", ["index"])
            kept = await door.get(f"/v1/conversations/{conversation}")  # what needs no index still works
            assert len(kept.json()["turns"]) == 1
            assert (await door.get("/v1/models")).status_code == 200
            with await asyncio.to_thread(again):
                assert (await ask(door, conversation))["conversation_id"] == conversation
                assert await state(door) == (200, "ready", [])
            kept = await door.get(f"/v1/conversations/{conversation}")
            assert len(kept.json()["turns"]) == 2

    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    with ExitStack() as first:
        double = first.enter_context(qdrant_double())
        monkeypatch.setenv("CERVELLA_QDRANT__URL", double.url)

        def again() -> ExitStack:
            stack = ExitStack()
            stack.enter_context(qdrant_double(again=double))
            return stack

        asyncio.run(talk(indexed(), first, again))


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond a page: what a write to a full disk does, on any machine."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_answer_that_cannot_be_kept_is_given_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def talk() -> None:
        async with client(indexed()) as door:
            first = await ask(door)
            conversation = first["conversation_id"]
            with full_disk():
                said = await ask(door, conversation)
                assert await state(door) == (200, "degraded", ["conversations"])
                new = await ask(door)
            assert "sei ore" in said["answer"]
            assert (said["degraded"], new["degraded"]) == (["conversations"], ["conversations"])
            assert (said["conversation_id"], new["conversation_id"]) == (conversation, None)
            assert await state(door) == (200, "ready", [])
            assert (await ask(door, conversation))["degraded"] == []
            kept = (await door.get(f"/v1/conversations/{conversation}")).json()["turns"]
            assert len(kept) == 2

    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    asyncio.run(talk())
