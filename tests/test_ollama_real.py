"""The voice on a real Ollama: runs only where OLLAMA_HOST names one that has the model.

OLLAMA_HOST=127.0.0.1:11434 CERVELLA_TEST_OLLAMA_MODEL=qwen3:0.6b pytest tests/test_ollama_real.py
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from cervella_rag.domain import Composed, Message, Prompt, Spoken, Token, Window
from cervella_rag.errors import ModelMissingError
from cervella_rag.llm.ollama import OllamaLLM, OllamaOptions
from cervella_rag.llm.speech import Patience
from cervella_rag.settings import LLMSettings

HOST = os.environ.get("OLLAMA_HOST", "")
MODEL = os.environ.get("CERVELLA_TEST_OLLAMA_MODEL", LLMSettings().ollama_model)

pytestmark = [
    pytest.mark.skipif(not HOST, reason="OLLAMA_HOST names no Ollama server to speak through"),
    pytest.mark.timeout(900),  # the first answer may wait for the model to be loaded
]

SHORT = "Answer with one word: what is the capital of Italy?"
LONG = "Count from one to five hundred in words, without leaving any number out."


class QuestionWriter:
    """Writes the question alone."""

    def go_on(self, prompt: Prompt, said: str) -> str:
        """See `PromptWriter`."""
        return f"Go on after: {said[-20:]}"

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """See `PromptWriter`."""
        return Composed(self.messages(prompt, window))

    def messages(self, prompt: Prompt, window: Window) -> tuple[Message, ...]:
        """Return what is sent."""
        return (Message("user", prompt.question),)

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """See `PromptWriter`."""
        return ()


@asynccontextmanager
async def voice(answer_tokens: int = 64, model: str = MODEL) -> AsyncIterator[OllamaLLM]:
    window = Window(2048, answer_tokens)
    llm = OllamaLLM(
        OllamaOptions(HOST, model, "5m", 0.0),
        QuestionWriter(),
        window,
        Patience(first_seconds=600, between_seconds=60),
    )
    try:
        yield llm
    finally:
        await llm.aclose()


async def ask(llm: OllamaLLM, question: str) -> tuple[list[str], Spoken]:
    events = [event async for event in llm.stream(Prompt(question, "en", (), (), grounded=False))]
    assert isinstance(events[-1], Spoken)
    return [event.text for event in events if isinstance(event, Token)], events[-1]


def test_the_model_is_there() -> None:
    async def run() -> str:
        async with voice() as llm:
            return await llm.check()

    assert asyncio.run(run()) == MODEL


def test_a_short_answer_is_whole_and_counted() -> None:
    async def run() -> tuple[list[str], Spoken]:
        async with voice() as llm:
            return await ask(llm, SHORT)

    pieces, spoken = asyncio.run(run())
    assert "Rom" in "".join(pieces)
    assert "<think>" not in "".join(pieces)
    assert (spoken.mode, spoken.model, spoken.finish_reason) == ("ollama", MODEL, "stop")
    assert spoken.prompt_tokens > 10
    assert 0 < spoken.completion_tokens < 64


def test_a_long_answer_comes_piece_by_piece_and_is_cut_where_it_must() -> None:
    async def run() -> tuple[list[str], Spoken]:
        async with voice(answer_tokens=16) as llm:
            return await ask(llm, LONG)

    pieces, spoken = asyncio.run(run())
    assert len(pieces) > 1
    assert (spoken.finish_reason, spoken.completion_tokens) == ("length", 16)


def test_a_stopped_answer_frees_the_model() -> None:
    async def run() -> None:
        async with voice(answer_tokens=2000) as llm:
            await ask(llm, SHORT)  # so that the model is loaded
            began = time.monotonic()
            await ask(llm, SHORT)
            alone_seconds = time.monotonic() - began
            async with aclosing(llm.stream(Prompt(LONG, "en", (), (), grounded=False))) as events:
                await anext(events)
            # The rest of the long answer would be two thousand tokens more.
            async with asyncio.timeout(3 * alone_seconds + 2):
                await ask(llm, SHORT)

    asyncio.run(run())


def test_a_model_that_is_not_there_is_missing() -> None:
    async def run() -> None:
        async with voice(model="cervella-has-no-such-model") as llm:
            with pytest.raises(ModelMissingError, match="ollama pull cervella-has-no-such-model"):
                await llm.check()
            with pytest.raises(ModelMissingError, match="ollama pull cervella-has-no-such-model"):
                await ask(llm, SHORT)

    asyncio.run(run())
