"""Who may ask: with keys the door may stand open to others, and only those who have one come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cervella_rag import bootstrap
from cervella_rag.errors import HostRefusedError, InvalidSettingError

KEY, OTHER = "0123456789abcdef-rafa", "0123456789abcdef-agente"


@pytest.fixture
def client(january: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
    monkeypatch.setenv("CERVELLA_API__KEYS", f"rafa:{KEY},agente:{OTHER}")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    return TestClient(bootstrap.make_app(settings), base_url="http://127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"authorization": f"Bearer {OTHER}"},
        {"authorization": f"bearer  {KEY}"},
        {"authorization": KEY},
        {"authorization": f"Bearer {KEY}", "x-api-key": KEY},
    ],
)
def test_a_key_opens_in_any_header(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/v1/stats", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": KEY[:-1]},
        {"authorization": f"Basic {KEY}"},
        {"authorization": f"Bearer {OTHER}", "x-api-key": KEY},
        {"x-api-key": "é" * 20},
    ],
)
def test_no_key_no_entry(client: TestClient, headers: dict[str, str]) -> None:
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    answer = client.get("/v1/stats", headers=raw)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "key_refused"


def test_every_door_but_the_first_asks_for_a_key(client: TestClient) -> None:
    doors = client.get("/openapi.json").json()["paths"]
    for path, methods in doors.items():
        for method in methods:
            asked = client.request(method, path.replace("{conversation_id}", "x"))
            assert asked.status_code == (200 if path == "/health" else 401), path


def test_the_page_is_there_to_ask_for_the_key(client: TestClient) -> None:
    for path in ("/", "/page/app.js", "/page/style.css", "/docs", "/health"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["//v1/stats", "/page/../v1/stats", "/V1/stats", "/health/../v1/stats"])
def test_no_way_around(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in {401, 404}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (f"rafa:{KEY}", ["rafa"]),
        (f" rafa : {KEY} , agente:{OTHER},", ["rafa", "agente"]),
        (f'{{"rafa": "{KEY}"}}', ["rafa"]),
    ],
)
def test_keys_are_named(monkeypatch: pytest.MonkeyPatch, given: str, names: list[str]) -> None:
    monkeypatch.setenv("CERVELLA_API__KEYS", given)
    assert list(bootstrap.load_settings().api.keys) == names
    assert KEY not in repr(bootstrap.load_settings())


def test_a_key_of_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_API__KEYS__RAFA", KEY)
    assert list(bootstrap.load_settings().api.keys) == ["rafa"]


@pytest.mark.parametrize(
    "given", ["rafa:breve", "rafasenzachiavema-lunga", '{"rafa": ', f":{KEY}", "rafa:chiave-perché-lunga"]
)
def test_a_weak_or_broken_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CERVELLA_API__KEYS", given)
    with pytest.raises(InvalidSettingError, match="CERVELLA_API__KEYS") as raised:
        bootstrap.load_settings()
    assert given not in str(raised.value)


@pytest.mark.parametrize("name", ["CERVELLA_QDRANT__API_KEY", "CERVELLA_API__TOKEN"])
def test_a_secret_under_a_wrong_name_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "molto-segreto")
    with pytest.raises(InvalidSettingError, match=name) as raised:
        bootstrap.load_settings()
    assert "molto-segreto" not in str(raised.value)


def test_without_keys_the_door_stays_on_this_machine() -> None:
    with pytest.raises(HostRefusedError, match="CERVELLA_API__KEYS"):
        bootstrap.serve(bootstrap.load_settings(), host="192.0.2.1", port=0, announce=print)
