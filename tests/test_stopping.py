"""A person can stop her at once: the client that leaves and Ctrl-C, with a real model in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .test_cli import cervella
from .test_llama_cpp import STOP_GENERATING_SECONDS, STOP_READING_SECONDS
from .test_processes import free_port, started, wait_until_ready

QUIET_SECONDS = 0.2
QUESTION = "Quante ore tiene la temperatura il forno a legna?"


@pytest.fixture(autouse=True)
def speaks_with_the_small_model(small_model: Path, january: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "llama_cpp")
    monkeypatch.setenv("CERVELLA_LLM__LLAMA_CPP_MODEL", str(small_model))
    monkeypatch.setenv("CERVELLA_LLM__MEMORY_TOKENS", "1500")  # something to read for a while
    cervella("index", january)


def cpu_seconds(process: subprocess.Popen[Any]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_until_quiet(process: subprocess.Popen[Any]) -> float:
    """Return how long the process goes on computing from now."""
    started_at = quiet_since = time.perf_counter()
    before = cpu_seconds(process)
    while time.perf_counter() - quiet_since < QUIET_SECONDS:
        time.sleep(0.02)
        if (now := cpu_seconds(process)) - before >= 0.02:
            before, quiet_since = now, time.perf_counter()
        assert time.perf_counter() - started_at < 30, "it never stops"
    return quiet_since - started_at


@pytest.fixture
def server() -> Iterator[tuple[httpx2.Client, subprocess.Popen[str]]]:
    port = free_port()
    with (
        started("serve", "--port", str(port)) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        wait_until_ready(client, process)
        seconds_until_quiet(process)  # the persona is read at the start
        yield client, process


def leave(client: httpx2.Client, message: str, sign: str, times: int = 1) -> None:
    """Ask, and close the connection when `sign` has come that often."""
    request = {"message": message, "stream": True}
    with client.stream("POST", "/v1/chat", json=request) as response:
        for line in response.iter_lines():
            times -= sign in line
            if not times:
                return
    raise AssertionError(f"{sign!r} never came")


def middle_of_three(measure: Callable[[], float]) -> float:
    """Return the median: a machine that is busy for a moment is no defect."""
    return sorted(measure() for _ in range(3))[1]


Served = tuple[httpx2.Client, subprocess.Popen[str]]


def test_a_client_that_leaves_frees_the_model(server: Served) -> None:
    client, process = server

    def seconds() -> float:
        leave(client, QUESTION, "event: token")
        return seconds_until_quiet(process)

    assert middle_of_three(seconds) < STOP_GENERATING_SECONDS


def test_a_client_that_leaves_while_she_reads_frees_the_model(server: Served) -> None:
    client, process = server
    numbers = iter(range(3))

    def seconds() -> float:
        other = f" Forno {next(numbers)}, farina, lievito. " * 100  # what was read before is not read again
        leave(client, other + QUESTION, '"reading"', times=4)
        return seconds_until_quiet(process)

    assert middle_of_three(seconds) < STOP_READING_SECONDS


def test_a_client_that_leaves_without_a_stream_frees_the_model(server: Served) -> None:
    client, process = server
    numbers = iter(range(3))

    def seconds() -> float:
        request = {"message": f" Forno {next(numbers)}, farina, lievito. " * 100 + QUESTION}
        with pytest.raises(httpx2.ReadTimeout):  # it is read by then, and not yet answered
            client.post("/v1/chat", json=request, timeout=2)
        return seconds_until_quiet(process)

    assert middle_of_three(seconds) < STOP_READING_SECONDS


@pytest.mark.parametrize(
    ("sign", "limit"),
    [(b"\n", STOP_READING_SECONDS), (b" ", STOP_GENERATING_SECONDS)],
    ids=["read", "speak"],
)
def test_ctrl_c_stops_her(sign: bytes, limit: float) -> None:
    """The sources come on stderr before she reads, the words on stdout when she speaks."""
    command = [sys.executable, "-m", "cervella_rag", "ask", QUESTION]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "CERVELLA_EMBEDDER__NAME": "none"}

    def seconds() -> float:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            stream = process.stderr if sign == b"\n" else process.stdout
            assert stream
            while sign not in (read := stream.read(1)):
                assert read, "it ended by itself"
            process.send_signal(signal.SIGINT)
            sent = time.perf_counter()
            assert process.wait(30) == 130
            return time.perf_counter() - sent

    # What remains is the interpreter's own farewell.
    assert middle_of_three(seconds) < limit + 0.5
