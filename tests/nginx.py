"""The system's nginx with the configuration that is shipped, its addresses moved to the loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .served import free_port
from .system import program

SHIPPED = Path(__file__).parents[1] / "docker" / "nginx.conf"


def configuration(folder: Path, port: int, replicas: dict[str, int]) -> Path:
    """Write the shipped configuration for replicas at these ports, by the names they have in the stack."""
    text = SHIPPED.read_text().replace("/tmp/", f"{folder}/")  # noqa: S108 - what is replaced
    text, count = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", text)
    assert count == 1

    def moved(server: re.Match[str]) -> str:
        return f"server 127.0.0.1:{replicas[server[1]]} "  # `resolve` is for names, and of a newer nginx

    text, count = re.subn(r"server ([a-z0-9-]+):8000 resolve ", moved, text)
    assert count == 2 * len(replicas)
    file = folder / "nginx.conf"
    file.write_text(text)
    return file


def command(file: Path, directives: str = "", *arguments: str) -> list[str]:
    """Return how nginx is run with a configuration and directives beside it."""
    # Started by root, its workers would be somebody who may not look into a test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    name = program("nginx", package="nginx-light")
    return [name, "-e", "stderr", "-c", str(file), "-g", directives + user, *arguments]


@contextmanager
def nginx(folder: Path, replicas: dict[str, int]) -> Iterator[str]:
    """Serve until the end; return the address.

    Args:
        folder: A new one, for its files.
        replicas: Port of each, by its name in the stack.
    """
    folder.mkdir()
    port, log = free_port(), folder / "log"
    file = configuration(folder, port, replicas)
    with (
        log.open("wb") as output,
        subprocess.Popen(command(file, "daemon off;"), stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            _wait(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("nginx did not listen")
