"""What every model's stream has in common: patience, a second try, thoughts left out, an honest end.

An adapter turns its server's stream into deltas; this turns deltas into what a turn may show.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import ClassVar

import stamina

from cervella_rag.domain import Composition, Message, Prompt, Spoken, Status, Token, VoiceEvent, Window
from cervella_rag.errors import VoiceSilentError, VoiceTimeoutError, VoiceUnavailableError
from cervella_rag.protocols import PromptWriter

_WAIT_SECONDS = 0.2
_OPENING, _CLOSING = "<think>", "</think>"
_FIRST_SETTING = "CERVELLA_LLM__FIRST_TOKEN_SECONDS"
_BETWEEN_SETTING = "CERVELLA_LLM__BETWEEN_TOKENS_SECONDS"


@dataclass(frozen=True, slots=True)
class Thought:
    """A sign of life that is not for showing."""


Delta = str | Thought | Status | Spoken
"""A piece of text, a thought, progress, or the end as the server told it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a voice may be silent: before its first sign, loading included, and after it.

    Attributes:
        attempts: How often one that cannot be reached is asked; once where another can be asked instead.
    """

    first_seconds: float
    between_seconds: float
    attempts: int = 2


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose stream it is; for errors and for the answer."""

    mode: str
    model: str
    place: str


async def speak(
    start: Callable[[], AsyncGenerator[Delta]], speaker: Speaker, patience: Patience
) -> AsyncGenerator[VoiceEvent]:
    """Yield what may be shown of a stream, then how it ended.

    Before its first delta a stream that fails with `VoiceUnavailableError` is started once more; after
    it never, because what was shown cannot be taken back. A stream that ends without saying so is
    "incomplete"; what comes after the end it told is not read.

    Raises:
        VoiceTimeoutError: It was silent for too long.
        VoiceSilentError: It ended without a word.
        UpstreamError: What the adapter raises.
    """
    deltas, delta = await _open(start, speaker, patience)
    thinking = ThoughtFilter()
    said = thought = has_begun = False
    spoken = Spoken(speaker.mode, speaker.model, "incomplete")
    async with aclosing(deltas):
        while delta is not None:
            has_begun = has_begun or not isinstance(delta, Status) or delta.done > 0
            match delta:
                case str():
                    if shown := thinking.feed(delta):
                        said = said or bool(shown.strip())
                        yield Token(shown)
                case Thought():
                    thought = True
                case Status():
                    yield delta
                case Spoken():
                    spoken = delta
                    break
            delta = await _next(deltas, patience, speaker, has_begun=has_begun)
    if shown := thinking.finish():
        said = said or bool(shown.strip())
        yield Token(shown)
    if not said:
        reason = (
            "it only thought" if thought or thinking.has_thought else f"it ended {spoken.finish_reason!r}"
        )
        raise VoiceSilentError(voice=speaker.mode, place=speaker.place, reason=reason)
    yield spoken


async def _open(
    start: Callable[[], AsyncGenerator[Delta]], speaker: Speaker, patience: Patience
) -> tuple[AsyncGenerator[Delta], Delta | None]:
    async for attempt in stamina.retry_context(
        on=VoiceUnavailableError,
        attempts=patience.attempts,
        wait_initial=_WAIT_SECONDS,
        wait_jitter=0,
        timeout=None,
    ):
        with attempt:
            deltas = start()
            return deltas, await _next(deltas, patience, speaker, has_begun=False)
    raise AssertionError("the last attempt returns or raises")


async def _next(
    deltas: AsyncGenerator[Delta], patience: Patience, speaker: Speaker, *, has_begun: bool
) -> Delta | None:
    """Return the next delta, or None at the end; a stream that is too slow is stopped."""
    seconds = patience.between_seconds if has_begun else patience.first_seconds
    try:
        async with asyncio.timeout(seconds):
            return await anext(deltas, None)
    except TimeoutError as error:
        setting = _BETWEEN_SETTING if has_begun else _FIRST_SETTING
        raise VoiceTimeoutError(
            voice=speaker.mode, place=speaker.place, seconds=seconds, setting=setting
        ) from error


class ModelLLM(ABC):
    """A voice with a model: it writes a prompt within its window and speaks as `speak` lets it.

    Args:
        model: Name of the model.
        place: Where it is, for errors.
    """

    mode: ClassVar[str]

    def __init__(
        self, model: str, place: str, *, writer: PromptWriter, window: Window, patience: Patience
    ) -> None:
        self.model = model
        self._place = place
        self._writer = writer
        self._window = window
        self._patience = patience

    def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """See `LLM`."""
        composed = self._writer.compose(prompt, self._window)
        speaker = Speaker(self.mode, self.model, self._place)
        said = speak(lambda: self._deltas(composed.messages), speaker, self._patience)
        return _with_composition(said, composed.composition)

    @abstractmethod
    def _deltas(self, messages: Sequence[Message]) -> AsyncGenerator[Delta]:
        """Send the messages and yield what comes back."""

    def prepare(self, history: Sequence[Message] = ()) -> None:  # noqa: B027 - a server has its own cache
        """Do nothing: a server has its own cache of what it was sent."""


async def _with_composition(
    said: AsyncGenerator[VoiceEvent], composition: Composition | None
) -> AsyncGenerator[VoiceEvent]:
    async with aclosing(said):
        async for event in said:
            yield replace(event, composition=composition) if isinstance(event, Spoken) else event


class ThoughtFilter:
    """Leaves out what stands between `<think>` and `</think>`, however the stream cuts the marks.

    Attributes:
        has_thought: Whether anything was left out.
    """

    def __init__(self) -> None:
        self.has_thought = False
        self._held = ""
        self._is_inside = False
        self._is_after = False  # only blanks have come since a thought ended; they go with it

    def feed(self, piece: str) -> str:
        """Return what may be shown now; the beginning of a mark is held until it is known to be one."""
        text, shown = self._held + piece, []
        while True:
            mark = _CLOSING if self._is_inside else _OPENING
            before, found, after = text.partition(mark)
            if not found:
                break
            if self._is_inside:
                self._is_after = True
            else:
                shown.append(self._trimmed(before))
                self.has_thought = True
            text, self._is_inside = after, not self._is_inside
        cut = _cut_mark(text, mark)
        self._held = text[cut:]
        if not self._is_inside:
            shown.append(self._trimmed(text[:cut]))
        return "".join(shown)

    def _trimmed(self, text: str) -> str:
        if self._is_after:
            text = text.lstrip()
            self._is_after = not text
        return text

    def finish(self) -> str:
        """Return what was held for nothing."""
        held, self._held = self._held, ""
        return "" if self._is_inside else held


def _cut_mark(text: str, mark: str) -> int:
    """Return where `text` ends in the beginning of `mark`, or its length."""
    return next(
        (
            len(text) - size
            for size in range(min(len(mark) - 1, len(text)), 0, -1)
            if text.endswith(mark[:size])
        ),
        len(text),
    )


def one_line(error: object) -> str:
    """Return what a library says of a failure, short enough for a sentence."""
    name = type(error).__name__ if isinstance(error, BaseException) else ""
    return re.sub(r"\s+", " ", str(error)).strip()[:300].rstrip(". ") or name
