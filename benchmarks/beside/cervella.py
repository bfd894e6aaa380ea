"""This program, as it is installed."""

from __future__ import annotations

from pathlib import Path

from cervella_rag import bootstrap
from cervella_rag.domain import Question

from .system import Passage


class Cervella:
    """See `System`."""

    def __init__(self, place: Path) -> None:
        self._settings = bootstrap.load_settings(home=place)

    def index(self, folder: Path) -> int:
        """See `System`."""
        indexer = bootstrap.make_indexer(self._settings)
        chunks = indexer.run(bootstrap.find_roots(self._settings, [folder])).chunks
        self._retriever = bootstrap.make_retriever(self._settings, strict=True)
        return chunks

    def search(self, question: str) -> list[Passage]:
        """See `System`."""
        found = self._retriever.retrieve(Question(question), top_k=10)
        return [Passage(hit.chunk.path, hit.chunk.text) for hit in found.hits]
