"""The OpenAI wire's shapes: what its clients send, and what they can read.

What they send and nobody here needs (`temperature`, `tools`, `n` ...) is ignored, as OpenAI ignores
what it does not know. Reference: the `openai` client's own types, version 3.54.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from cervella_rag.api.schemas import AnswerModel
from cervella_rag.domain import Answer, Message
from cervella_rag.errors import InvalidRequestError
from cervella_rag.protocols import Vectors

_LONGEST_HISTORY = 100
_LONGEST_MESSAGE = 20_000
_OWNER = "cervella"
_FINISH = {"stop": "stop"}
"""Whatever else ended an answer, it was cut."""


class WireMessage(BaseModel):
    """One message; its content is text, or parts of which some are text."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text of the message.

        Raises:
            InvalidRequestError: It holds a picture, a sound or a file.
        """
        if not isinstance(self.content, list):
            return self.content or ""
        for part in self.content:
            if not isinstance(part.get("text"), str):
                reason = f"only text is read, not a part of type {str(part.get('type'))[:40]!r}"
                raise InvalidRequestError(field="messages", reason=reason)
        return "\n".join(part["text"] for part in self.content)


class StreamOptions(BaseModel):
    """What a stream tells besides the answer."""

    include_usage: bool | None = None


class CompletionRequest(BaseModel):
    """A conversation to answer the last message of."""

    model: str = Field(description="A persona's id, as `GET /v1/models` lists them.")
    messages: list[WireMessage] = Field(min_length=1, max_length=5000)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Who asks, where several share a key: they take turns.")
    footer: bool | None = Field(
        None, description="Ours: end the answer with its sources as text (CERVELLA_API__OPENAI_FOOTER)."
    )

    def conversation(self) -> tuple[Message, ...]:
        """Return what was said, oldest first, up to the question, which is last.

        What a client tells a model about itself (`system`, `developer`) is left out: she has a persona.

        Raises:
            InvalidRequestError: Nobody asks anything.
        """
        said = [Message(one.role, one.text) for one in self.messages if one.role in ("user", "assistant")]
        while said and said[-1].role != "user":  # the beginning of an answer that we are to go on with
            said.pop()
        if not said:
            raise InvalidRequestError(field="messages", reason="there is no message of the role 'user'")
        *earlier, question = said
        kept = [Message(one.role, one.content[:_LONGEST_MESSAGE]) for one in earlier if one.content]
        return *kept[-_LONGEST_HISTORY:], question


class ModelCard(BaseModel):
    """A persona as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = _OWNER


class ModelList(BaseModel):
    """The personas."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class EmbeddingRequest(BaseModel):
    """Texts to make vectors of."""

    input: str | list[str] = Field(description="One text or several; tokens of another model are no text.")
    model: str = Field("", description="Anything: the answer names the embedder that there is.")
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, description="Accepted where it is what the embedder makes.")
    input_type: Literal["query", "document"] | None = Field(
        None, description="Ours: a question is embedded as one where the model tells them apart."
    )


class EmbeddingModel(BaseModel):
    """One vector, its numbers listed or as base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingModel]
    model: str
    usage: dict[str, int]


def embedding(index: int, vector: Vectors, encoding: str | None) -> EmbeddingModel:
    """Return a vector of shape (dimension,) as the wire has it."""
    if encoding == "base64":
        raw = np.asarray(vector, dtype="<f4").tobytes()
        return EmbeddingModel(index=index, embedding=base64.b64encode(raw).decode())
    return EmbeddingModel(index=index, embedding=vector.tolist())


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as the wire tells it.

    Attributes:
        extra: Members of ours beside OpenAI's: the sources, and how the answer came to be.
    """

    text: str
    finish_reason: str
    usage: dict[str, int]
    extra: dict[str, Any]

    @classmethod
    def of(cls, answer: Answer, footer: str) -> Said:
        """Return what is told of `answer`."""
        shown = AnswerModel.of(answer).model_dump()
        extra = {"sources": shown["citations"]}
        extra |= {
            name: shown[name] for name in ("mode", "grounded", "degraded", "provenance", "timings_ms")
        }
        finish = _FINISH.get(answer.finish_reason, "length")
        return cls(answer.answer + footer, finish, answer.usage, extra)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every part of one answer carries."""

    completion_id: str
    created: int
    model: str

    @classmethod
    def new(cls, completion_id: str, model: str) -> Envelope:
        """Return one of now."""
        return cls(f"chatcmpl-{completion_id}", int(time.time()), model)

    def completion(self, said: Said) -> dict[str, Any]:
        """Return a whole answer."""
        message = {"role": "assistant", "content": said.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": said.finish_reason, "logprobs": None}
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": usage(said.usage),
            **said.extra,
        }

    def chunk(
        self, delta: dict[str, Any], finish_reason: str | None = None, **extra: Any
    ) -> dict[str, Any]:
        """Return a piece of a streamed answer."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **extra}

    def usage_chunk(self, counts: dict[str, int]) -> dict[str, Any]:
        """Return the last piece, which has no choices, for who asks what it took."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(counts)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.completion_id, "object": kind, "created": self.created, "model": self.model}


def usage(counts: dict[str, int]) -> dict[str, int]:
    """Return tokens as the wire counts them; 0 where the voice counts nothing."""
    return {**counts, "total_tokens": sum(counts.values())}


def texts(given: str | Sequence[str]) -> list[str]:
    """Return the texts of a request."""
    return [given] if isinstance(given, str) else list(given)
