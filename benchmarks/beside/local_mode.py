"""A script as one writes it first: 512 tokens, 15 % overlap, vectors alone, no server for Qdrant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qdrant_client import QdrantClient, models

from cervella_rag.protocols import Vectors
from cervella_rag.vectors.use_embedder import USEEmbedder

from .system import Passage

_TOKENS, _OVERLAP = 512, 0.15
_CHARACTERS_PER_TOKEN = 3
_BATCH = 64


class LocalMode:
    """See `System`."""

    def __init__(self, place: Path) -> None:
        self._client = QdrantClient(path=str(place))
        self._embedder = USEEmbedder()

    def index(self, folder: Path) -> int:
        """See `System`."""
        pieces = [
            Passage(str(file.relative_to(folder)), text)
            for file in sorted(folder.rglob("*.md"))
            for text in _cut(file.read_text("utf-8", "replace"))
        ]
        self._begin()
        for start in range(0, len(pieces), _BATCH):
            batch = pieces[start : start + _BATCH]
            self._put(start, batch, self._embedder.embed_documents([piece.text for piece in batch]))
        return len(pieces)

    def fill(self, vectors: Vectors) -> None:
        """Take vectors that are there already, for the time a search takes among so many."""
        self._begin()
        for start in range(0, len(vectors), _BATCH):
            batch = vectors[start : start + _BATCH]
            self._put(start, [Passage("generated.md", "")] * len(batch), batch)

    def search(self, question: str) -> list[Passage]:
        """See `System`."""
        vector = self._embedder.embed_query(question).tolist()
        found = self._client.query_points("memory", query=vector, limit=10, with_payload=True).points
        payloads = [point.payload or {} for point in found]
        return [Passage(payload["path"], payload["text"]) for payload in payloads]

    def _begin(self) -> None:
        size = self._embedder.dimension
        config = models.VectorParams(size=size, distance=models.Distance.COSINE)
        self._client.create_collection("memory", vectors_config=config)

    def _put(self, start: int, pieces: list[Passage], vectors: Vectors) -> None:
        points = [
            models.PointStruct(
                id=start + number,
                vector=vector.tolist(),
                payload={"path": piece.path, "text": piece.text},
            )
            for number, (piece, vector) in enumerate(zip(pieces, vectors, strict=True))
        ]
        self._client.upsert("memory", points)


def _cut(text: str) -> Iterator[str]:
    size = _TOKENS * _CHARACTERS_PER_TOKEN
    for start in range(0, max(1, len(text)), int(size * (1 - _OVERLAP))):
        yield text[start : start + size]
