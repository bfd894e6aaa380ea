"""None can starve or read another: requests a minute, turns between keys, conversations of a key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cervella_rag import bootstrap
from cervella_rag.api.generation_queue import GenerationQueue, QueueBounds, Ticket
from cervella_rag.api.keys import Keys
from cervella_rag.api.limits import RequestLimits
from cervella_rag.errors import InvalidSettingError, QueueFullError, RateLimitedError

from .test_api import assert_problem

KEYS = {"rafa": "0123456789abcdef-rafa", "agente": "0123456789abcdef-agente"}
ASK = {"message": "Quante ore tiene il forno?"}
Served = Callable[..., TestClient]


@pytest.fixture
def serve(january: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    clients = []

    def start(**settings: str) -> TestClient:
        given = {
            "EMBEDDER__NAME": "none",
            "LLM__VOICE": "memory_only",
            "API__KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
        }
        for name, value in {**given, **settings}.items():
            monkeypatch.setenv(f"CERVELLA_{name}", value)
        loaded = bootstrap.load_settings()
        bootstrap.make_indexer(loaded).run(bootstrap.find_roots(loaded, [january]))
        client = TestClient(bootstrap.make_app(loaded), base_url="http://127.0.0.1")
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def headers(name: str) -> dict[str, str]:
    return {"x-api-key": KEYS[name]}


def test_a_key_asks_as_often_as_it_may_and_is_told_when_again(serve: Served) -> None:
    client = serve(API__CHAT_PER_MINUTE="2", API__SEARCH_PER_MINUTE="3")
    for _ in range(2):
        assert client.post("/v1/chat", json=ASK, headers=headers("rafa")).status_code == 200
    refused = client.post("/v1/chat", json=ASK, headers=headers("rafa"))
    assert_problem(refused, 429, "rate_limited")
    assert 55 <= int(refused.headers["retry-after"]) <= 61
    wire = {"model": "cervella", "messages": [{"role": "user", "content": "Quante ore?"}]}
    refused = client.post("/v1/chat/completions", json=wire, headers=headers("rafa"))
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert client.post("/v1/chat", json=ASK, headers=headers("agente")).status_code == 200
    found = [client.post("/v1/search", json={"question": "x"}, headers=headers("rafa")) for _ in range(4)]
    assert [one.status_code for one in found] == [200, 200, 200, 429]
    assert client.get("/health").status_code == client.get("/").status_code == 200


def test_a_front_ends_titles_are_not_counted_as_chat(serve: Served) -> None:
    client = serve(API__CHAT_PER_MINUTE="1")
    title = "Generate a concise, 3-5 word title for this conversation."
    wire = {"model": "cervella", "messages": [{"role": "user", "content": title}]}
    answers = [client.post("/v1/chat/completions", json=wire, headers=headers("rafa")) for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 200]


@pytest.mark.parametrize(
    "path", ["/v1/brief", "/v1/memory/files", "/v1/memory/count?pattern=forno", "/v1/stats"]
)
def test_what_is_looked_up_is_counted_as_a_search(serve: Served, path: str) -> None:
    client = serve(API__SEARCH_PER_MINUTE="1")
    answers = [client.get(path, headers=headers("rafa")) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert client.get(path, headers=headers("agente")).status_code == 200


def test_what_is_made_of_a_conversation_belongs_to_its_key(serve: Served) -> None:
    client = serve()
    said = client.post("/v1/chat", json=ASK, headers=headers("rafa")).json()
    wish = {"kind": "lesson", "conversation_id": said["conversation_id"], "title": "Il forno"}
    thought = {"turn_id": said["turn_id"], "kind": "good"}
    for path, body, code in (
        ("/v1/proposals", wish, "conversation_unknown"),
        ("/v1/feedback", thought, "turn_unknown"),
    ):
        assert_problem(client.post(path, json=body, headers=headers("agente")), 404, code)
        assert client.post(path, json=body, headers=headers("rafa")).status_code == 201
    proposal = client.post("/v1/proposals", json=wish, headers=headers("rafa")).json()["proposal_id"]
    refused = client.post(f"/v1/proposals/{proposal}/confirm", headers=headers("agente"))
    assert_problem(refused, 404, "proposal_unknown")
    confirmed = client.post(f"/v1/proposals/{proposal}/confirm", headers=headers("rafa"))
    assert confirmed.status_code == 201


def test_a_voice_that_words_a_proposal_is_counted_as_chat(serve: Served) -> None:
    client = serve(API__CHAT_PER_MINUTE="2")
    said = client.post("/v1/chat", json=ASK, headers=headers("rafa")).json()
    wish = {"kind": "lesson", "conversation_id": said["conversation_id"], "with_voice": True}
    answers = [client.post("/v1/proposals", json=wish, headers=headers("rafa")) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429]


def test_without_keys_nobody_is_counted(serve: Served) -> None:
    client = serve(API__KEYS="{}", API__CHAT_PER_MINUTE="1")
    assert [client.post("/v1/chat", json=ASK).status_code for _ in range(3)] == [200, 200, 200]


def test_the_moment_that_is_told_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the seconds that `Retry-After` names a request passes, and a second earlier none does."""
    now = 1_800_000_000.25

    monkeypatch.setattr(time, "time", lambda: now)

    async def asked() -> None:
        nonlocal now
        limits = RequestLimits(chat=2, search=1)
        await limits.spend("rafa", "chat")
        now += 7
        await limits.spend("rafa", "chat")
        with pytest.raises(RateLimitedError) as refused:
            await limits.spend("rafa", "chat")
        seconds = int(str(refused.value.details["retry_after"]))
        now += seconds - 1.5
        with pytest.raises(RateLimitedError):
            await limits.spend("rafa", "chat")
        now += 1.5
        await limits.spend("rafa", "chat")

    asyncio.run(asked())


def queue(total: int = 1, per_key: int = 1, waiting: int = 100, patience: float = 60) -> GenerationQueue:
    return GenerationQueue(QueueBounds(total, per_key, waiting, patience))


def served_in_order(line: GenerationQueue, tickets: list[Ticket]) -> list[str]:
    order, left = [], list(tickets)
    while left:
        ticket = next(one for one in left if one.turn.is_set())
        order.append(f"{ticket.key}/{ticket.client}")
        line.leave(ticket)
        left.remove(ticket)
    return order


def test_keys_take_turns_and_so_do_their_clients() -> None:
    async def order() -> list[str]:
        line = queue()
        asked = [("a", "1")] * 4 + [("a", "2")] * 2 + [("b", "1")] * 2 + [("", "x")]
        return served_in_order(line, [line.join(*who) for who in asked])

    assert asyncio.run(order()) == ["a/1", "a/1", "b/1", "/x", "a/2", "b/1", "a/1", "a/2", "a/1"]


def test_a_key_has_no_more_places_than_its_own() -> None:
    async def places() -> list[bool]:
        line = queue(total=3, per_key=2)
        return [line.join(key, "1").turn.is_set() for key in "aaabb"]

    assert asyncio.run(places()) == [True, True, False, True, False]


def test_who_leaves_frees_the_place_and_the_line() -> None:
    async def left() -> tuple[int, int]:
        line = queue()
        first, second, third = (line.join("a", "1") for _ in range(3))
        line.leave(second)
        line.leave(first)
        assert third.turn.is_set()
        line.leave(third)
        return line.running, line.waiting

    assert asyncio.run(left()) == (0, 0)


def test_a_line_is_bounded_for_each_key() -> None:
    async def full() -> None:
        line = queue(waiting=2)
        for _ in range(3):
            line.join("a", "1")
        with pytest.raises(QueueFullError) as refused:
            line.join("a", "2")
        assert int(str(refused.value.details["retry_after"])) >= 1
        line.join("b", "1")

    asyncio.run(full())


def test_nobody_waits_for_ever() -> None:
    async def impatient() -> None:
        line = queue(patience=0.01)
        line.join("a", "1")
        ticket = line.join("a", "1")
        with pytest.raises(QueueFullError):
            await line.wait(ticket)
        line.leave(ticket)
        assert line.waiting == 0

    asyncio.run(impatient())


def test_a_conversation_belongs_to_its_key(serve: Served) -> None:
    client = serve()
    mine = client.post("/v1/chat", json=ASK, headers=headers("rafa")).json()["conversation_id"]
    path = f"/v1/conversations/{mine}"
    for answer in (
        client.get(path, headers=headers("agente")),
        client.delete(path, headers=headers("agente")),
        client.post("/v1/chat", json={**ASK, "conversation_id": mine}, headers=headers("agente")),
    ):
        assert_problem(answer, 404, "conversation_unknown")
    assert client.get("/v1/conversations", headers=headers("agente")).json() == {"conversations": []}
    assert len(client.get(path, headers=headers("rafa")).json()["turns"]) == 1
    assert client.delete(path, headers=headers("rafa")).status_code == 204


def test_a_door_left_open_by_mistake_shows_nobody_elses(
    serve: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    client.post("/v1/chat", json=ASK, headers=headers("rafa"))
    monkeypatch.setattr(Keys, "needs_key", lambda *_: False)
    assert_problem(client.get("/v1/conversations"), 401, "key_refused")
    assert_problem(client.post("/v1/chat", json=ASK), 401, "key_refused")


def test_pages_may_do_only_what_is_theirs(serve: Served) -> None:
    shown = serve().get("/").headers
    policy = shown["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert (shown["x-frame-options"], shown["x-content-type-options"]) == ("DENY", "nosniff")
    stored = serve().get("/v1/stats", headers=headers("rafa"))
    assert stored.headers["cache-control"] == "no-store"


def test_a_page_is_asked_for_again_so_that_it_fits_its_scripts_after_an_upgrade(serve: Served) -> None:
    client = serve()
    for place in ("/", "/page/app.js", "/docs"):
        assert client.get(place).headers["cache-control"] == "no-cache", place
    again = client.get(
        "/page/app.js", headers={"if-none-match": client.get("/page/app.js").headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_page_of_another_server_may_not_ask(serve: Served) -> None:
    client = serve(API__KEYS="{}")
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://127.0.0.1", 200)):
        assert client.post("/v1/chat", json=ASK, headers={"origin": origin}).status_code == status


def test_a_page_that_is_named_may_ask(serve: Served) -> None:
    client = serve(API__CORS_ORIGINS='["https://pagina.example"]')
    page = {"origin": "https://pagina.example"}
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    allowed = client.options("/v1/chat", headers={**page, **wanted})
    assert allowed.headers["access-control-allow-origin"] == page["origin"]
    answer = client.post("/v1/chat", json=ASK, headers={**page, **headers("rafa")})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page["origin"])
    stranger = client.options("/v1/chat", headers={**wanted, "origin": "http://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("origin", ["*", "pagina.example", "https://a/b"])
def test_an_origin_is_one_server(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("CERVELLA_API__CORS_ORIGINS", f'["{origin}"]')
    with pytest.raises(InvalidSettingError, match="CORS_ORIGINS"):
        bootstrap.load_settings()
