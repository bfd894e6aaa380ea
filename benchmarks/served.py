"""A server in a process of its own, and a client that costs little beside it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .measuring import environment
from .voiced import moment_of

_START_SECONDS = 120


@contextmanager
def running(home: Path, *command: object, **settings: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run `python -m COMMAND...`, "PORT" in it replaced by a free one; yield it when it is ready."""
    port = _free_port()
    filled = [str(port) if part == "PORT" else str(part) for part in command]
    with subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", *filled],
        env=environment(home, **settings),
        cwd=home,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            _wait(port, process)
            yield port, process
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(port, "/health/ready") == 200:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError("the server did not become ready")


def get(port: int, path: str) -> int:
    """Return the status of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@dataclass
class Heard:
    """One stream: seconds on the system's monotonic clock.

    Attributes:
        late: How long after it was due each word came.
        arrivals: When each came.
        done: The finished answer, {} where none came.
    """

    asked: float
    late: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    done: dict[str, Any] = field(default_factory=dict)


Sign = tuple[bytes, int]
"""Part of a line, and how often it must come."""


async def ask(port: int, message: str, *, leave_at: Sign | None = None) -> Heard:
    """Ask for a stream and hear it to its end, or leave where a sign has come."""
    sign, times = leave_at or (b"", -1)
    body = json.dumps({"message": message, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard, event = Heard(time.monotonic()), b""
    head = f"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    try:
        while line := await reader.readline():
            times -= sign in line
            if not times:
                break
            if line.startswith(b"event: "):
                event = line.split()[1]
            elif line.startswith(b"data: ") and event == b"token":
                _hear(heard, json.loads(line[6:])["text"])
            elif line.startswith(b"data: ") and event == b"done":
                heard.done = json.loads(line[6:])
                break
    finally:
        writer.close()
    return heard


def _hear(heard: Heard, text: str) -> None:
    now = time.monotonic()
    for word in text.split():
        heard.arrivals.append(now)
        if word.isascii() and word.isalpha() and word.islower() and moment_of(word) >= heard.asked:
            heard.late.append(now - moment_of(word))  # others are hers, after what the voice said
