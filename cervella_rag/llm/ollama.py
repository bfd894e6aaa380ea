"""Ollama through its own client, by what the server really sends: see docs/voices.md.

The client never checks that a stream came to its end, yields text after it, and raises what its JSON
reader raises; all of it is settled here and in `speech`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import httpx
from ollama import AsyncClient, ChatResponse, ResponseError

from cervella_rag.domain import Spoken, Window
from cervella_rag.errors import (
    ModelMissingError,
    UpstreamError,
    VoiceBrokenError,
    VoiceRefusedError,
    VoiceUnavailableError,
)
from cervella_rag.llm.continuation import Asked
from cervella_rag.llm.speech import Delta, ModelLLM, Patience, Thought, one_line
from cervella_rag.protocols import PromptWriter

_CONNECT_SECONDS = 2.0
_CHECK_SECONDS = 3.0
_BUSY = 429
"""Never Ollama's own, but of what may stand before it."""

_FAILURES = (ResponseError, ConnectionError, httpx.RequestError, ValueError, AttributeError, TypeError)
"""Everything the client raises for what a server or a wire can do wrong."""


@dataclass(frozen=True, slots=True)
class OllamaOptions:
    """How a model is asked.

    Attributes:
        keep_alive: Go duration; how long the model stays loaded.
        temperature: Sampling temperature.
        stop: Words that end an answer.
        thinks: Whether a model that can think is let; what it thinks is not shown.
    """

    url: str
    model: str
    keep_alive: str
    temperature: float
    stop: tuple[str, ...] = ()
    thinks: bool = False


class OllamaLLM(ModelLLM):
    """Speaks through a model that Ollama serves."""

    mode = "ollama"

    def __init__(
        self, options: OllamaOptions, writer: PromptWriter, window: Window, patience: Patience
    ) -> None:
        super().__init__(options.model, options.url, writer=writer, window=window, patience=patience)
        self._options = options
        # The time limits are ours: a read limit of the wire would end a model that loads. A proxy between
        # her and her own model is never meant.
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        self._client = AsyncClient(options.url, timeout=timeout, trust_env=False)
        self._can_think: bool | None = None

    async def _deltas(self, asked: Asked) -> AsyncGenerator[Delta]:
        has_started = False
        try:
            if self._can_think is None:
                shown = await self._client.show(self.model)
                self._can_think = "thinking" in (shown.capabilities or ())
            lines = await self._client.chat(
                self.model,
                # A last message of the assistant is one the server goes on with.
                [{"role": message.role, "content": message.content} for message in asked.open_ended],
                stream=True,
                # Unset means "think" to a model that can; old servers refuse it for those that cannot.
                think=self._options.thinks if self._can_think else None,
                options=self._model_options(asked.answer_tokens),
                keep_alive=self._options.keep_alive,
            )
            # Breaking out of the client's stream alone would leave the model generating.
            async with aclosing(cast(AsyncGenerator[ChatResponse], lines)) as stream:
                async for line in stream:
                    has_started = True
                    text = line.message.content or ""
                    yield Thought() if line.message.thinking and not text else text
                    if line.done:
                        yield self._spoken(line)
        except _FAILURES as error:
            raise self._error(error, has_started) from error

    def _model_options(self, answer_tokens: int) -> dict[str, Any]:
        # The same window in every call: another num_ctx makes the server load the model anew.
        return {
            "num_ctx": self._window.context_tokens,
            "num_predict": answer_tokens,
            "temperature": self._options.temperature,
            **({"stop": list(self._options.stop)} if self._options.stop else {}),
        }

    def _spoken(self, line: ChatResponse) -> Spoken:
        return Spoken(
            mode=self.mode,
            model=line.model or self.model,
            finish_reason=line.done_reason or "incomplete",
            prompt_tokens=line.prompt_eval_count or 0,
            completion_tokens=line.eval_count or 0,
        )

    async def check(self) -> str:
        """Return the model's name where the server has it."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                listed = await self._client.list()
        except (TimeoutError, *_FAILURES) as error:
            raise self._error(error, has_started=False) from error
        names = {model.model for model in listed.models}
        if not {self.model, f"{self.model}:latest"} & names:
            raise self._missing()
        return self.model

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]  # the client leaves it so

    def _missing(self) -> ModelMissingError:
        return ModelMissingError(
            place=self._options.url, model=self.model, command=f"ollama pull {self.model}"
        )

    def _error(self, error: Exception, has_started: bool) -> UpstreamError:
        reason, status = _reason(error), getattr(error, "status_code", None)
        details = {"voice": self.mode, "place": self._options.url, "reason": reason}
        if has_started:
            return VoiceBrokenError(**details)
        if status == 404 and reason.startswith("model "):
            return self._missing()
        if isinstance(status, int) and 400 <= status < 500 and status != _BUSY:
            return VoiceRefusedError(**details)
        return VoiceUnavailableError(**details)


def _reason(error: Exception) -> str:
    """Return what the server said; its runner's errors come as JSON inside the text, or as an object."""
    text = error.error if isinstance(error, ResponseError) else error
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except ValueError:
            return one_line(text) or one_line(error)
    while isinstance(text, dict) and (inner := text.get("error") or text.get("message")):
        text = inner
    return one_line(text)
