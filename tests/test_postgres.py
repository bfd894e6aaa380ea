"""The one setting that moves conversations to a server, at every door; and the server gone under them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from cervella_rag import bootstrap
from cervella_rag.bootstrap.conversations import make_database
from cervella_rag.chat.conversations import SQLConversationStore
from cervella_rag.errors import ExtraMissingError, InvalidSettingError
from cervella_rag.settings import Settings

from .postgres import Postgres, away
from .test_cli import cervella
from .test_conversations import turn

URL = "CERVELLA_CONVERSATIONS__URL"
ASK = {"message": "Quante ore tiene il forno?"}


@pytest.fixture
def address(postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh database, configured."""
    with postgres_server.database() as secret:
        monkeypatch.setenv(URL, secret.get_secret_value())
        yield secret.get_secret_value()


@pytest.fixture
def settings(address: str, january: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of an installation whose memory is indexed, and which quotes it."""
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(january))
    loaded = bootstrap.load_settings()
    bootstrap.make_indexer(loaded).run(bootstrap.find_roots(loaded))
    return loaded


@asynccontextmanager
async def door(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    app = bootstrap.make_app(settings)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        try:
            yield client
        finally:
            await app.state.assistant.aclose()


async def ask(client: httpx2.AsyncClient, conversation: str | None = None) -> Any:
    answer = await client.post("/v1/chat", json={**ASK, "conversation_id": conversation})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (URL, "mysql://cervella:s3greto@127.0.0.1/c"),
        (URL, "postgresql://cervella:s3greto@127.0.0.1"),
        (URL, "postgresql://cervella:s3greto@127.0.0.1/"),
        (URL, "postgresql://cervella:s3greto@/c"),
        (URL, "postgresql://cervella:s3greto/s3greto@127.0.0.1/c"),
        (URL, "postgresql://cervella:s3greto@127.0.0.1:s3greto/c"),
        (URL, "cervella:s3greto@127.0.0.1/c"),
        (URL, "postgresql://cervella:s3greto@127.0.0.1/c?password=s3greto"),
        (f"{URL}L", "postgresql://cervella:s3greto@127.0.0.1/c"),
    ],
)
def test_an_address_that_cannot_be_one_is_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: str
) -> None:
    monkeypatch.setenv(name, wrong)
    with pytest.raises(InvalidSettingError, match=name) as raised:
        make_database(bootstrap.load_settings())
    assert "s3greto" not in str(raised.value)


def test_an_address_is_not_shown_with_the_settings(address: str) -> None:
    loaded = bootstrap.load_settings()
    assert loaded.conversations.url.get_secret_value() == address
    assert "@127.0.0.1" not in repr(loaded) + loaded.model_dump_json()


def test_a_password_may_hold_any_sign(
    postgres_server: Postgres, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    password, name = "p@ss/w:rd%20'#?", address.rpartition("/")[2]
    escaped = password.replace("'", "''")
    asyncio.run(postgres_server.execute(f"CREATE USER odd SUPERUSER PASSWORD '{escaped}'"))
    try:
        port = postgres_server.port
        monkeypatch.setenv(URL, f"postgres://odd:{quote(password, safe='')}@127.0.0.1:{port}/{name}")
        shown = bootstrap.describe_conversations(bootstrap.load_settings())
        assert shown == f"postgresql://127.0.0.1:{port}/{name}"
    finally:
        asyncio.run(postgres_server.execute("DROP USER odd"))


def test_without_the_driver_it_is_told_which_extra_brings_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ExtraMissingError, match="postgres"):
        make_database(bootstrap.load_settings())


def test_every_command_keeps_and_finds_conversations_there(settings: Settings, tmp_path: Path) -> None:
    said = cervella("ask", "Quante ore tiene il forno?", "--json")
    conversation = json.loads(said.stdout)["conversation_id"]
    again = cervella("ask", "E quanto costa?", "--conversation", conversation, "--json")
    assert json.loads(again.stdout)["conversation_id"] == conversation
    costs = json.loads(cervella("stats", "--cost", "--json").stdout)
    assert costs["turns"] == 2
    copied = cervella("backup", tmp_path / "copia.tar.gz")
    assert "and the conversations" in copied.stdout + copied.stderr
    restored = cervella("restore", tmp_path / "copia.tar.gz")
    checked = {check["check"]: check for check in json.loads(cervella("doctor", "--json").stdout)}
    assert checked["conversations"]["ok"], checked
    assert not settings.home.joinpath("conversations.sqlite").exists()
    for ran in (said, again, copied, restored):
        assert ran.returncode == 0, ran.stderr
        assert "Traceback" not in ran.stderr
        assert "ignored" not in ran.stderr


def test_a_doctor_names_the_server_that_is_down(settings: Settings, postgres_server: Postgres) -> None:
    async def examined() -> list[dict[str, Any]]:
        async with away(postgres_server):
            result = await asyncio.to_thread(cervella, "doctor", "--json")
            assert result.returncode == 1
            checks: list[dict[str, Any]] = json.loads(result.stdout)
            return checks

    (told,) = [check for check in asyncio.run(examined()) if not check["ok"]]
    assert told["check"] == "conversations"
    assert f"127.0.0.1:{postgres_server.port}" in told["detail"]
    assert postgres_server.password not in told["detail"]


def test_a_server_killed_and_restarted_under_a_conversation(
    settings: Settings, postgres_server: Postgres
) -> None:
    async def talk() -> None:
        async with door(settings) as client:
            conversation = (await ask(client))["conversation_id"]
            async with away(postgres_server):
                said, new = await ask(client, conversation), await ask(client)
                ready = await client.get("/health/ready")
                refused = await client.get(f"/v1/conversations/{conversation}")
            assert "sei ore" in said["answer"]
            assert (said["degraded"], new["degraded"]) == (["conversations"], ["conversations"])
            assert (said["conversation_id"], new["conversation_id"]) == (conversation, None)
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert f":{postgres_server.port}" in ready.json()["parts"]["conversations"]["detail"]
            assert (refused.status_code, refused.json()["code"]) == (503, "conversation_store")
            assert (await client.get("/health/ready")).json()["status"] == "ready"
            assert (await ask(client, conversation))["degraded"] == []
            kept = (await client.get(f"/v1/conversations/{conversation}")).json()["turns"]
            assert len(kept) == 2

    asyncio.run(talk())


def test_many_at_once_take_few_connections(settings: Settings, postgres_server: Postgres) -> None:
    async def talk() -> int:
        store = SQLConversationStore(make_database(settings, stays=True))
        turns = (replace(turn(1), turn_id=str(number)) for number in range(200))
        await asyncio.gather(*(store.begin(one) for one in turns))
        used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cervella'"
        connections: int = await postgres_server.execute(used)
        await store.aclose()
        return connections

    assert asyncio.run(talk()) <= 8
