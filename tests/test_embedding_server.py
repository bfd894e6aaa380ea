"""Vectors from a server, many requests at once: the bound holds, and the order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cervella_rag import bootstrap
from cervella_rag.errors import EmbedderError

from .embedding_double import embed
from .ollama_double import OllamaDouble, Whole, go_json, refusal
from .openai_double import OpenAIDouble, Reply, failure
from .test_embedders import make, served

BATCH, BATCHES = 4, 24
TEXTS = [f"documento numero {number}" for number in range(BATCH * BATCHES)]
EXPECTED = np.stack([embed(text) for text in TEXTS])


class SlowOllama(OllamaDouble):
    """Takes its time for every batch, the first the longest, and counts how many it makes at once."""

    def __init__(self, seconds: float, embed: Whole | None = None) -> None:
        super().__init__(can=["embedding"], **({"embed": embed} if embed else {}))
        self.seconds = seconds
        self.at_once = self.most_at_once = 0

    async def _answer(self, request: Any, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            is_first = isinstance(request.body, dict) and TEXTS[0] in request.body.get("input", [])
            await asyncio.sleep(self.seconds * (3 if is_first else 1))
            await super()._answer(request, writer)
        finally:
            self.at_once -= 1


@contextmanager
def slow(concurrency: int, seconds: float = 0.05, **replies: Whole) -> Iterator[tuple[SlowOllama, Any]]:
    """Yield a slow server and an embedder before it."""
    slow = SlowOllama(seconds, **replies)
    with served(slow) as ollama:
        yield (
            slow,
            make(name="ollama", model="m", url=ollama.url, batch_size=BATCH, concurrency=concurrency),
        )


def timed(concurrency: int) -> tuple[float, int]:
    """Return how long all took, and how many requests were under way at most."""
    with slow(concurrency) as (ollama, embedder):
        started = time.monotonic()
        made = embedder.embed_documents(TEXTS)
        took = time.monotonic() - started
        np.testing.assert_allclose((made * EXPECTED).sum(axis=1), 1, atol=1e-4)  # in their order
        assert len(ollama.bodies("/api/embed")) == BATCHES
        assert all(len(body["input"]) == BATCH for body in ollama.bodies("/api/embed"))
        return took, ollama.most_at_once


def test_the_bound_holds_and_more_at_once_is_faster() -> None:
    one, most_of_one = timed(1)
    eight, most_of_eight = timed(8)
    assert (most_of_one, most_of_eight) == (1, 8)
    # 26 waits in a row against 5; the machine may be busy, and the waits alone are 1.3 s against 0.25 s.
    assert one / eight > 2


def test_the_same_holds_before_an_openai_compatible_server() -> None:
    with served(OpenAIDouble()) as openai:
        openai.embeddings = [Reply(status=503, body=failure("overloaded"))] * 2
        embedder = make(name="openai", model="e5", url=openai.url, batch_size=BATCH, concurrency=6)
        made = embedder.embed_documents(TEXTS)
        np.testing.assert_allclose((made * EXPECTED).sum(axis=1), 1, atol=1e-4)
        assert len(openai.requests) == BATCHES + 2  # what failed in passing was asked for again


def test_a_failure_calls_off_what_has_not_begun() -> None:
    with slow(2, embed=refusal(400, "embedding contains NaN or Inf values")) as (ollama, embedder):
        with pytest.raises(EmbedderError, match="NaN"):
            embedder.embed_documents(TEXTS)
        assert len(ollama.bodies("/api/embed")) <= 6


def test_wrong_counts_of_one_batch_are_noticed() -> None:
    short = Whole(200, go_json({"model": "m", "embeddings": [embed("uno")]}))
    with slow(4, 0, embed=short) as (_, embedder), pytest.raises(EmbedderError, match="gave vectors"):
        embedder.embed_documents(TEXTS)


def test_an_index_run_keeps_the_server_busy(january: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowOllama(0.02)
    with served(slow) as ollama:
        given = {"name": "ollama", "model": "m", "url": ollama.url, "batch_size": 1, "concurrency": 5}
        monkeypatch.setenv("CERVELLA_EMBEDDER", json.dumps(given))
        settings = bootstrap.load_settings()
        report = bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
        assert report.embedded > 5
        assert slow.most_at_once == 5
        assert bootstrap.verify_index(settings).differences == ()
