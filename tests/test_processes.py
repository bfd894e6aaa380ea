"""Several processes on one index: a server beside the command line, and a writer that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from .test_cli import QUICK, cervella


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test and end it with the test."""
    command = [sys.executable, "-m", "cervella_rag", *arguments]
    environment = {**os.environ, **QUICK, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def server(january: Path) -> Iterator[httpx2.Client]:
    """A served process over the January fixture."""
    assert cervella("index", january).returncode == 0
    port = free_port()
    with (
        started("serve", "--port", str(port)) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        wait_until_ready(client, process)
        yield client


def wait_until_ready(client: httpx2.Client, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout and process.stdout.read()
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not become ready")


def paths(client: httpx2.Client, question: str) -> list[str]:
    return [hit["path"] for hit in client.post("/v1/search", json={"question": question}).json()["hits"]]


def test_commands_work_beside_a_server_and_it_sees_the_new_index(
    server: httpx2.Client, january: Path
) -> None:
    assert "nuovo.md" not in paths(server, "basilico")
    (january / "nuovo.md").write_text("# Nuovo\n\nIl basilico arriva a maggio.\n")
    assert "added 1," in cervella("index").stdout
    assert paths(server, "basilico") == ["nuovo.md"]
    assert "nuovo.md" in cervella("search", "basilico").stdout
    assert "nuovo.md" in cervella("ask", "Quando arriva il basilico?").stdout


def test_streams_sources_first_and_done_last(server: httpx2.Client) -> None:
    request = {"message": "Quante ore tiene il forno?", "stream": True}
    with server.stream("POST", "/v1/chat", json=request) as response:
        names = [line.removeprefix("event: ") for line in response.iter_lines() if line.startswith("event")]
    assert names[:2] == ["status", "sources"]
    assert set(names[2:-1]) == {"status", "token"}
    assert names[-1] == "done"


def test_a_taken_port_is_a_sentence(server: httpx2.Client) -> None:
    port = str(server.base_url.port)
    result = cervella("serve", "--port", port)
    assert result.returncode == 2
    assert f"Port {port} on 127.0.0.1 cannot be used: Address already in use" in result.stderr


def test_the_server_stops_when_told(january: Path) -> None:
    cervella("index", january)
    with started("serve", "--port", str(free_port())) as process:
        assert process.stdout is not None
        assert "Cervella is on http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)


def test_a_writer_that_is_killed_loses_nothing(january: Path) -> None:
    """Kill `index` at different moments; the index is the old one or the new one, never between."""
    cervella("index", january)
    for attempt in range(6):
        for number in range(40):
            (january / f"nota_{attempt}_{number}.md").write_text(f"# Nota\n\nTesto {attempt} {number}.\n")
        with started("index") as writer:
            time.sleep(0.4 + attempt * 0.25)
            writer.kill()
        stats = json.loads(cervella("stats", "--json").stdout)
        assert (stats["documents"] - 8) % 40 == 0
    assert cervella("index").returncode == 0
    assert json.loads(cervella("stats", "--json").stdout)["documents"] == 8 + 6 * 40
    assert "unchanged 248" in cervella("index").stdout
