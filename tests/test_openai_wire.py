"""The OpenAI wire, spoken by OpenAI's own client to a served process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from fastapi.testclient import TestClient
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from cervella_rag import bootstrap
from cervella_rag.errors import VoiceBrokenError

from .conftest import FIXTURES
from .served import KEYS, Served, served
from .test_api import speak_with
from .test_assistant import ScriptedLLM

ASKED: ChatCompletionMessageParam = {"role": "user", "content": "Quante ore tiene il forno?"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openai")
    memory = Path(shutil.copytree(FIXTURES / "january", folder / "january"))
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with served(
        folder / "home", memory, CERVELLA_EMBEDDER__NAME="use", CERVELLA_API__KEYS=keys,
        CERVELLA_API__CHAT_PER_MINUTE="1000",
    ) as process:  # fmt: skip
        yield process


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEYS["rafa"], max_retries=0) as client:
        yield client


def test_an_answer_carries_its_sources(client: OpenAI) -> None:
    said = client.chat.completions.create(model="cervella", messages=[ASKED])
    choice = said.choices[0]
    assert choice.message.content
    assert "sei ore" in choice.message.content
    assert (choice.message.role, choice.finish_reason, said.object) == (
        "assistant",
        "stop",
        "chat.completion",
    )
    assert said.usage
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert said.model_extra
    assert said.model_extra["mode"] == "memory_only"
    assert said.model_extra["sources"][0]["path"] == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"


def test_a_stream_gives_the_same_words_and_its_usage_last(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="cervella", messages=[ASKED])
    chunks = list(
        client.chat.completions.create(
            model="cervella", messages=[ASKED], stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage
    assert not chunks[-1].choices
    assert chunks[-2].model_extra
    assert chunks[-2].model_extra["sources"] == (whole.model_extra or {})["sources"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_without_being_asked_a_stream_tells_no_usage(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="cervella", messages=[ASKED], stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_sources_stand_under_the_answer_on_request(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="cervella", messages=[ASKED], extra_body={"footer": True})
    text = whole.choices[0].message.content or ""
    line = "- [1] memoria/decisioni/20260110_SCELTA_DEL_FORNO.md, righe"
    assert text.rpartition("\n\nFonti:\n")[2].startswith(line)
    chunks = client.chat.completions.create(
        model="cervella", messages=[ASKED], stream=True, extra_body={"footer": True}
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text


def test_what_is_not_known_is_ignored(client: OpenAI) -> None:
    said = client.chat.completions.create(
        model="cervella",
        messages=[{"role": "system", "content": "Sei un pirata."}, ASKED],
        temperature=1.5,
        max_tokens=3,
        n=2,
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
        extra_body={"min_p": 0.1, "keep_alive": "5m"},
    )
    assert "sei ore" in (said.choices[0].message.content or "")


def test_earlier_messages_are_understood(client: OpenAI) -> None:
    said = client.chat.completions.create(
        model="cervella",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Il forno a legna?"}]},
            {"role": "assistant", "content": "Lo abbiamo scelto [1]."},
            {"role": "user", "content": "E quante ore tiene?"},
        ],
    )
    assert "sei ore" in (said.choices[0].message.content or "")


def test_nothing_of_it_is_kept(client: OpenAI, server: Served) -> None:
    client.chat.completions.create(model="cervella", messages=[ASKED])
    assert client.get("/conversations", cast_to=object) == {"conversations": []}


def test_models_are_personas(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["cervella"]
    assert client.models.retrieve("cervella").owned_by == "cervella"


def test_errors_are_those_the_client_knows(client: OpenAI, server: Served) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4o", messages=[ASKED])
    assert (unknown.value.code, unknown.value.type) == ("model_not_found", "invalid_request_error")
    assert "cervella" in unknown.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")
    with pytest.raises(openai.NotFoundError, match="Not Found"):
        client.responses.create(model="cervella", input="x")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="cervella", messages=[])
    assert (wrong.value.code, wrong.value.param) == ("invalid_request", "messages")
    with pytest.raises(openai.BadRequestError, match="limit is 4000"):
        client.chat.completions.create(model="cervella", messages=[{"role": "user", "content": "x" * 4001}])
    picture: ChatCompletionMessageParam = {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "data:"}}],
    }
    with pytest.raises(openai.BadRequestError, match="only text"):
        client.chat.completions.create(model="cervella", messages=[picture])
    with pytest.raises(openai.AuthenticationError) as stranger:
        client.with_options(api_key="another").models.list()
    assert (stranger.value.code, stranger.value.type) == ("key_refused", "authentication_error")


def test_vectors_come_as_numbers_and_as_base64(client: OpenAI) -> None:
    texts = ["il forno a legna", "la farina di farro"]
    packed = client.embeddings.create(model="text-embedding-3-small", input=texts)
    listed = client.embeddings.create(model="any", input=texts, encoding_format="float")
    assert np.allclose(
        [one.embedding for one in packed.data], [one.embedding for one in listed.data], atol=1e-6
    )
    assert [one.index for one in listed.data] == [0, 1]
    assert np.isclose(np.linalg.norm(listed.data[0].embedding), 1, atol=1e-4)
    assert packed.usage.prompt_tokens > 0
    assert packed.model != "text-embedding-3-small"
    query = client.embeddings.create(model="any", input=texts[0], extra_body={"input_type": "query"})
    assert len(query.data[0].embedding) == len(listed.data[0].embedding)


@pytest.mark.parametrize("given", ["", [], ["x"] * 257, [1, 2, 3]])
def test_what_cannot_be_embedded_is_said(client: OpenAI, given: str | list[str]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="any", input=given)
    with pytest.raises(openai.BadRequestError, match="makes 512"):
        client.embeddings.create(model="any", input="x", dimensions=7)


def test_llama_index_speaks_to_her_as_to_openai(server: Served) -> None:
    llm = OpenAILike(
        model="cervella",
        api_base=f"{server.url}/v1",
        api_key=KEYS["rafa"],
        is_chat_model=True,
        max_retries=0,
    )
    asked = [ChatMessage(role="user", content="Quante ore tiene il forno?")]
    whole = llm.chat(asked).message.content or ""
    assert "sei ore" in whole
    assert "".join(piece.delta or "" for piece in llm.stream_chat(asked)) == whole
    assert llm.complete("Quante ore tiene il forno?").text == whole


@pytest.fixture
def lexical(january: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    with TestClient(bootstrap.make_app(settings), base_url="http://127.0.0.1") as client:
        yield client


def test_words_alone_have_no_vectors(lexical: TestClient) -> None:
    answer = lexical.post("/v1/embeddings", json={"input": "x", "model": "any"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "embedder_absent"
    assert "CERVELLA_EMBEDDER__NAME" in answer.json()["error"]["message"]


def test_a_stream_that_breaks_off_is_an_error_and_never_done(lexical: TestClient) -> None:
    speak_with(lexical, ScriptedLLM("Sei ", error=VoiceBrokenError(voice="v", place="p", reason="gone")))
    body = {"model": "cervella", "messages": [ASKED], "stream": True}
    text = lexical.post("/v1/chat/completions", json=body).text
    assert '"code": "voice_broken"' in text.strip().rpartition("\n\n")[2]
    assert "[DONE]" not in text


def test_half_a_surrogate_pair_is_refused(lexical: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for path, body in (
        (
            "chat/completions",
            b'{"model": "cervella", "messages": [{"role": "user", "content": "\\ud800"}]}',
        ),
        ("chat/completions", b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}'),
        ("embeddings", b'{"input": "\\ud800"}'),
    ):
        answer = lexical.post(f"/v1/{path}", content=body, headers=headers)
        assert answer.status_code in (400, 404)


def test_the_users_earlier_clients_find_what_they_know(lexical: TestClient) -> None:
    found = lexical.post("/api/rag/query", json={"query": "Quante ore tiene il forno?", "top_k": 1}).json()
    assert set(found) == {"answer", "sources", "num_chunks"}
    assert (found["num_chunks"], len(found["sources"])) == (1, 1)
    assert set(found["sources"][0]) == {"text", "score", "metadata"}
    assert len(found["sources"][0]["text"]) <= 200
    assert "sei ore" in found["answer"]
    strict = lexical.post("/api/rag/query", json={"query": "Quante ore tiene il forno?", "min_score": 1e9})
    assert strict.json()["num_chunks"] == 0
    said = lexical.post("/api/ai/chat", json={"message": "Quante ore tiene il forno?"}).json()
    assert "sei ore" in said["response"]
    assert lexical.get("/api/ai/health").json() == {"status": "healthy", "model": "memory_only"}
    assert lexical.get("/api/ai/models").json() == {"models": ["memory_only"]}
    assert lexical.get("/v1/conversations").json() == {"conversations": []}
