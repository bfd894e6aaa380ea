"""One voice on several servers: the least busy healthy one speaks, and the next where it cannot begin.

Nothing here asks a server how it is: whether it answers is seen where it is asked to speak. A host that
failed rests, twice as long with every failure in a row, and is then tried by one question at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from cervella_rag.domain import HostLoad, HostState, Message, Prompt, Spoken, Token, VoiceEvent
from cervella_rag.errors import CervellaError, ConfigurationError, UpstreamError
from cervella_rag.protocols import LLM

_log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Conversations whose last host is known; the longest silent one is forgotten first."""


@dataclass(frozen=True, slots=True)
class Rest:
    """How long a host that failed is left alone, in seconds: first, and at most."""

    first_seconds: float
    longest_seconds: float

    def after(self, failures: int) -> float:
        """Return the rest after this many failures in a row."""
        return min(self.first_seconds * 2.0 ** min(failures - 1, 32), self.longest_seconds)


@dataclass(slots=True)
class _Host:
    place: str
    voice: LLM
    order: int
    running: int = 0
    answered: int = 0
    failed: int = 0
    failed_in_a_row: int = 0
    rests_until: float = 0.0

    def can_be_asked(self, now: float) -> bool:
        """Tell whether it may be asked; who failed last is tried by one question, not by all that wait."""
        return now >= self.rests_until and not (self.failed_in_a_row and self.running)


class Hosts:
    """Several servers of one kind as one `LLM`.

    A host that fails before its first word is set aside and the next one asked; one that breaks off
    later is set aside too, and its error told: what was shown cannot be taken back.

    Args:
        hosts: Name and voice of each, in order of preference; all of one mode and one window.
        rest: How long one that failed is left alone, where another can be asked.
    """

    def __init__(
        self, hosts: Iterable[tuple[str, LLM]], rest: Rest, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hosts = [_Host(place, voice, order) for order, (place, voice) in enumerate(hosts)]
        self._rest = rest
        self._clock = clock
        self._last = self._hosts[0]
        self._spoke: OrderedDict[int | None, _Host] = OrderedDict()

    @property
    def mode(self) -> str:
        """See `LLM`."""
        return self._hosts[0].voice.mode

    @property
    def model(self) -> str:
        """Name of the model on the host that spoke last."""
        return self._last.voice.model

    async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """See `LLM`."""
        *others, last = self._order(prompt)
        for host in others:
            has_spoken = False
            try:
                async with aclosing(self._hear(host, prompt)) as events:
                    async for event in events:
                        has_spoken = has_spoken or isinstance(event, Token)
                        yield event
            except (UpstreamError, ConfigurationError) as error:
                if has_spoken:
                    raise
                _log.warning("%s", error)
            else:
                return
        async with aclosing(self._hear(last, prompt)) as events:
            async for event in events:
                yield event

    async def _hear(self, host: _Host, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        host.running += 1
        try:
            async with aclosing(host.voice.stream(prompt)) as events:
                async for event in events:
                    if isinstance(event, Spoken):
                        self._has_answered(host, prompt)
                        yield replace(event, host=host.place)
                    else:
                        yield event
        except (UpstreamError, ConfigurationError):  # a question too long is no fault of the host's
            self._set_aside(host)
            raise
        finally:
            host.running -= 1

    def _order(self, prompt: Prompt) -> list[_Host]:
        """Return whom to ask: the least busy first, of equals the one that knows the conversation.

        Last comes one of those that rest, the one that has nearly rested: asking beats failing unasked.
        """
        now, known = self._clock(), self._spoke.get(_key_before(prompt))
        ready = [host for host in self._hosts if host.can_be_asked(now)]
        ready.sort(key=lambda host: (host.running, host is not known, host.order))
        resting = [host for host in self._hosts if host not in ready]
        resting.sort(key=lambda host: (host.rests_until, host.running, host.order))
        return ready + resting[:1]

    def _set_aside(self, host: _Host) -> None:
        host.failed += 1
        now = self._clock()
        if now >= host.rests_until:  # what fails together is one failure
            host.failed_in_a_row += 1
            host.rests_until = now + self._rest.after(host.failed_in_a_row)

    def _has_answered(self, host: _Host, prompt: Prompt) -> None:
        host.answered += 1
        host.failed_in_a_row, host.rests_until = 0, 0.0
        self._last = host
        key = hash(prompt.question)
        self._spoke[key] = host
        self._spoke.move_to_end(key)
        while len(self._spoke) > _REMEMBERED:
            self._spoke.popitem(last=False)

    async def check(self) -> str:
        """See `LLM`: what the first host says that could speak; else the first one's error."""
        answers = await asyncio.gather(
            *(host.voice.check() for host in self._hosts), return_exceptions=True
        )
        details = [answer for answer in answers if isinstance(answer, str)]
        if details:
            return details[0]
        raise next(answer for answer in answers if isinstance(answer, BaseException))

    async def states(self, language: str) -> tuple[HostState, ...]:
        """Return every host's health, in order."""
        return tuple(await asyncio.gather(*(self._state(host, language) for host in self._hosts)))

    async def _state(self, host: _Host, language: str) -> HostState:
        try:
            detail, is_ready = await host.voice.check(), True
        except CervellaError as error:
            detail, is_ready = error.text(language), False
        return HostState(host.place, is_ready, detail, self._load(host).resting_seconds)

    def loads(self) -> tuple[HostLoad, ...]:
        """Return what every host does and has done, in order."""
        return tuple(map(self._load, self._hosts))

    def _load(self, host: _Host) -> HostLoad:
        resting = max(0.0, host.rests_until - self._clock())
        return HostLoad(self.mode, host.place, host.running, host.answered, host.failed, round(resting, 1))

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """Let the host that spoke last get ready."""
        self._last.voice.prepare(history)

    async def aclose(self) -> None:
        """Let go of every host's connections."""
        await asyncio.gather(*(host.voice.aclose() for host in self._hosts))


def _key_before(prompt: Prompt) -> int | None:
    """Return the key of the question before this one: its conversation's, whoever brings the history."""
    asked = (said.content for said in reversed(prompt.history) if said.role == "user")
    return next((hash(text) for text in asked), None)
