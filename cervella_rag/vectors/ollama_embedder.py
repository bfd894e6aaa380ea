"""A model that Ollama serves, through `/api/embed`."""

from __future__ import annotations

import httpx
import numpy as np
from ollama import Client, ResponseError

from cervella_rag.errors import EmbedderError, ModelMissingError
from cervella_rag.protocols import Vectors
from cervella_rag.vectors.embedding import (
    CONNECT_SECONDS,
    ModelEmbedder,
    Portions,
    Prefixes,
    TextTooLongError,
    ask_again,
)

_FAILURES = (ResponseError, ConnectionError, httpx.RequestError, ValueError, TypeError)


class OllamaEmbedder(ModelEmbedder):
    """Embeds on an Ollama server.

    Args:
        url: Where Ollama listens.
        model: Its name there.
        prefixes: Put before texts; Ollama itself puts none.
        timeout_seconds: Longest wait for one batch, loading the model included.
        portions: How many texts and requests at once.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        prefixes: Prefixes | None,
        timeout_seconds: float,
        portions: Portions,
    ) -> None:
        super().__init__("ollama", model, prefixes=prefixes, portions=portions)
        self._url = url
        self._model = model
        timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
        # No connection is kept: an embedder is asked seldom, and nobody tells it when it is over.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = Client(url, timeout=timeout, limits=limits, trust_env=False)

    def _embed(self, texts: list[str], *, is_query: bool) -> Vectors:
        try:
            return ask_again(lambda: self._asked(texts), on=_is_passing)
        except _FAILURES as error:
            reason = error.error if isinstance(error, ResponseError) else str(error)
            if "context length" in reason:
                raise TextTooLongError(reason) from error
            if getattr(error, "status_code", 0) == httpx.codes.NOT_FOUND:
                raise ModelMissingError(
                    place=self._url, model=self._model, command=f"ollama pull {self._model}"
                ) from error
            raise EmbedderError(embedder=self.name, reason=f"{self._url}: {reason}") from error

    def _asked(self, texts: list[str]) -> Vectors:
        # Left to itself it cuts a text that is too long, without a word.
        answer = self._client.embed(self._model, texts, truncate=False)
        return np.asarray(answer.embeddings, np.float32)


def _is_passing(error: Exception) -> bool:
    """Tell whether another try may help; a runner that died says so with status 400."""
    if isinstance(error, ResponseError):
        return error.status_code >= 500 or "EOF" in error.error
    return isinstance(error, (ConnectionError, httpx.NetworkError, httpx.RemoteProtocolError))
