"""The program served as users serve it: a process of its own on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

KEYS = {"rafa": "0123456789abcdef-rafa", "agente": "0123456789abcdef-agente"}


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Attributes:
        log: File that holds what it wrote to stderr and stdout.
    """

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(home: Path, memory: Path, **settings: str) -> Iterator[Served]:
    """Index `memory` and serve it, words alone and without a model unless `settings` say otherwise."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CERVELLA_")}
    environment |= {
        "CERVELLA_HOME": str(home),
        "CERVELLA_LANGUAGE": "en",
        "CERVELLA_EMBEDDER__NAME": "none",
        "CERVELLA_LLM__VOICE": "memory_only",
        "CERVELLA_LLM__OLLAMA_URL": "http://127.0.0.1:1",
        **settings,
    }
    program = [sys.executable, "-m", "cervella_rag"]
    subprocess.run(
        [*program, "index", memory], env=environment, check=True, capture_output=True, cwd=memory
    )
    port, log = free_port(), home / "served.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*program, "serve", "--port", str(port)],
            env=environment,
            cwd=memory,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_alive(url, process, log)
            yield Served(url, port, process, log)
        finally:
            process.terminate()


def wait_until_alive(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers; fail with what it wrote where it ended instead."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            httpx2.get(f"{url}/health")
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not answer")
