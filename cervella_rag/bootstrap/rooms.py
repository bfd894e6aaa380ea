"""What the doors beside the main ones serve. See `api.rooms`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cervella_rag.bootstrap.brief import make_brief_writer
from cervella_rag.bootstrap.writeback import make_memory_writer, make_note_store

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cervella_rag.chat.database import Database
    from cervella_rag.protocols import VectorStore
    from cervella_rag.settings import Settings


def furnish(app: FastAPI, settings: Settings, store: VectorStore, database: Database) -> None:
    """Put into the application's state what its rooms ask for."""
    app.state.brief_writer = make_brief_writer()
    app.state.notes = notes = make_note_store(settings, database)
    app.state.memory_writer = make_memory_writer(settings, app.state.assistant, store, notes)
