"""The SQLite file of what was said, through SQLAlchemy: one file, tables of several modules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateColumn

from cervella_rag.errors import ConversationStoreError

_BUSY_MILLISECONDS = 5000
_VERSION = 1
"""Of the tables, kept in the file; raised when they change, so that older files are brought along."""
_VERSION_OF_FILE = text("PRAGMA user_version")
_MARK_VERSION = text(f"PRAGMA user_version = {_VERSION}")

tables = MetaData()
"""Every table of the file; each is made when the first of its module is used."""


class Database:
    """Opens the file; it and its folder are made when first written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_tables = False
        self._has_failed = False
        # A connection for each use: opening a file is quick, and no loop or process owns the store.
        self._engine: AsyncEngine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
        event.listen(self._engine.sync_engine, "connect", _configure)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction.

        Raises:
            ConversationStoreError: The file cannot be read or written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            async with self._engine.begin() as connection:
                # The file is asked every time: it may be removed, or an older one restored, under a server.
                is_current = await connection.scalar(_VERSION_OF_FILE) == _VERSION
                if not (self._has_tables and is_current):
                    await connection.run_sync(_make_tables)
                    self._path.chmod(0o600)  # what was said is nobody else's
                    self._has_tables = True
                yield connection
        except (SQLAlchemyError, OSError) as error:
            self._has_failed = True
            reason = str(getattr(error, "orig", None) or error)
            raise ConversationStoreError(path=str(self._path), reason=reason) from error

    async def check(self) -> None:
        """Make sure that something could be kept now, by a write where the last one failed.

        Raises:
            ConversationStoreError: It could not.
        """
        async with self.begin() as connection:
            if self._has_failed:
                await connection.execute(_MARK_VERSION)
                self._has_failed = False


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", f"busy_timeout={_BUSY_MILLISECONDS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _make_tables(connection: Connection) -> None:
    """Make the tables that are not there and, in files from before, the columns that came later."""
    connection.execute(text("BEGIN IMMEDIATE"))  # several may come to it at once; the second finds it done
    tables.create_all(connection)
    for table in tables.sorted_tables:
        there = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
    if connection.scalar(_VERSION_OF_FILE) != _VERSION:
        connection.execute(_MARK_VERSION)
