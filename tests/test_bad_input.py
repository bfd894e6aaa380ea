"""What clients can do wrong or on purpose: refused, bounded, logged, and the others are answered."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from .conftest import FIXTURES
from .served import KEYS, Served, served
from .system import open_files

QUIET_SECONDS = 1.0
LONG = "x" * 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("bad")
    memory = Path(shutil.copytree(FIXTURES / "january", folder / "january"))
    with served(
        folder / "home",
        memory,
        CERVELLA_API__KEYS=",".join(f"{name}:{key}" for name, key in KEYS.items()),
        CERVELLA_API__READ_SECONDS=str(QUIET_SECONDS),
        CERVELLA_API__WRITE_SECONDS=str(QUIET_SECONDS),
        CERVELLA_API__CHAT_PER_MINUTE="100000",
        CERVELLA_API__SEARCH_PER_MINUTE="100000",
        CERVELLA_API__MAX_CONNECTIONS="600",
    ) as process:
        yield process


@pytest.fixture
def door(server: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, headers={"x-api-key": KEYS["rafa"]}, timeout=30) as client:
        yield client


def test_no_request_of_the_documented_shapes_breaks_her(server: Served, door: httpx2.Client) -> None:
    """Every operation of the OpenAPI document, with right and wrong values: no 5xx but that 503."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked: Counter[str] = Counter()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @given(case=one_of(modes))
        @settings(
            max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def check(case: schemathesis.Case[Any]) -> None:
            answer = case.call(headers={"x-api-key": KEYS["rafa"]}, timeout=30)
            asked[case.operation.label] += 1
            assert answer.status_code < 500 or (
                answer.status_code == 503 and "503" in case.operation.definition.raw["responses"]
            ), answer.text

        check()
    assert len(asked) >= 18
    assert asked.total() >= 150
    assert "Traceback" not in server.log.read_text()
    assert door.get("/health").json() == {"status": "ok"}


def connect(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def head(path: str = "/v1/chat", *fields: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"x-api-key: {KEYS['rafa']}", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def received(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: "])
def test_who_says_nothing_whole_is_left(server: Served, sent: bytes) -> None:
    started = time.monotonic()
    with connect(server) as connection:
        connection.sendall(sent)
        assert received(connection) == b""
    assert time.monotonic() - started < 10 * QUIET_SECONDS


def test_after_an_answer_the_clock_runs_again(server: Served) -> None:
    with connect(server) as connection:
        connection.sendall(head("/health", method="GET"))
        answer = b""
        while b'{"status":"ok"}' not in answer:
            answer += connection.recv(65536)
        connection.sendall(b"GET /hea")
        assert received(connection) == b""


def test_half_a_body_is_told_and_left(server: Served) -> None:
    with connect(server) as connection:
        connection.sendall(
            head("/v1/chat", "content-type: application/json", "content-length: 500") + b'{"mess'
        )
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head("/health", f"x-huge: {LONG}", method="GET"), b"4"),
        (head("/" + LONG, method="GET"), b"4"),
        (head("/v1/chat", "content-length: 99999999999"), b"413"),
        (head("/v1/chat", "content-length: -1"), b"400"),
        (head("/v1/chat", "content-length: 5", "content-length: 6"), b"400"),
        (head("/v1/chat", "transfer-encoding: chunked", "content-length: 5"), b"4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (head("/v1/stats", f"authorization: Bearer {KEYS['agente']}", method="GET"), b"401"),
        (head("/v1/stats", f"x-api-key: {KEYS['agente']}", method="GET"), b"401"),
        (head("/v1/stats", "origin: http://evil.example"), b"403"),
    ],
    ids=["header", "path", "length", "negative", "lengths", "smuggled", "tls", "version", "keys", "twice",
         "origin"],
)  # fmt: skip
def test_what_is_no_request_is_refused(server: Served, request_: bytes, status: bytes) -> None:
    with connect(server) as connection:
        with contextlib.suppress(ConnectionError):  # it is refused before it is all sent
            connection.sendall(request_)
        assert received(connection).startswith(b"HTTP/1.1 " + status)


TRICKS = [
    "../stats", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%00", "a%00b", "%ff%fe", ".", "..",
    "%5c..%5c", "' OR 1=1 --", "%27%20OR%201=1", "*", "%25", "\u202e", "{conversation_id}", "x" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_a_path_leads_nowhere_else(door: httpx2.Client, trick: str) -> None:
    for place in ("/v1/conversations/", "/v1/models/", "/page/", "/static-offline-docs/"):
        for method in ("GET", "DELETE"):
            answer = door.request(method, place + trick)
            assert answer.status_code in {200, 307, 400, 404, 405}, (place, method)
            assert answer.headers.get("location", f"{door.base_url}{place}").startswith(str(door.base_url))
            assert "root:" not in answer.text
            if answer.status_code == 200:  # the address was shortened before it was sent
                assert answer.url.path in {"/v1/stats", "/v1/", "/", "/v1/models", "/v1/conversations"}


def test_an_id_of_another_key_is_no_id(door: httpx2.Client) -> None:
    mine = door.post("/v1/chat", json={"message": "Quante ore tiene il forno?"}).json()["conversation_id"]
    stranger = door.get(f"/v1/conversations/{mine}", headers={"x-api-key": KEYS["agente"]})
    nobody = door.get("/v1/conversations/nope", headers={"x-api-key": KEYS["agente"]})
    assert (stranger.status_code, nobody.status_code) == (404, 404)
    assert stranger.json()["detail"] == nobody.json()["detail"].replace("nope", mine)


def test_a_thousand_idle_connections_keep_nobody_out(server: Served, door: httpx2.Client) -> None:
    with open_files(1500), contextlib.ExitStack() as idle:
        for _ in range(1000):
            idle.enter_context(connect(server))
        started = time.monotonic()
        assert door.get("/health").status_code == 200
        assert door.post("/v1/chat", json={"message": "Quante ore tiene il forno?"}).status_code == 200
        assert time.monotonic() - started < 5
    assert "more than 600 connections" in server.log.read_text()


def test_a_reader_that_takes_nothing_holds_no_place(server: Served, door: httpx2.Client) -> None:
    """Requests whose answers are never read, sent until the connection is full: it is ended."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        page = head("/static-offline-docs/swagger-ui-bundle.js", method="GET")  # 1.5 MB each
        with contextlib.suppress(ConnectionError):
            connection.sendall(page * 3)
        deadline = time.monotonic() + 20
        while "took nothing for too long" not in server.log.read_text():
            assert time.monotonic() < deadline
            assert door.get("/health").status_code == 200
    running = [line for line in door.get("/metrics").text.splitlines() if line.startswith("cervella_gen")]
    assert running == ["cervella_generations_running 0.0", "cervella_generations_waiting 0.0"]
