"""A real model in this process: it streams, counts, is cut, stops at once, remembers its persona."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cervella_rag.domain import Composed, Message, Prompt, Spoken, Status, Token, VoiceEvent, Window
from cervella_rag.errors import ModelFileError, VoiceRefusedError
from cervella_rag.llm.llama_cpp import LlamaCppLLM
from cervella_rag.llm.llama_engine import LlamaCppOptions
from cervella_rag.llm.speech import Patience

STOP_GENERATING_SECONDS = 0.5
STOP_READING_SECONDS = 1.0

PREFIX = (Message("system", "You are Ada, a patient teacher of arithmetic. " * 12),)


@dataclass
class Writer:
    """A prefix and the question, with no memory between them."""

    question: str = "Count slowly from one to a hundred, in words."

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """See `PromptWriter`."""
        return *PREFIX, *history

    def go_on(self, prompt: Prompt, said: str) -> str:
        """See `PromptWriter`."""
        return f"Go on after: {said[-20:]}"

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """See `PromptWriter`."""
        return Composed(self.messages(prompt, window))

    def messages(self, prompt: Prompt, window: Window) -> tuple[Message, ...]:
        """Return what is sent."""
        return *self.prefix(prompt.history, window), Message("user", prompt.question or self.question)


MakeVoice = Callable[..., LlamaCppLLM]


@pytest.fixture
def make_voice(small_model: Path, tmp_path: Path) -> Iterator[MakeVoice]:
    """Make voices that are stopped at the end: `make_voice(answer_tokens=8)`."""
    made: list[LlamaCppLLM] = []

    def make(answer_tokens: int = 400, model: Path = small_model) -> LlamaCppLLM:
        options = LlamaCppOptions(model, tmp_path / "states", batch_tokens=16, threads=None)
        voice = LlamaCppLLM(options, Writer(), Window(2048, answer_tokens, compact=True), Patience(60, 30))
        made.append(voice)
        return voice

    yield make
    for voice in made:
        asyncio.run(voice.aclose())


def asking(question: str = "", *history: Message) -> Prompt:
    return Prompt(question, "en", (), (), grounded=False, history=history)


def heard(voice: LlamaCppLLM, prompt: Prompt) -> list[VoiceEvent]:
    async def collect() -> list[VoiceEvent]:
        return [event async for event in voice.stream(prompt)]

    return asyncio.run(collect())


def seconds_until_free(voice: LlamaCppLLM) -> float:
    """Return how long the engine's thread is still busy."""
    started = time.perf_counter()
    voice._thread.submit(lambda: None).result(timeout=30)
    return time.perf_counter() - started


async def leave_at(events: AsyncGenerator[VoiceEvent], is_there: Callable[[VoiceEvent], bool]) -> None:
    async for event in events:
        if is_there(event):
            break
    await events.aclose()


def reads(event: VoiceEvent) -> bool:
    return isinstance(event, Status) and event.done > 0


def first_read(events: Sequence[VoiceEvent]) -> int:
    """Return how many prompt tokens were known before the first batch."""
    return next(event.done for event in events if isinstance(event, Status) and event.total)


def test_streams_and_counts(make_voice: MakeVoice) -> None:
    events = heard(make_voice(answer_tokens=24), asking("Say hello."))
    tokens = [event for event in events if isinstance(event, Token)]
    end = events[-1]
    assert isinstance(end, Spoken)
    assert (end.mode, end.model) == ("llama_cpp", "SmolLM2-135M-Instruct.Q4_1")
    assert 0 < len(tokens) <= end.completion_tokens <= 24
    assert end.prompt_tokens > 100


def test_an_answer_at_its_limit_is_cut(make_voice: MakeVoice) -> None:
    end = heard(make_voice(answer_tokens=8), asking())[-1]
    assert isinstance(end, Spoken)
    assert (end.finish_reason, end.completion_tokens) == ("length", 8)


def test_tells_how_far_it_has_read(make_voice: MakeVoice) -> None:
    events = heard(make_voice(answer_tokens=8), asking("word " * 300))
    counts = [(event.done, event.total) for event in events if isinstance(event, Status) and event.total]
    assert counts == sorted(counts, key=lambda count: (count[1], count[0]))
    assert counts[-1][0] == counts[-1][1] > 300


def test_stops_while_generating(make_voice: MakeVoice) -> None:
    voice = make_voice()
    asyncio.run(leave_at(voice.stream(asking()), lambda event: isinstance(event, Token)))
    assert seconds_until_free(voice) < STOP_GENERATING_SECONDS


def test_stops_while_reading(make_voice: MakeVoice) -> None:
    voice = make_voice()
    voice.warm()
    asyncio.run(leave_at(voice.stream(asking("word " * 1400)), reads))
    assert seconds_until_free(voice) < STOP_READING_SECONDS


def test_stops_when_its_task_is_cancelled(make_voice: MakeVoice) -> None:
    voice = make_voice()

    async def cancel() -> None:
        is_speaking = asyncio.Event()

        async def listen() -> None:
            async for event in voice.stream(asking()):
                if isinstance(event, Token):
                    is_speaking.set()

        task = asyncio.create_task(listen())
        await is_speaking.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert seconds_until_free(voice) < STOP_GENERATING_SECONDS


def test_a_question_that_waits_can_leave_at_once(make_voice: MakeVoice) -> None:
    voice = make_voice(answer_tokens=60)
    voice.warm()  # loading holds the interpreter, which is not what is measured here

    async def both() -> tuple[float, list[VoiceEvent]]:
        first = asyncio.create_task(collect(voice.stream(asking())))
        second = asyncio.create_task(collect(voice.stream(asking("Say hello."))))
        await asyncio.sleep(0)
        started = time.perf_counter()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        return time.perf_counter() - started, await first

    waited, events = asyncio.run(both())
    assert waited < STOP_GENERATING_SECONDS
    assert isinstance(events[-1], Spoken)


async def collect(events: AsyncGenerator[VoiceEvent]) -> list[VoiceEvent]:
    return [event async for event in events]


def test_a_new_process_need_not_read_the_persona_again(make_voice: MakeVoice, tmp_path: Path) -> None:
    first = make_voice(answer_tokens=4)
    first.warm()
    asyncio.run(first.aclose())
    assert len(list((tmp_path / "states").glob("*.state"))) == 1
    assert first_read(heard(make_voice(answer_tokens=4), asking("Say hello."))) > 100


def test_a_damaged_state_costs_time_and_no_answer(make_voice: MakeVoice, tmp_path: Path) -> None:
    first = make_voice(answer_tokens=4)
    first.warm()
    asyncio.run(first.aclose())
    (state,) = (tmp_path / "states").glob("*.state")
    state.write_bytes(b"not a state")
    events = heard(make_voice(answer_tokens=4), asking("Say hello."))
    assert first_read(events) == 0
    assert isinstance(events[-1], Spoken)


def test_a_question_interrupts_the_preparation(make_voice: MakeVoice) -> None:
    voice = make_voice(answer_tokens=8)
    voice.prepare([Message("user", "word " * 1000), Message("assistant", "yes")])
    assert isinstance(heard(voice, asking("Say hello."))[-1], Spoken)


def test_the_next_turn_begins_five_times_sooner_than_cold(make_voice: MakeVoice) -> None:
    history = [
        message
        for number in range(4)
        for message in (
            Message("user", f"What is {number} + 1? " * 8),
            Message("assistant", "It is. " * 40),
        )
    ]

    def first_token_seconds(voice: LlamaCppLLM) -> float:
        started = time.perf_counter()
        asyncio.run(leave_at(voice.stream(asking("And 8 + 1?", *history)), lambda e: isinstance(e, Token)))
        return time.perf_counter() - started

    ratios = []
    for _ in range(3):
        voice = make_voice()
        voice.warm()  # loading is not what is measured
        cold = first_token_seconds(voice)
        voice.prepare(history)
        seconds_until_free(voice)
        ratios.append(cold / first_token_seconds(voice))
    assert sorted(ratios)[1] >= 5, ratios


@pytest.mark.parametrize(
    "content", [None, b"<html>not found</html>", b"GGUF", b"GGUF\x03\x00\x00\x00rubbish"]
)
def test_a_file_that_is_no_model_is_told(
    make_voice: MakeVoice, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "x.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.gguf"):
        heard(make_voice(model=file), asking("Say hello."))


def test_a_prompt_beyond_the_window_is_refused_by_the_engine_too(make_voice: MakeVoice) -> None:
    with pytest.raises(VoiceRefusedError, match="exceeds"):
        heard(make_voice(), asking("word " * 4000))


def test_a_folder_that_cannot_be_made_is_told(make_voice: MakeVoice, tmp_path: Path) -> None:
    (tmp_path / "states").write_text("a file where the folder should be")
    with pytest.raises(ModelFileError):
        heard(make_voice(), asking("Say hello."))
