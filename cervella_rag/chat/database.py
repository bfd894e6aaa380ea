"""Where what was said is kept, through SQLAlchemy: one database, tables of several modules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import Dialect, MetaData, Text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator

from cervella_rag.chat.engines import Engine, PostgresEngine, SQLiteEngine
from cervella_rag.errors import ConversationStoreError

_AT_ONCE = 8
"""Transactions of a process that stays; each takes milliseconds."""

Place = Path | SecretStr
"""A SQLite file, or the address of a Postgres database."""

tables = MetaData()
"""Every table as it is now; how it came to be so is in `migrations`."""


class Words(TypeDecorator[str]):
    """Text of any length. Postgres keeps no NUL: the sign of a character that was lost stands for it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return what is sent to the database."""
        return (
            value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value and _is_postgres(dialect) else value
        )


def _is_postgres(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"


class Database:
    """Opens transactions; the tables are made, or brought along, when they are first needed.

    Args:
        place: Where it is; a file and its folder are made when first written.
        stays: This process will ask again and again, from one event loop. See `PostgresEngine`.
    """

    def __init__(self, place: Place, *, stays: bool = False) -> None:
        self._engine: Engine = (
            SQLiteEngine(place)
            if isinstance(place, Path)
            else PostgresEngine(place.get_secret_value(), stays=stays)
        )
        self._place = place
        self._has_failed = False
        # SQLite lets those who wait for it try again and again, and among two hundred some never get it.
        self._turn = asyncio.Semaphore(_AT_ONCE) if stays else nullcontext()

    @classmethod
    def at(cls, place: Place | Database) -> Database:
        """Return the database of a place, itself where it is one already."""
        return place if isinstance(place, Database) else cls(place)

    @asynccontextmanager
    async def begin(self, *, snapshot: bool = False) -> AsyncIterator[AsyncConnection]:
        """Open a transaction, committed where nothing is raised in it.

        Args:
            snapshot: Everything that is read is of one moment.

        Raises:
            ConversationStoreError: The database cannot be read or written.
        """
        with self._told():
            self._engine.make_room()
            async with self._turn, self._engine.sql.connect() as connection:
                if not await self._engine.is_current(connection):
                    await connection.run_sync(self._engine.migrate)
                    await connection.commit()
                if snapshot:
                    await connection.execution_options(**self._engine.snapshot)
                yield connection
                await connection.commit()

    async def check(self) -> None:
        """Make sure that something could be kept now, by a write where the last one failed.

        Raises:
            ConversationStoreError: It could not.
        """
        async with self.begin() as connection:
            if self._has_failed:
                await self._engine.touch(connection)
                self._has_failed = False

    async def describe(self) -> str:
        """Return where it is, having asked whether it is there; nothing is made or changed.

        Raises:
            ConversationStoreError: It cannot be read.
        """
        if not isinstance(self._place, Path) or self._place.exists():
            with self._told():
                async with self._engine.sql.connect() as connection:
                    await self._engine.is_current(connection)
        return self._engine.name

    async def aclose(self) -> None:
        """Let go of kept connections."""
        await self._engine.sql.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what any library reports in our own words."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            self._has_failed = True
            self._engine.forget()
            reason = str(getattr(error, "orig", None) or error) or type(error).__name__
            raise ConversationStoreError(path=self._engine.name, reason=reason) from error
