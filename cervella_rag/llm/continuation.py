"""An answer cut at its limit goes on: what is asked for next, and where the two parts meet.

The stream stays one stream. What was shown is never taken back, so whatever goes wrong with a further
part, the answer stands as it was and its end still says that it was cut.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from cervella_rag.domain import Message, Spoken, Status, Token, VoiceEvent
from cervella_rag.errors import CervellaError
from cervella_rag.tokens import bound_tokens

_log = logging.getLogger(__name__)

_FEWEST_TOKENS = 48
"""Below it a further part would be cut in its first sentence."""
_AROUND_TOKENS = 100
"""For the marks around two more messages and the words that ask to go on."""
_LONGEST_OVERLAP = 240
_SHORTEST_OVERLAP = 12
"""In characters. Shorter ones are chance: a part that begins with "la" after one that ends with it."""

_LONGEST_CHANCE = 40
"""In characters. List items may well begin alike; nothing that begins with as much is the rest."""

_LONGEST_LOOP_WORDS = 60
_FEWEST_LOOP_WORDS = 12
_TIMES_ROUND = 3


GOING_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""What tells a server to go on with the last message: vLLM, SGLang, and llama.cpp from May 2026 on.

Reference: vLLM's extra parameters for chat completions; llama.cpp pull request 23012.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is sent.

    Attributes:
        messages: The prompt.
        answer_tokens: Longest answer.
        said: The answer so far, which is to be gone on with; mostly nothing. Without blanks at its end,
            which chat templates take away.
        go_on: Words that ask for the rest, for a server that cannot go on with a message.
    """

    messages: tuple[Message, ...]
    answer_tokens: int
    said: str = ""
    go_on: str = ""

    @property
    def open_ended(self) -> tuple[Message, ...]:
        """The messages with the answer so far as the last one, to be gone on with."""
        return (*self.messages, Message("assistant", self.said)) if self.said else self.messages

    @property
    def asking_on(self) -> tuple[Message, ...]:
        """The messages with the answer so far, and a user who asks for the rest."""
        return *self.open_ended, Message("user", self.go_on)


Say = Callable[[Asked], AsyncGenerator[VoiceEvent]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an answer may go.

    Attributes:
        context_tokens: Prompt and answer together.
        prompt_tokens: Length of the prompt by our own count; what a server counts weighs where it is more.
        continuations: How often it is gone on with, at most.
    """

    context_tokens: int
    prompt_tokens: int
    continuations: int


async def say_all(
    say: Say, first: Asked, limits: Limits, go_on: Callable[[str], str]
) -> AsyncGenerator[VoiceEvent]:
    """Yield what a voice says and, where it is cut at its limit and there is room, what it says next.

    Args:
        say: Sends what is asked. Of a further part no word need come: the answer was whole.
        first: The prompt.
        limits: How far the answer may go.
        go_on: The answer so far to the words that ask for the rest.

    Raises:
        CervellaError: What the first part raises; of a further part nothing.
    """
    part = _Part(Joint(""))
    async with aclosing(part.hear(say(first), shows_status=True)) as events:
        async for event in events:
            yield event
    said, end = part.text, part.end
    while end and end.finish_reason == "length" and end.continued < limits.continuations:
        room = _room(limits, said, end)
        if room < _FEWEST_TOKENS or is_looping(said):
            break
        further = replace(
            first,
            answer_tokens=min(first.answer_tokens, room),
            said=said.rstrip(),
            go_on=go_on(said.rstrip()),
        )
        part = _Part(Joint(said))
        try:
            async with aclosing(part.hear(say(further), shows_status=False)) as events:
                async for event in events:
                    yield event
        except CervellaError as error:
            _log.info("a cut answer could not be gone on with: %s", error)
            break
        if part.end is None or part.joint.is_lost:
            break
        said, end = said + part.text, _together(end, part.end)
    if end:
        yield end


def _room(limits: Limits, said: str, end: Spoken) -> int:
    """Return how many tokens a further part may have."""
    # What earlier parts counted is in the sum of all, so only an only part's counts tell the length.
    read = 0 if end.continued else end.prompt_tokens + end.completion_tokens
    answer = bound_tokens(said)
    used = max(read, limits.prompt_tokens + max(answer, end.completion_tokens))
    return limits.context_tokens - used - _AROUND_TOKENS


def _together(before: Spoken, further: Spoken) -> Spoken:
    return replace(
        further,
        prompt_tokens=before.prompt_tokens + further.prompt_tokens,
        completion_tokens=before.completion_tokens + further.completion_tokens,
        continued=before.continued + 1,
    )


def is_looping(text: str) -> bool:
    """Tell whether a text ends going round in circles, as small models do until they are cut."""
    words = text.split()[-_LONGEST_LOOP_WORDS * _TIMES_ROUND :]
    return any(_repeats(words, size) for size in range(1, len(words) // _TIMES_ROUND + 1))


def _repeats(words: Sequence[str], size: int) -> bool:
    times = max(_TIMES_ROUND, math.ceil(_FEWEST_LOOP_WORDS / size))
    last = words[-size:]
    return len(words) >= size * times and all(
        words[len(words) - size * (time + 1) : len(words) - size * time] == last for time in range(times)
    )


class _Part:
    """One part of an answer as it is heard."""

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.text = ""
        self.end: Spoken | None = None

    async def hear(
        self, events: AsyncGenerator[VoiceEvent], *, shows_status: bool
    ) -> AsyncGenerator[VoiceEvent]:
        """Yield what may be shown; the end is kept."""
        async with aclosing(events):
            async for event in events:
                match event:
                    case Token(text, is_quote):
                        for token in self._shown(self.joint.feed(text), is_quote=is_quote):
                            yield token
                        if self.joint.is_lost:
                            return
                    case Status() if shows_status:
                        yield event
                    case Spoken():
                        self.end = event
        for token in self._shown(self.joint.finish()):
            yield token

    def _shown(self, text: str, *, is_quote: bool = False) -> tuple[Token, ...]:
        self.text += text
        return (Token(text, is_quote=is_quote),) if text else ()


class Joint:
    """Where a further part meets what was said: what it says again is left out, however it is cut.

    A server that cannot go on with a message lets the model begin anew: with its last words, or with the
    whole answer. The latter is passed over as far as it is the same; otherwise nothing can be joined.

    Args:
        said: The answer so far; "" where nothing is to be joined.

    Attributes:
        is_lost: The part is another answer, not the rest of this one; nothing of it is shown.
    """

    def __init__(self, said: str) -> None:
        self._said = said.rstrip()
        self._blank = said[len(self._said) :]
        self._tail = self._said[-_LONGEST_OVERLAP:]
        self._held: str | None = "" if self._said else None
        self.is_lost = False

    def feed(self, piece: str) -> str:
        """Return what may be shown now; what may be a repetition is held."""
        if self.is_lost:
            return ""
        if self._held is None:
            return piece
        self._held += piece
        begun = self._held.lstrip()
        if not begun or begun in self._tail or self._said.lstrip().startswith(begun):
            return ""
        return self._release()

    def finish(self) -> str:
        """Return what was held for nothing."""
        return "" if self.is_lost or self._held is None else self._release()

    def _release(self) -> str:
        text, self._held = self._held or "", None
        begun, whole = text.lstrip(), self._said.lstrip()
        if len(whole) >= _SHORTEST_OVERLAP and begun.startswith(whole):
            return begun[len(whole) :]
        if _common(begun, whole) >= _LONGEST_CHANCE:
            self.is_lost = True
            return ""
        for size in range(min(len(begun), len(self._tail)), _SHORTEST_OVERLAP - 1, -1):
            if self._tail.endswith(begun[:size]):
                return begun[size:]
        return text[_common(text, self._blank) :]


def _common(one: str, other: str) -> int:
    """Return how many characters two texts share at their beginning."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
