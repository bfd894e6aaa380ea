"""What was made of conversations, kept beside them: files proposed for the memory, and what was thought.

Both go with the conversation they belong to.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, Row, Table, select
from sqlalchemy.exc import IntegrityError

from cervella_rag.chat.conversations import conversation_table, is_of, turn_table
from cervella_rag.chat.database import Database, Place, Words, tables
from cervella_rag.errors import ProposalUnknownError, TurnUnknownError

proposal_table = Table(
    "proposals",
    tables,
    Column("proposal_id", Words, primary_key=True),
    Column(
        "conversation_id",
        ForeignKey(conversation_table.c.conversation_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("kind", Words, nullable=False),
    Column("root", Words, nullable=False),
    Column("path", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("created", Words, nullable=False),
    Column("written", Words, nullable=True),
)

feedback_table = Table(
    "feedback",
    tables,
    Column("feedback_id", Words, primary_key=True),
    Column("turn_id", ForeignKey(turn_table.c.turn_id, ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Words, nullable=False),
    Column("note", Words, nullable=False),
    Column("created", Words, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file that could be written; nothing is until a person confirms.

    Attributes:
        kind: "decision", "lesson" or "handoff".
        root: Name of the root it would lie in.
        path: Where, relative to that root.
        written: When it was written, ISO with offset; None before.
    """

    proposal_id: str
    conversation_id: str
    kind: str
    root: str
    path: str
    text: str
    created: str
    written: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What was thought of an answer: "not_cervella", "wrong_source" or "good"."""

    feedback_id: str
    turn_id: str
    kind: str
    note: str
    created: str


class SQLNoteStore:
    """Keeps proposals and feedback where conversations are kept.

    Args:
        place: Where; a file and its folder are made when first written.
    """

    def __init__(self, place: Place | Database) -> None:
        self._database = Database.at(place)

    async def propose(self, conversation_id: str, kind: str, place: tuple[str, str], text: str) -> Proposal:
        """Keep a proposal for `place`, root and path.

        Raises:
            ConversationStoreError: It cannot be kept.
        """
        proposal = Proposal(str(uuid.uuid4()), conversation_id, kind, *place, text, _now())
        async with self._database.begin() as connection:
            await connection.execute(proposal_table.insert().values(asdict(proposal)))
        return proposal

    async def proposal(self, proposal_id: str, owner: str | None = None) -> Proposal:
        """Return a proposal from a conversation of `owner`. See `ConversationStore`.

        Raises:
            ProposalUnknownError: There is none with that id.
        """
        query = (
            select(proposal_table)
            .join(conversation_table)
            .where(proposal_table.c.proposal_id == proposal_id, is_of(owner))
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise ProposalUnknownError(proposal_id=proposal_id)
        return Proposal(**found._asdict())

    async def mark_written(self, proposal: Proposal) -> Proposal:
        """Remember that a proposal was written."""
        proposal = replace(proposal, written=_now())
        change = proposal_table.update().where(proposal_table.c.proposal_id == proposal.proposal_id)
        async with self._database.begin() as connection:
            await connection.execute(change.values(written=proposal.written))
        return proposal

    async def add_feedback(self, turn_id: str, kind: str, note: str, owner: str | None = None) -> Feedback:
        """Keep what was thought of a turn of `owner`; it may be said again and again.

        Raises:
            TurnUnknownError: No turn with that id is kept.
        """
        feedback = Feedback(str(uuid.uuid4()), turn_id, kind, note, _now())
        turns = select(turn_table.c.turn_id).join(conversation_table)
        query = turns.where(turn_table.c.turn_id == turn_id, is_of(owner))
        async with self._database.begin() as connection:
            if await connection.scalar(query) is None:
                raise TurnUnknownError(turn_id=turn_id)
            try:
                await connection.execute(feedback_table.insert().values(asdict(feedback)))
            except IntegrityError as error:
                raise TurnUnknownError(turn_id=turn_id) from error
        return feedback

    async def export_feedback(self) -> list[dict[str, Any]]:
        """Return all feedback with the turn it is about, oldest first."""
        query = (
            select(feedback_table, turn_table)
            .join(turn_table, feedback_table.c.turn_id == turn_table.c.turn_id)
            .order_by(feedback_table.c.created, feedback_table.c.feedback_id)
        )
        columns = [*feedback_table.c, *(turn_table.c[name] for name in _TOLD)]
        async with self._database.begin() as connection:
            return [
                _exported(row)
                for row in (await connection.execute(query.with_only_columns(*columns))).all()
            ]


_TOLD = ("conversation_id", "question", "answer", "mode", "model", "grounded", "citations")


def _exported(row: Row[Any]) -> dict[str, Any]:
    return dict(row._asdict())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
