"""The Python client against a served process, its documented examples as they stand, every error."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from cervella_rag.client import (
    AnswerUnreadableError,
    APIError,
    AsyncClient,
    Client,
    ClientError,
    Done,
    Filters,
    InvalidRequestError,
    KeyRefusedError,
    Message,
    NotFoundError,
    RateLimitError,
    ServerUnreachableError,
    Sources,
    StreamBrokenError,
    Token,
    UnavailableError,
)

from .test_brief import KNOWLEDGE
from .test_cli import cervella
from .test_processes import free_port, started, wait_until_ready

DOCUMENT = Path(__file__).parents[1] / "docs" / "client.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S)


def serve(folder: Path) -> Iterator[str]:
    assert cervella("index", folder).returncode == 0
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started("serve", "--port", str(port)) as process:
        with httpx2.Client(base_url=url, timeout=30) as waiting:
            wait_until_ready(waiting, process)
        yield url


@pytest.fixture
def url(january: Path) -> Iterator[str]:
    yield from serve(january)


@pytest.fixture
def knowledge_url() -> Iterator[str]:
    yield from serve(KNOWLEDGE)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2


def test_the_documented_examples_run(knowledge_url: str) -> None:
    for example in EXAMPLES:
        code = example.replace("http://127.0.0.1:8000", knowledge_url)
        ran = python("-W", "error", "-c", code)
        assert ran.returncode == 0, ran.stderr
        assert "memoria/decisioni/20260110_NIENTE" in ran.stdout or "20260111_QDRANT" in ran.stdout


def test_everything_once(url: str, january: Path) -> None:
    with Client(url) as client:
        assert client.stats().documents == 8
        brief = client.brief()
        assert (brief.as_of, brief.session) == ("2026-01-11", "150")
        found = client.search("forno a legna", top_k=2, filters=Filters(kind="decision"))
        assert found.enough
        assert found.hits[0].path == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"

        answer = client.chat("Quante ore tiene il forno?")
        assert "sei ore" in answer.answer
        assert answer.citations[0].path == found.hits[0].path
        assert answer.conversation_id
        assert [card.turns for card in client.conversations()] == [1]
        assert client.conversation(answer.conversation_id).turns[0].turn_id == answer.turn_id
        history = [Message(role="user", content="forno"), Message(role="assistant", content="sei ore")]
        assert client.chat("E la pizza?", history=history).conversation_id is None

        assert client.feedback(answer.turn_id, "good").kind == "good"
        proposal = client.propose("lesson", answer.conversation_id, title="Il basilico", session="151")
        assert "**Sessione:** 151" in proposal.text
        written = client.confirm(proposal.proposal_id)
        assert (january / written.path).is_file()
        deadline = time.monotonic() + 30
        while client.index().state == "running" and time.monotonic() < deadline:
            pass
        assert client.index().state == "done"
        assert client.stats().documents == 9
        assert client.start_index()

        client.forget(answer.conversation_id)
        with pytest.raises(NotFoundError, match="conversation_unknown"):
            client.conversation(answer.conversation_id)


def test_streams_and_stops(url: str) -> None:
    with Client(url) as client:
        with client.stream("Quante ore tiene il forno?") as events:
            seen = list(events)
        done = seen[-1]
        assert isinstance(done, Done)
        assert isinstance(next(event for event in seen if not hasattr(event, "stage")), Sources)
        assert done.answer.answer == "".join(event.text for event in seen if isinstance(event, Token))
        with client.stream("Quante ore tiene il forno?") as events:
            next(events)
        assert client.stats().documents == 8  # the connection is whole after a stream that was left
        with pytest.raises(NotFoundError), client.stream("forno", conversation_id="no"):
            raise AssertionError("there is nothing to stream")


def test_the_async_one_does_the_same(url: str) -> None:
    async def run() -> None:
        async with AsyncClient(url, language="it") as client:
            stats, brief = await asyncio.gather(client.stats(), client.brief(max_tokens=400))
            assert stats.documents == 8
            assert brief.text.startswith("# Riepilogo")
            async with client.stream("Quante ore tiene il forno?") as events:
                seen = [event async for event in events]
            done = seen[-1]
            assert isinstance(done, Done)
            assert done.answer.answer == "".join(event.text for event in seen if isinstance(event, Token))
            assert done.answer.conversation_id
            with pytest.raises(NotFoundError, match="In memoria nessun file"):
                await client.brief("altro")
            await client.forget(done.answer.conversation_id)
            assert await client.conversations() == ()

    asyncio.run(run())


def test_both_have_the_same_methods() -> None:
    sync = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert sync == {name for name in vars(AsyncClient) if not name.startswith("_")} - {"aclose"}


def test_it_loads_nothing_of_the_server() -> None:
    code = (
        "import sys, cervella_rag.client; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('fastapi', 'starlette', 'numpy', 'qdrant_client', 'qdrant_edge', 'sqlalchemy', 'jinja2', 'mcp')"
        " or (name.startswith('cervella_rag.') and not name.startswith('cervella_rag.client'))])"
    )
    assert python("-c", code).stdout.strip() == "[]"


def answering(respond: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://cervella.test", transport=httpx.MockTransport(respond))


def problem(status: int, code: str) -> httpx.Response:
    body = {"status": status, "code": code, "detail": "perché no", "request_id": "r-1"}
    return httpx.Response(status, json=body, headers={"retry-after": "7"} if status == 429 else {})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "key_refused", KeyRefusedError),
        (404, "project_unknown", NotFoundError),
        (409, "proposal_spent", InvalidRequestError),
        (413, "content_too_large", InvalidRequestError),
        (422, "invalid_request", InvalidRequestError),
        (429, "too_many_requests", RateLimitError),
        (500, "internal", APIError),
        (503, "index_absent", UnavailableError),
    ],
)
def test_every_refusal_has_its_kind(status: int, code: str, kind: type[APIError]) -> None:
    with answering(lambda _: problem(status, code)) as client, pytest.raises(APIError) as caught:
        client.brief()
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (status, code, "perché no", "r-1")
    assert error.retry_after_seconds == (7.0 if status == 429 else None)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>another server</html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"text": 1}),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200),
    ],
)
def test_another_server_is_an_error_of_ours(response: httpx.Response) -> None:
    with answering(lambda _: response) as client:
        for ask in (client.brief, client.stats, client.conversations, client.start_index):
            with pytest.raises(AnswerUnreadableError):
                ask()


def test_a_refusal_that_is_no_problem_document() -> None:
    with answering(lambda _: httpx.Response(502, text="bad gateway " * 200)) as client:
        with pytest.raises(UnavailableError, match="bad gateway") as caught:
            client.stats()
        assert len(caught.value.detail) == 500


def event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (event("token", {"text": "a"}), StreamBrokenError),
        ("", StreamBrokenError),
        (
            event("token", {"text": "a"}) + event("error", json.loads(problem(503, "x").content)),
            UnavailableError,
        ),
        (event("token", {"words": "a"}), AnswerUnreadableError),
        ("event: error\ndata: []\n\n", AnswerUnreadableError),
        ("event: done\ndata: {\n\n", AnswerUnreadableError),
    ],
)
def test_a_stream_that_goes_wrong(text: str, kind: type[ClientError]) -> None:
    client = answering(lambda _: httpx.Response(200, text=text))
    with client.stream("ciao") as events, pytest.raises(kind):
        list(events)


def test_pings_and_new_events_are_passed_over() -> None:
    text = (
        ": ping\n\n" + event("mood", {}) + event("token", {"text": "a"}) + event("error", {"status": 500})
    )
    with answering(lambda _: httpx.Response(200, text=text)) as client, client.stream("ciao") as events:
        assert next(events) == Token(text="a")
        with pytest.raises(APIError):
            next(events)


def test_nobody_there() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(ServerUnreachableError, match="does not answer"):
            client.stats()
        with pytest.raises(ServerUnreachableError), client.stream("ciao"):
            raise AssertionError("there is nobody")


def test_the_key_goes_with_every_request_and_names_stay_in_their_place() -> None:
    seen: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return problem(404, "conversation_unknown")

    client = Client("http://cervella.test", key="segreta", transport=httpx.MockTransport(respond))
    with pytest.raises(NotFoundError):
        client.conversation("../stats?x=1")
    assert seen[0].headers["authorization"] == "Bearer segreta"
    assert seen[0].url.raw_path == b"/v1/conversations/..%2Fstats%3Fx%3D1"
