"""A model behind any OpenAI-compatible `/v1/embeddings`: vLLM, llama-server, text-embeddings-inference."""

from __future__ import annotations

import httpx2
import numpy as np
import openai
from openai import OpenAI

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

_FAILURES = (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError)
"""The client hands over what is not its protocol as it came."""
_TOO_LONG = ("context length", "too long", "too large", "maximum input length", "must have less than")
"""How vLLM, llama-server, text-embeddings-inference and others say it; the protocol has no code for it."""


class OpenAIEmbedder(ModelEmbedder):
    """Embeds on a server that speaks OpenAI's protocol.

    Args:
        url: Base URL, with its `/v1`.
        model: Its name there.
        key: What the server wants to see; any word for one that wants nothing.
        prefixes: Put before texts.
        timeout_seconds: Longest wait for one batch.
        portions: How many texts and requests at once.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        url: str,
        model: str,
        *,
        key: str,
        prefixes: Prefixes | None,
        timeout_seconds: float,
        portions: Portions,
    ) -> None:
        super().__init__("openai", model, prefixes=prefixes, portions=portions)
        self._url = url
        self._model = model
        timeout = httpx2.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
        # No connection is kept: an embedder is asked seldom, and nobody tells it when it is over.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._client = OpenAI(
            base_url=url,
            api_key=key,
            max_retries=0,  # the client would wait its time out three times
            timeout=timeout,
            http_client=httpx2.Client(timeout=timeout, limits=limits, trust_env=False),
        )

    def _embed(self, texts: list[str], *, is_query: bool) -> Vectors:
        try:
            return ask_again(lambda: self._asked(texts), on=_is_passing)
        except _FAILURES as error:
            reason = str(error)
            if isinstance(error, openai.APIStatusError) and any(words in reason for words in _TOO_LONG):
                raise TextTooLongError(reason) from error
            # A server without the model names it; any other 404 is an address that lacks its `/v1`.
            if isinstance(error, openai.NotFoundError) and self._model in reason:
                raise ModelMissingError(
                    place=self._url, model=self._model, command="CERVELLA_EMBEDDER__MODEL=..."
                ) from error
            raise EmbedderError(embedder=self.name, reason=f"{self._url}/embeddings: {reason}") from error

    def _asked(self, texts: list[str]) -> Vectors:
        # Asked for plainly: not every server knows the packed form that the client prefers.
        answer = self._client.embeddings.create(model=self._model, input=texts, encoding_format="float")
        ordered = sorted(answer.data, key=lambda made: made.index)
        return np.asarray([made.embedding for made in ordered], np.float32)


def _is_passing(error: Exception) -> bool:
    """Tell whether another try may help; one that waited its time out has waited long enough."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code == httpx2.codes.TOO_MANY_REQUESTS or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
