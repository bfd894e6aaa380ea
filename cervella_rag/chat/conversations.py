"""What was said, kept in SQLite through SQLAlchemy: conversations and their turns.

A conversation's turns stand in the order in which they were finished. Nothing else of Cervella is in
this file: removing it removes every conversation.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    event,
    func,
    inspect,
    select,
    text,
    true,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from cervella_rag.domain import Conversation, ConversationInfo, Turn
from cervella_rag.errors import ConversationStoreError, ConversationUnknownError

_TITLE_CHARACTERS = 80
_BUSY_MILLISECONDS = 5000
_VERSION = 1
"""Of the tables, kept in the file; raised when they change, so that older files are brought along."""

_tables = MetaData()

_conversations = Table(
    "conversations",
    _tables,
    Column("conversation_id", String(36), primary_key=True),
    Column("title", Text, nullable=False),
    Column("created", String(32), nullable=False),
    Column("updated", String(32), nullable=False, index=True),
    Column("owner", String(200), nullable=True),
)

_turns = Table(
    "turns",
    _tables,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String(36), nullable=False, unique=True),
    Column(
        "conversation_id",
        ForeignKey(_conversations.c.conversation_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("mode", String(20), nullable=False),
    Column("model", Text, nullable=False),
    Column("grounded", Boolean, nullable=False),
    Column("finish_reason", String(20), nullable=False),
    Column("citations", JSON, nullable=False),
    Column("created", String(32), nullable=False),
)


class SQLConversationStore:
    """Keeps conversations in one SQLite file. See `ConversationStore`.

    Args:
        path: The file; it and its folder are made when first written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_failed = False
        # A connection for each use: opening a file is quick, and no loop or process owns the store.
        self._engine: AsyncEngine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
        event.listen(self._engine.sync_engine, "connect", _configure)

    async def begin(self, turn: Turn, owner: str | None = None) -> str:
        """Start a conversation with its first turn; return its id."""
        conversation_id, now = str(uuid.uuid4()), _now()
        title = " ".join(turn.question.split())[:_TITLE_CHARACTERS]
        async with self._begin() as connection:
            await connection.execute(
                _conversations.insert().values(
                    conversation_id=conversation_id, title=title, created=now, updated=now, owner=owner
                )
            )
            await connection.execute(_turns.insert().values(_values(conversation_id, turn)))
        return conversation_id

    async def read(self, conversation_id: str, owner: str | None = None) -> Conversation:
        """Return a conversation with its turns."""
        async with self._begin() as connection:
            found = (await connection.execute(_cards(owner, conversation_id))).one_or_none()
            if found is None:
                raise ConversationUnknownError(conversation_id=conversation_id)
            query = (
                select(_turns)
                .where(_turns.c.conversation_id == conversation_id)
                .order_by(_turns.c.position)
            )
            turns = tuple(map(_turn, (await connection.execute(query)).all()))
        return Conversation(_info(found), turns)

    async def append(self, conversation_id: str, turn: Turn, owner: str | None = None) -> None:
        """Add a turn."""
        async with self._begin() as connection:
            changed = await connection.execute(
                _conversations.update()
                .where(_conversations.c.conversation_id == conversation_id, _is_of(owner))
                .values(updated=_now())
            )
            if not changed.rowcount:
                raise ConversationUnknownError(conversation_id=conversation_id)
            await connection.execute(_turns.insert().values(_values(conversation_id, turn)))

    async def list(self, limit: int, owner: str | None = None) -> tuple[ConversationInfo, ...]:
        """Return the newest conversations, newest first."""
        query = _cards(owner).order_by(_conversations.c.updated.desc()).limit(limit)
        async with self._begin() as connection:
            return tuple(map(_info, (await connection.execute(query)).all()))

    async def check(self) -> None:
        """Make sure that a turn could be kept now, by a write where the last one failed."""
        async with self._begin() as connection:
            if self._has_failed:
                await connection.execute(text(f"PRAGMA user_version = {_VERSION}"))
                self._has_failed = False

    async def delete(self, conversation_id: str, owner: str | None = None) -> None:
        """Remove a conversation with its turns."""
        async with self._begin() as connection:
            gone = await connection.execute(
                _conversations.delete().where(
                    _conversations.c.conversation_id == conversation_id, _is_of(owner)
                )
            )
            if not gone.rowcount:
                raise ConversationUnknownError(conversation_id=conversation_id)

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            async with self._engine.begin() as connection:
                # Asked every time: a file may be removed, or an older one restored, under a server.
                if await connection.scalar(text("PRAGMA user_version")) != _VERSION:
                    await connection.run_sync(_make_tables)
                    self._path.chmod(0o600)  # what was said is nobody else's
                yield connection
        except (SQLAlchemyError, OSError) as error:
            self._has_failed = True
            reason = str(getattr(error, "orig", None) or error)
            raise ConversationStoreError(path=str(self._path), reason=reason) from error


def _configure(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", f"busy_timeout={_BUSY_MILLISECONDS}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _make_tables(connection: Connection) -> None:
    """Make what is missing: all of it, or the column that files of before keys do not have."""
    connection.execute(text("BEGIN IMMEDIATE"))  # several may come to it at once; the second finds it done
    _tables.create_all(connection)
    columns = {column["name"] for column in inspect(connection).get_columns(_conversations.name)}
    if "owner" not in columns:
        connection.execute(text("ALTER TABLE conversations ADD COLUMN owner VARCHAR(200)"))
    connection.execute(text(f"PRAGMA user_version = {_VERSION}"))


def _is_of(owner: str | None) -> Any:
    return true() if owner is None else _conversations.c.owner == owner


def _cards(owner: str | None, conversation_id: str | None = None) -> Any:
    shown = [column for column in _conversations.c if column.name != "owner"]
    query = (
        select(*shown, func.count(_turns.c.position).label("turns"))
        .outerjoin(_turns)
        .where(_is_of(owner))
        .group_by(_conversations.c.conversation_id)
    )
    return (
        query.where(_conversations.c.conversation_id == conversation_id)
        if conversation_id is not None
        else query
    )


def _info(row: Row[Any]) -> ConversationInfo:
    return ConversationInfo(**row._asdict())


def _values(conversation_id: str, turn: Turn) -> dict[str, Any]:
    return {**asdict(turn), "conversation_id": conversation_id, "citations": list(turn.citations)}


def _turn(row: Row[Any]) -> Turn:
    values = row._asdict()
    del values["position"], values["conversation_id"]
    return Turn(**{**values, "citations": tuple(values["citations"])})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
