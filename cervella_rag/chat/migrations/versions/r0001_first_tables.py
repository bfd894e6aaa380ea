"""The tables as they were when migrations began; a SQLite file of before is adopted as it is.

Such a file may even lack columns that came one by one, and keeps its types: SQLite holds any text in them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is not there."""
    _conversations()
    _turns()
    _proposals()
    _feedback()


def _conversations() -> None:
    _make(
        "conversations",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("updated", sa.Text, nullable=False, index=True),
        sa.Column("owner", sa.Text, nullable=True),
    )


def _turns() -> None:
    _make(
        "turns",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("turn_id", sa.Text, nullable=False, unique=True),
        _of("conversations.conversation_id"),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("grounded", sa.Boolean, nullable=False),
        sa.Column("finish_reason", sa.Text, nullable=False),
        sa.Column("citations", sa.JSON, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False, server_default="0"),
        sa.Column("completion_tokens", sa.Integer, nullable=False, server_default="0"),
    )


def _proposals() -> None:
    _make(
        "proposals",
        sa.Column("proposal_id", sa.Text, primary_key=True),
        _of("conversations.conversation_id"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("written", sa.Text, nullable=True),
    )


def _feedback() -> None:
    _make(
        "feedback",
        sa.Column("feedback_id", sa.Text, primary_key=True),
        _of("turns.turn_id"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
    )


def _of(parent: str) -> sa.Column[str]:
    """Return the column that names what a row belongs to, and goes with."""
    name = parent.partition(".")[2]
    return sa.Column(name, sa.Text, sa.ForeignKey(parent, ondelete="CASCADE"), nullable=False, index=True)


def _make(name: str, *columns: sa.Column[Any]) -> None:
    """Make a table or, in a SQLite file of before, its columns that came later."""
    connection = op.get_bind()
    # On a server, a table of that name is somebody else's, and making ours fails and says so.
    if connection.dialect.name != "sqlite" or not sa.inspect(connection).has_table(name):
        op.create_table(name, *columns)
        return
    there = {column["name"] for column in sa.inspect(connection).get_columns(name)}
    for column in columns:
        if column.name not in there:
            op.add_column(name, column)
