"""Conversations out to a file and back, whichever engine keeps them.

The file is always SQLite, so that what was kept in a file can be restored to a server, and back.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from cervella_rag.chat.conversations import conversation_table, turn_table
from cervella_rag.chat.database import Database
from cervella_rag.chat.notes import feedback_table, proposal_table

_ROWS = 500
"""Held in memory at once."""
_TABLES = (conversation_table, turn_table, proposal_table, feedback_table)
"""What is named by another comes before it."""


class FileCopies:
    """Copies of a SQLite file, made by SQLite itself. See `ConversationCopies`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def check(self) -> None:
        """Nothing can be known before it is written."""

    def save(self, file: Path) -> bool:
        """Copy the database; a turn that is being written is in it or not."""
        if not self._file.exists():
            return False
        with closing(sqlite3.connect(self._file)) as source, closing(sqlite3.connect(file)) as copy:
            source.backup(copy)
        return True

    def replace(self, file: Path) -> None:
        """Put the copy in the place of the present file, which stays beside it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".before-restore.sqlite")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(self._file)) as target:
            with closing(sqlite3.connect(beside)) as kept:
                target.backup(kept)
            source.backup(target)  # page by page under SQLite's own lock, for whoever has it open
        for database_file in (self._file, beside):
            database_file.chmod(0o600)


class DatabaseCopies:
    """Copies of a server's rows. See `ConversationCopies`.

    Args:
        database: The server's.
        beside: File for what was there before a copy replaced it.
    """

    def __init__(self, database: Database, beside: Path) -> None:
        self._database = database
        self._beside = beside

    def check(self) -> None:
        """Ask the server before anything is changed anywhere."""
        asyncio.run(self._database.check())

    def save(self, file: Path) -> bool:
        """Copy all rows, as they are at one moment."""
        asyncio.run(self._save(file))
        return True

    def replace(self, file: Path) -> None:
        """Put the copy's rows in the place of the present ones, which go to a file, in one transaction."""
        asyncio.run(self._replace(file))

    async def _save(self, file: Path) -> None:
        async with self._database.begin(snapshot=True) as source, Database(file).begin() as copy:
            await _copy(source, copy)

    async def _replace(self, file: Path) -> None:
        for old in self._beside.parent.glob(f"{self._beside.name}*"):
            old.unlink()
        # The copy is brought along on the way: it may be of a release that had fewer columns.
        async with Database(file).begin() as source, self._database.begin() as target:
            await target.execute(text("LOCK TABLE conversations IN EXCLUSIVE MODE"))  # who writes waits
            async with Database(self._beside).begin() as kept:
                await _copy(target, kept)
            await target.execute(conversation_table.delete())  # and, with it, all that is of them
            await _copy(source, target)
            newest = await target.scalar(select(func.max(turn_table.c.position)))
            sequence = func.pg_get_serial_sequence(turn_table.name, "position")
            await target.execute(select(func.setval(sequence, newest or 1)))


async def _copy(source: AsyncConnection, target: AsyncConnection) -> None:
    for table in _TABLES:
        async with source.stream(select(table).order_by(*table.primary_key)) as result:
            async for rows in result.partitions(_ROWS):
                await target.execute(table.insert(), [row._asdict() for row in rows])
