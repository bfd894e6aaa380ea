"""Any server that speaks OpenAI's chat protocol: vLLM, llama-server, LM Studio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from cervella_rag.domain import Message, Spoken, Window
from cervella_rag.errors import (
    ModelMissingError,
    UpstreamError,
    VoiceBrokenError,
    VoiceRefusedError,
    VoiceUnavailableError,
)
from cervella_rag.llm.continuation import GOING_ON, Asked
from cervella_rag.llm.speech import Delta, ModelLLM, Patience, Thought, one_line
from cervella_rag.protocols import PromptWriter

_log = logging.getLogger(__name__)

_CONNECT_SECONDS = 2.0
_CHECK_SECONDS = 3.0

_THOUGHT_FIELDS = ("reasoning_content", "reasoning")
"""Where servers put a model's thoughts; the protocol has no field for them."""

_FAILURES = (openai.OpenAIError, httpx2.HTTPError, ValueError, AttributeError, TypeError)
"""The client lets through what its JSON reader and the wire raise inside a stream."""


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """How a model is asked.

    Attributes:
        url: Base URL, with its `/v1`.
        model: Name, or "" for the first the server lists.
        extra: Added to the body; servers differ in how a model is told not to think.
    """

    url: str
    model: str
    key: str
    temperature: float
    extra: Mapping[str, Any]


class OpenAICompatibleLLM(ModelLLM):
    """Speaks through a model behind `/v1/chat/completions`."""

    mode = "openai"

    def __init__(
        self, options: OpenAIOptions, writer: PromptWriter, window: Window, patience: Patience
    ) -> None:
        super().__init__(options.model, options.url, writer=writer, window=window, patience=patience)
        self._options = options
        self._goes_on = True  # until the server refuses to
        timeout = httpx2.Timeout(None, connect=_CONNECT_SECONDS)  # the time limits are ours: see `speech`
        self._client = AsyncOpenAI(
            base_url=options.url,
            api_key=options.key,
            max_retries=0,
            timeout=timeout,
            http_client=httpx2.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=True),
        )

    async def _deltas(self, asked: Asked) -> AsyncGenerator[Delta]:
        if not asked.said:
            request = self._stream(asked.messages, asked.answer_tokens, {})
        elif self._goes_on:
            request = self._going_on(asked)
        else:
            request = self._stream(asked.asking_on, asked.answer_tokens, {})
        async with aclosing(request) as deltas:
            async for delta in deltas:
                yield delta

    async def _going_on(self, asked: Asked) -> AsyncGenerator[Delta]:
        """Have the last message gone on with; a server that refuses that is asked for the rest in words."""
        try:
            async with aclosing(self._stream(asked.open_ended, asked.answer_tokens, GOING_ON)) as deltas:
                async for delta in deltas:
                    yield delta
        except VoiceRefusedError as error:  # so nothing was said
            _log.info("%s", error)
            self._goes_on = False
        else:
            return
        async with aclosing(self._stream(asked.asking_on, asked.answer_tokens, {})) as deltas:
            async for delta in deltas:
                yield delta

    async def _stream(
        self, messages: Sequence[Message], answer_tokens: int, extra: Mapping[str, Any]
    ) -> AsyncGenerator[Delta]:
        has_started = False
        try:
            # Asked every time where none is configured: the server may have been given another one.
            model = self.model = self._options.model or await self._first_model()
            chunks = await self._client.chat.completions.create(
                model=model,
                messages=[_param(message) for message in messages],
                stream=True,
                stream_options={"include_usage": True},
                max_tokens=answer_tokens,
                temperature=self._options.temperature,
                extra_body={**self._options.extra, **extra},
            )
            end = Spoken(self.mode, model, "incomplete")
            async with chunks:  # closing its iterator would leave the connection, and the model, at work
                async for chunk in chunks:
                    has_started = True
                    for delta in _texts(chunk):
                        yield delta
                    end = self._end(chunk, end)
            yield end
        except _FAILURES as error:
            raise self._error(error, has_started) from error

    def _end(self, chunk: ChatCompletionChunk, end: Spoken) -> Spoken:
        """Return what is known of the end: the reason comes first, the counts in a chunk of their own."""
        choice, usage = next(iter(chunk.choices or ()), None), chunk.usage
        return Spoken(
            mode=self.mode,
            model=chunk.model or end.model,
            finish_reason=(choice and choice.finish_reason) or end.finish_reason,
            prompt_tokens=usage.prompt_tokens if usage else end.prompt_tokens,
            completion_tokens=usage.completion_tokens if usage else end.completion_tokens,
        )

    async def _first_model(self) -> str:
        async for model in self._client.models.list():
            return model.id
        raise self._missing()

    async def check(self) -> str:
        """Return the model's name where the server lists it."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                names = [model.id async for model in self._client.models.list()]
        except (TimeoutError, *_FAILURES) as error:
            raise self._error(error, has_started=False) from error
        wanted = self._options.model
        if not names or (wanted and wanted not in names):
            raise self._missing()
        return wanted or names[0]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _missing(self) -> ModelMissingError:
        return ModelMissingError(
            place=self._options.url, model=self.model, command="CERVELLA_LLM__OPENAI_MODEL=..."
        )

    def _error(self, error: Exception, has_started: bool) -> UpstreamError:
        details = {"voice": self.mode, "place": self._options.url, "reason": one_line(error)}
        if has_started:
            return VoiceBrokenError(**details)
        match error:
            case openai.NotFoundError() if "model" in str(error).lower():
                return self._missing()
            case openai.RateLimitError() | openai.InternalServerError():
                return VoiceUnavailableError(**details)
            case openai.APIStatusError():
                return VoiceRefusedError(**details)
            case _:
                return VoiceUnavailableError(**details)


def _param(message: Message) -> ChatCompletionMessageParam:
    match message.role:
        case "system":
            return {"role": "system", "content": message.content}
        case "assistant":
            return {"role": "assistant", "content": message.content}
        case _:
            return {"role": "user", "content": message.content}


def _texts(chunk: ChatCompletionChunk) -> list[Delta]:
    """Return a chunk's text or thoughts; the empty text of one without any is still a sign of life."""
    deltas = [choice.delta for choice in chunk.choices or [] if choice.delta]
    if texts := [delta.content for delta in deltas if delta.content]:
        return list(texts)
    has_thought = any((delta.model_extra or {}).get(name) for delta in deltas for name in _THOUGHT_FIELDS)
    return [Thought()] if has_thought else [""]
