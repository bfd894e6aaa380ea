"""An answer that breaks a hard rule is said once more: nothing of it is shown before it is whole."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from cervella_rag.domain import Prompt, Spoken, Status, Token, VoiceEvent
from cervella_rag.errors import CervellaError

_log = logging.getLogger(__name__)

Speak = Callable[[Prompt], AsyncGenerator[VoiceEvent]]


async def said_well(
    speak: Speak, prompt: Prompt, faults: Callable[[str], tuple[str, ...]]
) -> AsyncGenerator[VoiceEvent]:
    """Yield what a voice says or, where that breaks a rule, what it says when told so.

    The second answer counts where it breaks fewer rules; where it cannot be had, the first stands. What
    is quoted from the memory breaks none.

    Args:
        speak: Prompt to what a voice says.
        prompt: What is asked.
        faults: Answer to the names of the rules it breaks.
    """
    first = _Said()
    async with aclosing(first.hear(speak(prompt))) as states:
        async for state in states:
            yield state
    broken = () if first.is_quote else faults(first.text)
    chosen = first
    if broken:
        second = _Said()
        try:
            async with aclosing(
                second.hear(speak(replace(prompt, draft=first.text, faults=broken)))
            ) as states:
                async for state in states:
                    yield state
        except CervellaError as error:
            _log.info("not said again: %s", error)
        else:
            if second.text.strip() and len(faults(second.text)) < len(broken):
                chosen = second
    for token in chosen.tokens:
        yield token
    if chosen.end:
        yield replace(chosen.end, said_again_for=broken if chosen is not first else ())


class _Said:
    """An answer, held."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.end: Spoken | None = None

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def is_quote(self) -> bool:
        return any(token.is_quote for token in self.tokens)

    async def hear(self, events: AsyncGenerator[VoiceEvent]) -> AsyncGenerator[Status]:
        async with aclosing(events):
            async for event in events:
                match event:
                    case Token():
                        self.tokens.append(event)
                    case Spoken():
                        self.end = event
                    case Status():
                        yield event
