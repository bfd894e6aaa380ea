"""What the doors beside the main ones serve. See `api.rooms`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cervella_rag.bootstrap.brief import make_brief_writer

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cervella_rag.settings import Settings


def furnish(app: FastAPI, settings: Settings) -> None:
    """Put into the application's state what its rooms ask for."""
    app.state.brief_writer = make_brief_writer()
