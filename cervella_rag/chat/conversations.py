"""What was said, kept in SQLite or Postgres through SQLAlchemy: conversations and their turns.

A conversation's turns stand in the order in which they were finished. Beside them the database keeps only
what was made of them (`notes`): removing it removes every conversation.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    Row,
    Table,
    case,
    func,
    select,
    true,
)

from cervella_rag.chat.database import Database, Place, Words, tables
from cervella_rag.domain import Conversation, ConversationInfo, Turn, Usage
from cervella_rag.errors import ConversationUnknownError

_TITLE_CHARACTERS = 80

conversation_table = Table(
    "conversations",
    tables,
    Column("conversation_id", Words, primary_key=True),
    Column("title", Words, nullable=False),
    Column("created", Words, nullable=False),
    Column("updated", Words, nullable=False, index=True),
    Column("owner", Words, nullable=True),
)

turn_table = Table(
    "turns",
    tables,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("turn_id", Words, nullable=False, unique=True),
    Column(
        "conversation_id",
        ForeignKey(conversation_table.c.conversation_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("question", Words, nullable=False),
    Column("answer", Words, nullable=False),
    Column("mode", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("grounded", Boolean, nullable=False),
    Column("finish_reason", Words, nullable=False),
    Column("citations", JSON, nullable=False),
    Column("created", Words, nullable=False),
    Column("prompt_tokens", Integer, nullable=False, server_default="0"),
    Column("completion_tokens", Integer, nullable=False, server_default="0"),
)


class SQLConversationStore:
    """Keeps conversations in a SQLite file or a Postgres database. See `ConversationStore`.

    Args:
        place: Where; a file and its folder are made when first written.
    """

    def __init__(self, place: Place | Database) -> None:
        self._database = Database.at(place)

    async def begin(self, turn: Turn, owner: str | None = None) -> str:
        """Start a conversation with its first turn; return its id."""
        conversation_id, now = str(uuid.uuid4()), _now()
        title = " ".join(turn.question.split())[:_TITLE_CHARACTERS]
        async with self._database.begin() as connection:
            await connection.execute(
                conversation_table.insert().values(
                    conversation_id=conversation_id, title=title, created=now, updated=now, owner=owner
                )
            )
            await connection.execute(turn_table.insert().values(_values(conversation_id, turn)))
        return conversation_id

    async def read(self, conversation_id: str, owner: str | None = None) -> Conversation:
        """Return a conversation with its turns."""
        async with self._database.begin() as connection:
            found = (await connection.execute(_cards(owner, conversation_id))).one_or_none()
            if found is None:
                raise ConversationUnknownError(conversation_id=conversation_id)
            query = (
                select(turn_table)
                .where(turn_table.c.conversation_id == conversation_id)
                .order_by(turn_table.c.position)
            )
            turns = tuple(map(_turn, (await connection.execute(query)).all()))
        return Conversation(_info(found), turns)

    async def append(self, conversation_id: str, turn: Turn, owner: str | None = None) -> None:
        """Add a turn."""
        async with self._database.begin() as connection:
            changed = await connection.execute(
                conversation_table.update()
                .where(conversation_table.c.conversation_id == conversation_id, is_of(owner))
                .values(updated=_now())
            )
            if not changed.rowcount:
                raise ConversationUnknownError(conversation_id=conversation_id)
            await connection.execute(turn_table.insert().values(_values(conversation_id, turn)))

    async def list(self, limit: int, owner: str | None = None) -> tuple[ConversationInfo, ...]:
        """Return the newest conversations, newest first."""
        newest = func.max(turn_table.c.position).desc()  # of those that were kept in the same millisecond
        query = _cards(owner).order_by(conversation_table.c.updated.desc(), newest).limit(limit)
        async with self._database.begin() as connection:
            return tuple(map(_info, (await connection.execute(query)).all()))

    async def check(self) -> None:
        """Make sure that a turn could be kept now."""
        await self._database.check()

    async def delete(self, conversation_id: str, owner: str | None = None) -> None:
        """Remove a conversation with its turns."""
        async with self._database.begin() as connection:
            gone = await connection.execute(
                conversation_table.delete().where(
                    conversation_table.c.conversation_id == conversation_id, is_of(owner)
                )
            )
            if not gone.rowcount:
                raise ConversationUnknownError(conversation_id=conversation_id)

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._database.aclose()

    async def usage(self) -> tuple[Usage, ...]:
        """Return what every voice and model counted, over all turns that are kept."""
        counted = turn_table.c.prompt_tokens + turn_table.c.completion_tokens > 0
        query = (
            select(
                turn_table.c.mode,
                turn_table.c.model,
                func.count().label("turns"),
                func.sum(case((counted, 1), else_=0)).label("counted"),
                func.sum(turn_table.c.prompt_tokens).label("prompt_tokens"),
                func.sum(turn_table.c.completion_tokens).label("completion_tokens"),
            )
            .group_by(turn_table.c.mode, turn_table.c.model)
            .order_by(turn_table.c.mode, turn_table.c.model)
        )
        async with self._database.begin() as connection:
            return tuple(Usage(**row._asdict()) for row in (await connection.execute(query)).all())


def is_of(owner: str | None) -> Any:
    """Return the condition that a conversation is of that owner. See `ConversationStore`."""
    return true() if owner is None else conversation_table.c.owner == owner


def _cards(owner: str | None, conversation_id: str | None = None) -> Any:
    shown = [column for column in conversation_table.c if column.name != "owner"]
    query = (
        select(*shown, func.count(turn_table.c.position).label("turns"))
        .outerjoin(turn_table)
        .where(is_of(owner))
        .group_by(conversation_table.c.conversation_id)
    )
    return (
        query.where(conversation_table.c.conversation_id == conversation_id)
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
