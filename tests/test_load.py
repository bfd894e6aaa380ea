"""Sixteen agents with fifty questions each, all at once, before one slow voice."""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from cervella_rag import bootstrap
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import Prompt, VoiceEvent

from .system import open_files
from .test_assistant import ScriptedLLM

KEYS = {"rafa": "0123456789abcdef-rafa", "agente": "0123456789abcdef-agente"}
AGENTS, QUESTIONS = 16, 50
RAISED = {"CHAT_PER_MINUTE": "100000", "WAITING_PER_KEY": "1000", "GENERATIONS": "4"}


class SlowLLM(ScriptedLLM):
    """Takes its time before every answer, and counts how many it gives at once."""

    def __init__(self) -> None:
        super().__init__("Tiene ", "per ", "sei ", "ore ", "[1].")
        self.at_once = self.most_at_once = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """Yield the pieces, after a while."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.02)
            async for event in super().stream(prompt):
                yield event
        finally:
            self.at_once -= 1
            self.prompts.clear()


@contextmanager
def serving(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Heard:
    """One answer: whose, its status, when it came, and when one may ask again."""

    agent: int
    status: int
    seconds: float
    retry_after: str | None
    code: str | None


async def ask_all(url: str) -> list[Heard]:
    heard: list[Heard] = []
    started = time.monotonic()

    async def ask(client: httpx2.AsyncClient, agent: int, number: int) -> None:
        # Half of them stream; who waits is told so, and is answered in the same order.
        body = {"message": f"Quante ore tiene il forno? ({number})", "stream": number % 2 == 0}
        answer = await client.post("/v1/chat", json=body)
        code = answer.json()["code"] if answer.status_code != 200 else None
        assert code or "sei ore" in answer.text or "event: done" in answer.text
        seconds = time.monotonic() - started
        heard.append(Heard(agent, answer.status_code, seconds, answer.headers.get("retry-after"), code))

    async def agent(number: int) -> None:
        headers = {"x-api-key": list(KEYS.values())[number % 2], "x-client-id": f"agent-{number}"}
        limits = httpx2.Limits(max_connections=QUESTIONS)
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=90, limits=limits) as client:
            await asyncio.gather(*(ask(client, number, question) for question in range(QUESTIONS)))

    await asyncio.gather(*map(agent, range(AGENTS)))
    return heard


def make_app(january: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> tuple[Any, SlowLLM]:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    monkeypatch.setenv("CERVELLA_API__KEYS", ",".join(f"{name}:{key}" for name, key in KEYS.items()))
    for name, value in settings.items():
        monkeypatch.setenv(f"CERVELLA_API__{name}", value)
    loaded = bootstrap.load_settings()
    bootstrap.make_indexer(loaded).run(bootstrap.find_roots(loaded, [january]))
    app, voice = bootstrap.make_app(loaded), SlowLLM()
    app.state.assistant = replace(app.state.assistant, voices=Voices([voice], rest_seconds=0))
    return app, voice


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """As many open files as 800 connections with both their ends need."""
    with open_files(2500):
        yield


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def test_all_are_answered_in_turns_and_in_bounded_memory(
    january: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app, voice = make_app(january, monkeypatch, **RAISED, GENERATIONS_PER_KEY="2")
    before = memory_mb()
    with serving(app) as url:
        heard = asyncio.run(ask_all(url))
    grown = memory_mb() - before
    assert Counter(one.status for one in heard) == {200: AGENTS * QUESTIONS}
    assert voice.most_at_once == 4
    assert app.state.queue.running == app.state.queue.waiting == 0
    means = [statistics.mean(one.seconds for one in heard if one.agent == n) for n in range(AGENTS)]
    spread, total = max(means) / min(means), max(one.seconds for one in heard)
    shown = (
        f"{len(heard)} answers in {total:.1f} s; mean wait of an agent {min(means):.1f} to"
        f" {max(means):.1f} s (spread {spread:.2f}); memory grown by {grown:.0f} MB, both ends"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{shown}\n")
    assert spread < 1.5
    assert grown < 300


def test_with_the_default_limits_the_rest_is_told_when_to_come_again(
    january: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = make_app(january, monkeypatch)
    with serving(app) as url:
        heard = asyncio.run(ask_all(url))
    answered = Counter(one.status for one in heard)
    assert answered == {200: 20, 429: AGENTS * QUESTIONS - 20}  # ten a minute, two keys
    refused = [one for one in heard if one.status == 429]
    assert {one.code for one in refused} == {"rate_limited"}
    assert all(1 <= int(one.retry_after or 0) <= 61 for one in refused)
