"""The scripts of `deploy/`, run: a real server is told from a wrong one, a release that fails goes back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from cervella_rag.settings import Settings

from .served import KEYS, free_port, served

DEPLOY = Path(__file__).parents[1] / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sh"))

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a person would; nothing of the test's own settings reaches it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CERVELLA_")}
    return subprocess.run(
        [DEPLOY / script, *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_shellcheck_finds_nothing() -> None:
    checker = Path(sys.executable).parent / "shellcheck"
    found = subprocess.run(
        [checker, "-x", *SCRIPTS], cwd=DEPLOY.parent, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "cervella.service").read_text()
    unit = tmp_path / "cervella.service"
    unit.write_text(text.replace("/opt/cervella/current/bin/cervella", "/bin/true"))
    found = subprocess.run(
        ["systemd-analyze", "verify", unit],  # noqa: S607 - where the system has it
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in found.stderr.splitlines() if "cervella.service" in line]
    assert (found.returncode, told) == (0, [])


def test_the_unit_keeps_her_data_where_it_may_write() -> None:
    unit = (DEPLOY / "cervella.service").read_text()
    for line in (
        "Environment=CERVELLA_HOME=/var/lib/cervella",
        "StateDirectory=cervella",
        "WorkingDirectory=/var/lib/cervella",
        "Restart=on-failure",
        "ProtectSystem=strict",
    ):
        assert f"\n{line}\n" in unit


def test_the_example_names_settings_that_exist() -> None:
    text = (DEPLOY / "cervella.env.example").read_text()
    for name in re.findall(r"^CERVELLA_(\w+)=", text, re.MULTILINE):
        group, _, setting = name.lower().partition("__")
        if not setting:
            assert name == "LANGUAGE"
            continue
        assert setting in type(Settings.model_fields[group].default).model_fields


def test_smoke_knows_her_by_what_she_says(january: Path, tmp_path: Path) -> None:
    home = tmp_path / "served"
    home.mkdir()
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with served(home, january, CERVELLA_API__KEYS=keys) as server:
        done = run("smoke.sh", server.url, SMOKE_KEY=KEYS["rafa"])
        assert done.returncode == 0, done.stderr
        assert "smoke: memory_only, cervella/" in done.stderr
        headers = {"x-api-key": KEYS["rafa"]}
        kept = httpx2.get(f"{server.url}/v1/conversations", headers=headers).json()
        assert not kept["conversations"]  # it leaves nothing behind
        shut_out = run("smoke.sh", server.url, SMOKE_KEY="another-key-of-16-and-more")
        assert shut_out.returncode == 1
        assert "set SMOKE_KEY" in shut_out.stderr
        other = run("smoke.sh", server.url, SMOKE_KEY=KEYS["rafa"], SMOKE_NAME="Marcella")
        assert other.returncode == 1
        assert "does not say her name" in other.stderr


@contextmanager
def wrong_server(answer: object, ready: int = 200) -> Iterator[str]:
    """Serve something that is ready and is not she."""

    class Wrong(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(ready, {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._say(200, answer)

        def _say(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        {"answer": "Sono un modello linguistico.", "provenance": {"persona": "x/1"}, "mode": "ollama"},
        {"answer": "Sono Cervella."},
        {"choices": [{"message": {"content": "Sono Cervella."}}]},
        [],
    ],
    ids=["another name", "no persona", "OpenAI's shape", "no object"],
)
def test_smoke_is_not_taken_in(answer: object) -> None:
    with wrong_server(answer) as url:
        done = run("smoke.sh", url)
    assert done.returncode == 1
    assert "somebody else" in done.stderr


def test_smoke_waits_no_longer_than_it_may() -> None:
    started = time.monotonic()
    with wrong_server({}, ready=503) as url:
        assert "not ready" in run("smoke.sh", "--ready", url, SMOKE_WAIT_SECONDS="1").stderr
    assert run("smoke.sh", f"http://127.0.0.1:{free_port()}", SMOKE_WAIT_SECONDS="1").returncode == 1
    assert time.monotonic() - started < 30


PROGRAM = """
import http.server, json, os, pathlib, sys

SAYS = {says!r}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say({{"says": SAYS}})
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.say({{"answer": SAYS, "mode": "memory_only", "provenance": {{"persona": "cervella/1"}}}})
    def say(self, body):
        told = self.headers["x-api-key"] == os.environ["CERVELLA_API__KEYS"].partition(":")[2]
        data = json.dumps(body).encode()
        self.send_response(200 if told else 401)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass

def main():
    match sys.argv[1:]:
        case ["serve"] if SAYS == "crash":
            sys.exit(1)
        case ["serve"]:
            address = "127.0.0.1", int(os.environ["CERVELLA_API__PORT"])
            http.server.ThreadingHTTPServer(address, Handler).serve_forever()
        case ["backup", file]:
            pathlib.Path(file).write_text(pathlib.Path("data").read_text())
        case ["restore", file]:
            pathlib.Path("data").write_text(pathlib.Path(file).read_text())
        case ["index", "--rebuild"]:
            pathlib.Path("data").write_text(SAYS)
"""

SYSTEMCTL = """#!/bin/sh
# As far as the scripts use it: one unit, whose program it starts and stops.
echo "$*" >>"$DEPLOY_ROOT/systemctl.log"
if [ -e "$DEPLOY_ROOT/pid" ]; then
	pid=$(cat "$DEPLOY_ROOT/pid")
	kill "$pid" 2>/dev/null
	while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
	rm "$DEPLOY_ROOT/pid"
fi
[ "$1" = restart ] || exit 0
cd "$CERVELLA_HOME"
setsid "$DEPLOY_ROOT/current/bin/cervella" serve 9>&- >>"$DEPLOY_ROOT/log" 2>&1 &
echo $! >"$DEPLOY_ROOT/pid"
"""


@dataclass
class Machine:
    """A machine to deploy on: folders of its own, and a service manager of its own."""

    folder: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        for name in ("root", "home", "bin"):
            (self.folder / name).mkdir()
        (self.folder / "home" / "data").write_text("at first")
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        key = 'a"key-of-16-and-more'
        (self.folder / "env").write_text(
            f"# settings\nCERVELLA_API__PORT='{self.port}'\nCERVELLA_API__KEYS=rafa:{key}\n"
            f"CERVELLA_HOME={self.folder / 'home'}\nPATH=/nowhere\n"
            f"CERVELLA_PERSONA__PARTNER=$(touch {self.folder / 'run'})\n"
        )
        self.headers = {"x-api-key": key}

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script here."""
        return run(
            script,
            *arguments,
            PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}",
            DEPLOY_ROOT=str(self.root),
            DEPLOY_ENV_FILE=str(self.folder / "env"),
            DEPLOY_USER="nobody-of-this-name",
            DEPLOY_PYTHON=sys.executable,
            SMOKE_WAIT_SECONDS="20",
            PIP_NO_INDEX="1",
        )

    @property
    def root(self) -> Path:
        """Where releases are."""
        return self.folder / "root"

    @property
    def data(self) -> str:
        """What the service keeps."""
        return (self.folder / "home" / "data").read_text()

    @property
    def says(self) -> str:
        """What the release that is served says of itself."""
        answer = httpx2.get(f"http://127.0.0.1:{self.port}/health/ready", headers=self.headers)
        return str(answer.json()["says"])

    def release(self, version: str, says: str) -> str:
        """Build a release that answers so; return its wheel."""
        wheel = self.folder / f"cervella_rag-{version}-py3-none-any.whl"
        about = f"cervella_rag-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as files:
            files.writestr("release.py", PROGRAM.format(says=says))
            files.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: cervella-rag\nVersion: {version}\n"
            )
            files.writestr(
                f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            files.writestr(f"{about}/entry_points.txt", "[console_scripts]\ncervella = release:main\n")
            files.writestr(f"{about}/RECORD", "")
        return str(wheel)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    subprocess.run(
        [tmp_path / "bin" / "systemctl", "stop"],
        env={**os.environ, "DEPLOY_ROOT": str(machine.root)},
        check=True,
    )


@pytest.mark.timeout(400)
def test_releases_come_and_go(machine: Machine) -> None:
    first = machine.run("deploy.sh", machine.release("1.0", "Sono Cervella, la prima."))
    assert first.returncode == 0, first.stderr
    assert machine.says == "Sono Cervella, la prima."
    assert machine.run("rollback.sh").returncode == 1  # there is nothing to go back to
    assert not (machine.folder / "run").exists()  # the settings are data

    second = machine.run("deploy.sh", machine.release("2.0", "Sono Cervella, la seconda."))
    assert second.returncode == 0, second.stderr
    assert machine.says == "Sono Cervella, la seconda."
    assert len(list((machine.root / "backups").glob("*.tar"))) == 1

    for version, says in (("3.0", "crash"), ("4.0", "Sono un modello linguistico.")):
        failed = machine.run("deploy.sh", machine.release(version, says))
        assert failed.returncode == 1
        assert "going back" in failed.stderr
        assert machine.says == "Sono Cervella, la seconda."

    started = time.monotonic()
    back = machine.run("rollback.sh")
    assert back.returncode == 0, back.stderr
    assert time.monotonic() - started < 30
    assert machine.says == "Sono Cervella, la prima."
    assert machine.run("rollback.sh").returncode == 0
    assert machine.says == "Sono Cervella, la seconda."


@pytest.mark.timeout(400)
def test_a_release_that_spoils_the_index_gives_it_back(machine: Machine) -> None:
    assert machine.run("deploy.sh", machine.release("1.0", "Sono Cervella.")).returncode == 0
    failed = machine.run("deploy.sh", "--index", machine.release("2.0", "Sono un altro."))
    assert failed.returncode == 1
    assert (machine.says, machine.data) == ("Sono Cervella.", "at first")
    done = machine.run("deploy.sh", "--index", machine.release("3.0", "Sono Cervella, nuova."))
    assert done.returncode == 0, done.stderr
    assert machine.data == "Sono Cervella, nuova."
    assert machine.run("rollback.sh", "--data").returncode == 0
    assert (machine.says, machine.data) == ("Sono Cervella.", "at first")


@pytest.mark.timeout(400)
def test_what_cannot_be_installed_changes_nothing(machine: Machine) -> None:
    assert machine.run("deploy.sh", machine.release("1.0", "Sono Cervella.")).returncode == 0
    wheel = Path(machine.release("2.0", "mai"))
    wheel.write_bytes(b"no wheel")
    assert machine.run("deploy.sh", str(wheel)).returncode != 0
    assert machine.says == "Sono Cervella."
    assert len(list((machine.root / "releases").iterdir())) == 1
    lock = subprocess.Popen(["flock", machine.root / ".lock", "cat"], stdin=subprocess.PIPE)  # noqa: S607
    try:
        while not machine.run("rollback.sh").stderr.startswith("Another deploy"):
            assert lock.poll() is None
    finally:
        lock.communicate()
