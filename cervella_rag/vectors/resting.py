"""An embedder that failed is left alone for a while, so that a search without it does not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cervella_rag.errors import UpstreamError
from cervella_rag.protocols import Embedder, Vectors


class RestingEmbedder:
    """An `Embedder` that, after a question it could not embed, fails at once until it has rested.

    Documents are tried always: who indexes waits for the vectors, and is told when there are none.

    Args:
        embedder: What makes the vectors.
        rest_seconds: How long it is left alone.
    """

    def __init__(
        self, embedder: Embedder, rest_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._embedder = embedder
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._resting: tuple[float, UpstreamError] | None = None

    @property
    def name(self) -> str:
        """See `Embedder`."""
        return self._embedder.name

    @property
    def sees_windows(self) -> bool:
        """See `Embedder`."""
        return self._embedder.sees_windows

    @property
    def dimension(self) -> int:
        """See `Embedder`."""
        return self._embedder.dimension

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        return self._embedder.embed_documents(texts)

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        if self._resting and self._clock() < self._resting[0]:
            raise self._resting[1].with_traceback(None)
        try:
            vector = self._embedder.embed_query(text)
        except UpstreamError as error:
            self._resting = (self._clock() + self._rest_seconds, error)
            raise
        self._resting = None
        return vector
