"""A turn while it goes on: what was heard, what of it may be shown, and how it ended."""

from __future__ import annotations

import time

from cervella_rag.chat.citations import CitationCheck
from cervella_rag.chat.exact_words import Stated
from cervella_rag.chat.guard import Guard
from cervella_rag.chat.not_found import ADMITTED, DOUBTFUL, UNFOUNDED
from cervella_rag.domain import Citation, Prompt, Spoken, Status, Token, VoiceEvent
from cervella_rag.marks import MARK
from cervella_rag.memory.lexical import stems, words

_FEWEST_WORDS_OF_AN_ECHO = 3
"""Below it stand answers: "Sei ore" to who asks for hours."""


class Turning:
    """What was said so far, and how it ended."""

    def __init__(self, prompt: Prompt, check: CitationCheck, clock: Clock, guard: Guard) -> None:
        self.prompt = prompt
        self.guard = guard
        self.check = check
        self.clock = clock
        self.text = ""
        self.spoken = Spoken("", "")
        self.is_echo = False
        self.refusal = ""
        self.stated: tuple[Citation, ...] = ()
        self._from_voice = 0  # where in the text the voice begins
        self._to_voice: int | None = None  # and where it ends, once it has
        self._is_quote = False
        self._quotes = False

    @property
    def voice_span(self) -> tuple[int, int]:
        """Where the voice's words begin and end, between what code stated before them and said after."""
        return self._from_voice, len(self.text) if self._to_voice is None else self._to_voice

    @property
    def voiced(self) -> str:
        """What the voice said."""
        return self.text[slice(*self.voice_span)]

    def state(self, stated: Stated, *, is_all: bool) -> Token | None:
        """Say what code has counted; the text is its own and the memory's, redacted when it was read."""
        if not stated.text:
            return None
        self.clock.mark("first_token")
        self.stated = stated.citations
        if is_all:  # no model has a part in it
            self.spoken = Spoken("memory_only", "")
        said = self._say(stated.text + ("" if is_all else "\n\n"))
        self._from_voice = len(self.text)
        return said

    def hear(self, event: VoiceEvent) -> Status | Token | None:
        """Take an event of the voice; return what may be shown of it."""
        match event:
            case Token(piece, is_quote):
                self.clock.mark("first_token")
                self._is_quote = is_quote
                # The memory's own words were redacted when they were read.
                shown = piece if is_quote else self.guard.feed(piece)
                return self._say(self.check.feed(shown, is_quote=is_quote))
            case Status():
                return event
            case Spoken():
                self.spoken = event
                return None

    def rest(self) -> Token | None:
        """Return what was held back to the end."""
        held = self.check.feed(self.guard.finish(), is_quote=self._is_quote)
        rest = self._say(held + self.check.finish())
        self._to_voice = len(self.text)
        if self.spoken.mode != "memory_only":
            self.is_echo = self.prompt.grounded and self._only_repeats()
            self.refusal = "" if self.is_echo else self._refusal()
        return rest

    def _refusal(self) -> str:
        """Return how the answer failed to stand on the memory, or "" where it does or needs not."""
        check = self.check
        if self.prompt.about_her or (check.supported and self.prompt.grounded):
            return ""
        if check.admitted:
            return ADMITTED
        if check.unsupported and not check.supported:
            return UNFOUNDED
        return DOUBTFUL if check.supported else ""

    def quote(self, text: str) -> Token | None:
        """Say a piece of the memory's own text, apart from what was said before."""
        is_first = not self._quotes
        self._quotes = True
        return self._say(("\n\n" if is_first else "") + self.check.feed(text, is_quote=True))

    def _only_repeats(self) -> bool:
        """Tell whether the answer is the question again: small models do that, with a citation."""
        said = stems(words(MARK.sub("", self.voiced)))
        return len(said) >= _FEWEST_WORDS_OF_AN_ECHO and said <= stems(words(self.prompt.question))

    def _say(self, checked: str) -> Token | None:
        self.text += checked
        return Token(checked) if checked else None


class Clock:
    """Milliseconds since the turn began, each mark taken once."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Take the time, unless it was taken under this name."""
        self.marks.setdefault(name, round((time.perf_counter() - self._started) * 1000, 2))
