"""Doors beside the main ones: the brief, what is written into the memory, what is thought of an answer."""

from __future__ import annotations

from fastapi import FastAPI

from cervella_rag.api import brief, writing


def install(app: FastAPI) -> None:
    """Open them; what each serves stands in `app.state`, put there by the composition root."""
    app.include_router(brief.router)
    app.include_router(writing.router)
