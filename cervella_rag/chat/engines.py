"""The two engines that keep what was said: how each is reached, and how its tables are brought along.

A SQLite file belongs to one machine. A Postgres server is shared: replicas of the API that use one hold
no conversation of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from cervella_rag.chat.migrations import migrate
from cervella_rag.errors import InvalidSettingError

REVISION = 1
"""Of the tables: the newest of `migrations/versions`."""
VERSION_TABLE = "cervella_schema"

_BUSY_MILLISECONDS = 5000
_CONNECT_SECONDS = 5
_COMMAND_SECONDS = 30
"""Longest wait for one answer of a server, a migration of another replica included."""
_CONNECTIONS, _MORE_CONNECTIONS = 4, 4
"""Of one process: kept open, and beyond that while many speak at once. Postgres allows 100 by default."""
_POOL_SECONDS = 10
_IDLE_SECONDS = 1800
_MIGRATING = 7_266_378_352
"""Number of the lock that one replica holds while it migrates; arbitrary and never changed."""


class Engine(Protocol):
    """What differs between the two."""

    sql: AsyncEngine
    name: str
    """Where it is, without a secret."""
    snapshot: dict[str, Any]
    """Options of a connection that reads everything as it was at one moment."""

    def make_room(self) -> None:
        """Make what must be there before it can be opened."""
        ...

    async def is_current(self, connection: AsyncConnection) -> bool:
        """Tell whether the tables are those of this program, or of a newer one."""
        ...

    def migrate(self, connection: Connection) -> None:
        """Bring the tables along; several may come to it at once, and the later ones find it done."""
        ...

    async def touch(self, connection: AsyncConnection) -> None:
        """Write something that changes nothing."""
        ...

    def forget(self) -> None:
        """Ask anew after a failure."""
        ...


class SQLiteEngine:
    """One file, opened for each use: that is quick, and no loop or process owns it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        self.snapshot: dict[str, Any] = {}  # a transaction sees one moment anyway
        self.sql = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
        event.listen(self.sql.sync_engine, "connect", _configure_sqlite)

    def make_room(self) -> None:
        """Make the file's folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)

    async def is_current(self, connection: AsyncConnection) -> bool:
        """Ask the file, every time: it may be removed, or an older one restored, under a server."""
        # 1 stands in files of before migrations, whose tables are those of revision 1 or a little less.
        return (await connection.scalar(text("PRAGMA user_version")) or 0) > REVISION

    def migrate(self, connection: Connection) -> None:
        """See `Engine`."""
        connection.execute(text("BEGIN IMMEDIATE"))
        migrate(connection, VERSION_TABLE)
        connection.execute(text(f"PRAGMA user_version = {REVISION + 1}"))
        self._path.chmod(0o600)  # what was said is nobody else's

    async def touch(self, connection: AsyncConnection) -> None:
        """See `Engine`."""
        await connection.execute(text(f"PRAGMA user_version = {REVISION + 1}"))

    def forget(self) -> None:
        """See `Engine`: nothing was learned."""


class PostgresEngine:
    """A server.

    Args:
        address: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`. Of its parameters, `sslmode` is libpq's;
            several `host`s are tried in turn, and `target_session_attrs=read-write` takes the one that
            may be written.
        stays: This process will ask again and again, from one event loop, so that connections are kept.

    Raises:
        InvalidSettingError: The address cannot be used.
        ImportError: The driver is not installed.
    """

    def __init__(self, address: str, *, stays: bool) -> None:
        url = _url(address)
        hosts = url.normalized_query.get("host") or (f"{url.host}:{url.port or 5432}",)
        self.name = f"postgresql://{','.join(hosts)}/{url.database}"
        self.snapshot: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
        pool: dict[str, Any] = {
            "pool_size": _CONNECTIONS,
            "max_overflow": _MORE_CONNECTIONS,
            "pool_timeout": _POOL_SECONDS,
            "pool_recycle": _IDLE_SECONDS,
            "pool_pre_ping": True,  # a server that was restarted costs no turn
        }
        self.sql = create_async_engine(
            url,
            connect_args={
                "timeout": _CONNECT_SECONDS,
                "command_timeout": _COMMAND_SECONDS,
                "server_settings": {"application_name": "cervella"},
            },
            **(pool if stays else {"poolclass": NullPool}),
        )
        self._is_current = False

    def make_room(self) -> None:
        """See `Engine`: the database is there or is not."""

    async def is_current(self, connection: AsyncConnection) -> bool:
        """Ask the server, once and after every failure."""
        if not self._is_current:
            self._is_current = await connection.run_sync(_revision) >= REVISION
            await connection.rollback()
        return self._is_current

    def migrate(self, connection: Connection) -> None:
        """See `Engine`."""
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATING})
        if _revision(connection) < REVISION:
            migrate(connection, VERSION_TABLE)

    async def touch(self, connection: AsyncConnection) -> None:
        """See `Engine`."""
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = version_num"))  # noqa: S608

    def forget(self) -> None:
        """See `Engine`: another database may stand there now."""
        self._is_current = False


def _url(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # which may show a part of the password
        raise InvalidSettingError(
            variable="CERVELLA_CONVERSATIONS__URL", value="***", reason="it is no address"
        ) from None
    query = dict(url.query)
    if mode := query.pop("sslmode", None):
        query["ssl"] = mode
    return url.set(drivername="postgresql+asyncpg", query=query)


def _configure_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", f"busy_timeout={_BUSY_MILLISECONDS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _revision(connection: Connection) -> int:
    """Return the revision of a server's tables, 0 where there are none."""
    there = connection.scalar(text("SELECT to_regclass(:name)"), {"name": VERSION_TABLE})
    if there is None:
        return 0
    return int(connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) or 0)  # noqa: S608
