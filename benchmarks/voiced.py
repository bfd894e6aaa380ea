"""The program as it is served, with a voice that costs nothing.

`python -m benchmarks.voiced PORT TOKENS SECONDS`.

Every word of an answer tells when it was due, so that who hears it knows how late it came.
"""

from __future__ import annotations

import asyncio
import string
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from fastapi import FastAPI

from cervella_rag import bootstrap
from cervella_rag.bootstrap import make_persona, server
from cervella_rag.chat.prompt import PromptWriter as Writer
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import Message, Prompt, Spoken, Token, VoiceEvent, Window
from cervella_rag.protocols import PromptWriter
from cervella_rag.resources import resource
from cervella_rag.settings import Settings
from cervella_rag.templates import Templates

_LETTERS = string.ascii_lowercase
_LINE = 12
"""Words of a line."""


def moment_in_letters(seconds: float) -> str:
    """Return a moment of the system's monotonic clock as a word, to the microsecond."""
    number, word = int(seconds * 1e6), ""
    while number:
        number, place = divmod(number, len(_LETTERS))
        word = _LETTERS[place] + word
    return word


def moment_of(word: str) -> float:
    """Return the moment that a word tells."""
    number = 0
    for letter in word:
        number = number * len(_LETTERS) + _LETTERS.index(letter)
    return number / 1e6


class PacedVoice:
    """Writes its prompt as a model's voice does, then says words at an even pace.

    Args:
        writer: Writes the prompt.
        window: Of the model it stands for.
        tokens: How many it says.
        seconds: Between two of them; 0 for as fast as they are taken.
    """

    mode = "openai"
    model = "paced"

    def __init__(self, writer: PromptWriter, window: Window, tokens: int, seconds: float) -> None:
        self._writer = writer
        self._window = window
        self._tokens = tokens
        self._seconds = seconds

    async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """See `LLM`."""
        self._writer.compose(prompt, self._window)
        began = time.monotonic()
        for number in range(self._tokens):
            due = began + number * self._seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()) if self._seconds else 0)
            end = "\n" if number % _LINE == _LINE - 1 else " "
            yield Token(moment_in_letters(due if self._seconds else time.monotonic()) + end)
        yield Spoken(self.mode, self.model, prompt_tokens=1000, completion_tokens=self._tokens)

    async def check(self) -> str:
        """See `LLM`."""
        return "ready"

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """See `LLM`."""

    async def aclose(self) -> None:
        """See `LLM`."""


def main(port: int, tokens: int, seconds: float) -> None:
    """Serve until told to stop."""
    make = server.make_app

    def make_with_voice(settings: Settings) -> FastAPI:
        app = make(settings)
        persona, templates, llm = make_persona(settings), Templates(resource("prompts")), settings.llm
        writer = Writer(persona, templates, llm.memory_tokens, settings.persona.examples)
        window = Window(llm.context_tokens, llm.answer_tokens, llm.compact)
        voices = Voices([PacedVoice(writer, window, tokens, seconds)], rest_seconds=0)
        app.state.assistant = replace(app.state.assistant, voices=voices)
        return app

    server.make_app = make_with_voice
    server.serve(bootstrap.load_settings(), host="127.0.0.1", port=port, announce=lambda host, port: None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
