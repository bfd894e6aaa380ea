"""A real Postgres for tests: Debian's programs, a folder of its own, a random port of the loopback."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import SecretStr

from .served import free_port
from .system import program

# What a crash would cost is not this server's to save: it holds what a test wrote.
_QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=16MB")


class Postgres:
    """A server that a test may stop and start again, on the same port.

    Attributes:
        password: Of its one user, `cervella`.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._initdb = program("initdb", package="postgresql")
        self._postgres = str(Path(self._initdb).with_name("postgres"))
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _nobody_special()
        if self._user:
            shutil.chown(folder, self._user)
        self._make()

    def address(self, database: str = "postgres") -> SecretStr:
        """Return the address of one of its databases."""
        return SecretStr(f"postgresql://cervella:{self.password}@127.0.0.1:{self.port}/{database}")

    def start(self) -> None:
        """Start it; return when it answers."""
        options = [
            *_QUICK,
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self._folder}",
            f"port={self.port}",
        ]
        arguments = [part for option in options for part in ("-c", option)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._postgres, "-D", str(self._folder / "data"), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._as_user(),
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            try:
                asyncio.run(self.execute("SELECT 1"))
            except (OSError, asyncpg.CannotConnectNowError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError("Postgres did not answer")

    def stop(self) -> None:
        """End it as an operator would who does not wait for clients."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    async def execute(self, command: str, database: str = "postgres") -> Any:
        """Run one command; return its first value."""
        connection = await asyncpg.connect(self.address(database).get_secret_value())
        try:
            return await connection.fetchval(command)
        finally:
            await connection.close()

    @contextmanager
    def database(self) -> Iterator[SecretStr]:
        """Return the address of a fresh database, gone afterwards with who is still in it."""
        name = f"test_{uuid.uuid4().hex}"
        asyncio.run(self.execute(f"CREATE DATABASE {name}"))
        try:
            yield self.address(name)
        finally:
            asyncio.run(self.execute(f"DROP DATABASE {name} WITH (FORCE)"))

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)  # the folder around it is closed
        subprocess.run(
            [
                self._initdb, "--auth=scram-sha-256", "--username=cervella", f"--pwfile={secret}",
                "--no-sync", "--encoding=UTF8", "--locale=C", str(self._folder / "data"),
            ],
            check=True, capture_output=True, **self._as_user(),
        )  # fmt: skip
        secret.unlink()

    def _as_user(self) -> dict[str, Any]:
        """Return how a process is started: Postgres refuses root."""
        return {"cwd": self._folder, **({"user": self._user, "extra_groups": []} if self._user else {})}


def _nobody_special() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Serve one until the end."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # a short path: its socket's is limited
        server = Postgres(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def away(server: Postgres) -> AsyncIterator[None]:
    """Have no Postgres for a while."""
    await asyncio.to_thread(server.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)
