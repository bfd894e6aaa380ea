"""The program served as users serve it: a process of its own on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
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

    def wait(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                httpx2.get(f"{self.url}/health")
            except httpx2.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the server did not answer")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(home: Path, memory: Path, **settings: str) -> Iterator[Served]:
    """Index `memory` and serve it, words alone and without a model unless `settings` say otherwise."""
    index(home, memory, settings)
    with started(home, memory, settings) as server:
        server.wait()
        yield server


def index(home: Path, memory: Path, settings: Mapping[str, str]) -> None:
    """Index `memory`."""
    command = [*_PROGRAM, "index", str(memory)]
    subprocess.run(command, env=_environment(home, settings), check=True, capture_output=True, cwd=memory)


@contextmanager
def started(
    home: Path, memory: Path, settings: Mapping[str, str], port: int | None = None
) -> Iterator[Served]:
    """Start to serve what is indexed, and do not wait for it."""
    home.mkdir(parents=True, exist_ok=True)
    port, log = port or free_port(), home / "served.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [*_PROGRAM, "serve", "--port", str(port)],
            env=_environment(home, settings),
            cwd=memory,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield Served(f"http://127.0.0.1:{port}", port, process, log)
        finally:
            process.terminate()


_PROGRAM = [sys.executable, "-m", "cervella_rag"]


def _environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CERVELLA_")}
    return inherited | {
        "CERVELLA_HOME": str(home),
        "CERVELLA_LANGUAGE": "en",
        "CERVELLA_EMBEDDER__NAME": "none",
        "CERVELLA_LLM__VOICE": "memory_only",
        "CERVELLA_LLM__OLLAMA_URL": "http://127.0.0.1:1",
        **settings,
    }
