"""Where conversations are kept: a file under `CERVELLA_HOME`, or a Postgres database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from cervella_rag.errors import ExtraMissingError

if TYPE_CHECKING:
    from cervella_rag.chat.database import Database
    from cervella_rag.protocols import ConversationCopies
    from cervella_rag.settings import Settings


def conversations_file(settings: Settings) -> Path:
    """Return where conversations are kept when no server does."""
    return settings.home / "conversations.sqlite"


def make_database(settings: Settings, *, stays: bool = False) -> Database:
    """Return what keeps conversations and what was made of them.

    Args:
        settings: What is configured.
        stays: This process will ask again and again, from one event loop.

    Raises:
        ExtraMissingError: A server is configured, and its driver is not installed.
    """
    from cervella_rag.chat.database import Database

    url = settings.conversations.url
    try:
        return Database(url if url.get_secret_value() else conversations_file(settings), stays=stays)
    except ImportError as error:
        raise ExtraMissingError(part="Postgres", extra="postgres") from error


def make_copies(settings: Settings) -> ConversationCopies:
    """Return what copies conversations out and back. See `chat.copies`."""
    from cervella_rag.chat.copies import DatabaseCopies, FileCopies

    file = conversations_file(settings)
    if not settings.conversations.url.get_secret_value():
        return FileCopies(file)
    return DatabaseCopies(make_database(settings), beside=file.with_suffix(".before-restore.sqlite"))


def describe_conversations(settings: Settings) -> str:
    """Return where conversations are kept, having asked. See `Database.describe`."""
    return asyncio.run(make_database(settings).describe())
