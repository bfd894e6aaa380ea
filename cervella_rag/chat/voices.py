"""The voices in their order: the first that can speak does; none is waited for twice in a row."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from cervella_rag.chat.hosts import Hosts
from cervella_rag.domain import (
    HostLoad,
    Message,
    PassedOver,
    Prompt,
    Spoken,
    Status,
    Token,
    VoiceEvent,
    VoiceState,
)
from cervella_rag.errors import CervellaError, ConfigurationError, PromptTooLongError, UpstreamError
from cervella_rag.protocols import LLM

_log = logging.getLogger(__name__)


class Voices:
    """Several voices as one.

    A voice that fails before its first word is passed over, and left alone for a while. One that breaks
    off later is an error: what was shown cannot be taken back.

    Args:
        voices: In order of preference; the last one's error is told when none can speak.
        rest_seconds: How long a voice that failed is left alone, where there is another.
    """

    def __init__(
        self, voices: Sequence[LLM], rest_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.voices = tuple(voices)
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._resting: dict[str, tuple[float, PassedOver]] = {}

    async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """Yield what the first voice that can speak says. See `LLM`."""
        passed_over: list[PassedOver] = []
        for voice in self.voices[:-1]:
            if rest := self._rest(voice):
                passed_over.append(rest)
                continue
            has_spoken = False
            try:
                async with aclosing(self._hear(voice, prompt, passed_over)) as events:
                    async for event in events:
                        has_spoken = has_spoken or isinstance(event, Token)
                        yield event
            except (UpstreamError, ConfigurationError, PromptTooLongError) as error:
                if has_spoken:
                    raise
                _log.info("%s", error)
                failed = PassedOver(voice.mode, str(error))
                passed_over.append(failed)
                if not isinstance(error, PromptTooLongError):  # of which only this question is the cause
                    self._resting[voice.mode] = (self._clock() + self._rest_seconds, failed)
            else:
                self._resting.pop(voice.mode, None)
                return
        async with aclosing(self._hear(self.voices[-1], prompt, passed_over)) as events:
            async for event in events:
                yield event

    @staticmethod
    async def _hear(
        voice: LLM, prompt: Prompt, passed_over: Sequence[PassedOver]
    ) -> AsyncGenerator[VoiceEvent]:
        yield Status(voice.mode)
        async with aclosing(voice.stream(prompt)) as events:
            async for event in events:
                if isinstance(event, Spoken):
                    yield replace(event, passed_over=tuple(passed_over))
                else:
                    yield event

    def _rest(self, voice: LLM) -> PassedOver | None:
        until, failed = self._resting.get(voice.mode, (0.0, None))
        return failed if self._clock() < until else None

    async def states(self, language: str) -> tuple[VoiceState, ...]:
        """Return every voice's health, in order."""
        return tuple(await asyncio.gather(*(self._state(voice, language) for voice in self.voices)))

    def loads(self) -> tuple[HostLoad, ...]:
        """Return what every server does that a voice speaks through."""
        return tuple(load for voice in self.voices if isinstance(voice, Hosts) for load in voice.loads())

    async def _state(self, voice: LLM, language: str) -> VoiceState:
        if isinstance(voice, Hosts):
            hosts = await voice.states(language)
            told = next((host for host in hosts if host.ready), hosts[0])
            return VoiceState(voice.mode, voice.model, told.ready, told.detail, hosts)
        try:
            detail = await voice.check()
        except CervellaError as error:
            return VoiceState(voice.mode, voice.model, ready=False, detail=error.text(language))
        return VoiceState(voice.mode, voice.model, ready=True, detail=detail)

    async def wake(self) -> None:
        """Have the first voice that could speak get ready, before anybody asks."""
        for voice in self.voices:
            if (await self._state(voice, "en")).ready:
                voice.prepare()
                return

    def prepare(self, mode: str, history: Sequence[Message]) -> None:
        """Have the voice that just spoke begin on what its next prompt will begin with."""
        for voice in self.voices:
            if voice.mode == mode:
                voice.prepare(history)

    async def aclose(self) -> None:
        """Let go of everything."""
        await asyncio.gather(*(voice.aclose() for voice in self.voices))
