"""The simulator against queueing theory, and against a served process under real concurrent questions."""

from __future__ import annotations

import asyncio
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from benchmarks.simulate import Machine, arrive, lengths, main, simulate
from cervella_rag.chat.costs import count_costs
from cervella_rag.domain import Usage
from cervella_rag.settings import CostSettings

from .ollama_double import OllamaDouble, saying
from .served import served

SECONDS, PLACES, QUESTIONS = 1.0, 2, 30
BODY = {"message": "Quante ore tiene il forno a legna?", "history": [{"role": "user", "content": "Ciao"}]}


def erlang_c(places: int, offered: float) -> float:
    """Return the share of questions that wait. Reference: Erlang 1917, the second formula."""
    waiting = offered**places / math.factorial(places) * places / (places - offered)
    free = sum(offered**n / math.factorial(n) for n in range(places))
    return waiting / (free + waiting)


def test_waits_are_those_of_theory() -> None:
    count = 60_000
    for places, load in ((1, 0.5), (1, 0.8), (4, 0.8)):
        machine = Machine(places, tokens_per_second=1000.0, gain=1.0)  # tokens so small that none is cut
        per_second = places * load
        drawn = lengths(1000.0, count, 3, shape=1.0)
        outcome = simulate(machine, arrive(per_second, count, 3), drawn)
        expected = erlang_c(places, per_second) / (places - per_second)
        assert outcome.wait.mean == pytest.approx(expected, rel=0.1)


def test_equal_lengths_wait_half_as_long() -> None:
    # Pollaczek and Khinchine: load / (2 (1 - load)) of one answer's time.
    machine, count = Machine(1, tokens_per_second=1.0), 60_000
    outcome = simulate(machine, arrive(0.8, count, 5), [1.0] * count)
    assert outcome.wait.mean == pytest.approx(0.8 / (2 * 0.2), rel=0.1)
    assert outcome.busy == pytest.approx(0.8, rel=0.05)


def test_places_that_share_one_speed_end_no_sooner() -> None:
    count = 4000
    arrivals, drawn = arrive(0.7, count, 7), [1.0] * count
    alone, shared = (simulate(Machine(places, 1.0), arrivals, drawn) for places in (1, 4))
    freely = simulate(Machine(4, 1.0, gain=1.0), arrivals, drawn)
    assert shared.wait.mean < alone.wait.mean  # one begins sooner,
    assert shared.total.mean > alone.total.mean * 0.99  # and ends no sooner,
    assert freely.total.mean < alone.total.mean / 2  # unless the machine gains by it
    assert shared.busy == pytest.approx(alone.busy, rel=1e-6)  # the same work


def test_a_machine_that_cannot_keep_up_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--per-month", "95000", "--places", "1", "--tokens-per-second", "16"]) == 1
    assert json.loads(capsys.readouterr().out)["load"] > 1
    assert main(["--per-month", "10000", "--places", "1", "--questions", "2000"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["per_hour"] == 46.1
    assert told["total"]["p50"] > 5


class OneGPU(OllamaDouble):
    """Answers as many at once as it has places, each after the same time; the others wait in order.

    Attributes:
        came: When each question came.
        waited: How long each waited for its place, in seconds.
        held: How long each really held it.
    """

    def __init__(self) -> None:
        super().__init__(saying("Tiene sei ore [1]."))
        self.places = asyncio.Semaphore(PLACES)
        self.came: list[float] = []
        self.waited: list[float] = []
        self.held: list[float] = []

    async def _answer(self, request: Any, writer: asyncio.StreamWriter) -> None:
        if request.path == "/api/chat":
            came = time.monotonic()
            async with self.places:
                started = time.monotonic()
                await asyncio.sleep(SECONDS)
                await super()._answer(request, writer)
                self.came.append(came)
                self.waited.append(started - came)
                self.held.append(time.monotonic() - started)
        else:
            await super()._answer(request, writer)


async def ask_all(url: str, arrivals: Sequence[float]) -> float:
    """Ask at these times, each without waiting for the others; return the mean time of an answer."""
    limits = httpx2.Limits(max_connections=QUESTIONS)
    async with httpx2.AsyncClient(base_url=url, timeout=90, limits=limits) as client:
        began = time.monotonic()

        async def come(at: float) -> float:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            started = time.monotonic()
            answer = await client.post("/v1/chat", json=BODY)
            assert (answer.status_code, '"mode":"ollama"' in answer.text) == (200, True), answer.text
            return time.monotonic() - started

        return statistics.mean(await asyncio.gather(*map(come, arrivals)))


@pytest.mark.timeout(240)
def test_it_tells_what_a_served_process_measures(
    january: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "served"
    home.mkdir()
    gpu, arrivals = OneGPU(), arrive(0.9 * PLACES / SECONDS, QUESTIONS, seed=11)
    given = {
        "CERVELLA_LLM__VOICE": "ollama",
        "CERVELLA_LLM__OLLAMA_MODEL": "m",
        "CERVELLA_API__GENERATIONS": str(QUESTIONS),
    }

    async def run() -> float:
        async with gpu:
            serving = served(home, january, CERVELLA_LLM__OLLAMA_URL=gpu.url, **given)
            server = await asyncio.to_thread(serving.__enter__)
            try:
                return await ask_all(server.url, arrivals)
            finally:
                await asyncio.to_thread(serving.__exit__, None, None, None)

    took = asyncio.run(run())
    # When questions reached the model and how long it was busy with one are as measured: a slow machine is
    # slow on both sides, and what is compared is the queue.
    held, came = statistics.mean(gpu.held), sorted(gpu.came)
    outcomes = {
        places: simulate(
            Machine(places, 1 / held, gain=1.0), [at - came[0] for at in came], [1.0] * len(came)
        )
        for places in (1, PLACES, 2 * PLACES)
    }
    waited = statistics.mean(gpu.waited)
    simulated = {places: outcome.wait.mean for places, outcome in outcomes.items()}
    with capsys.disabled():
        sys.stdout.write(
            f"\nheld {held:.2f} s; mean wait measured {waited:.2f} s, simulated {simulated[PLACES]:.2f} s"
            f" (with 1 place {simulated[1]:.2f}, with 4 {simulated[2 * PLACES]:.2f}); answer {took:.2f} s\n"
        )
    assert waited == pytest.approx(simulated[PLACES], rel=0.25)
    assert simulated[2 * PLACES] * 2 < waited < simulated[1] / 2  # another machine would be told apart
    assert took >= outcomes[PLACES].total.mean * 0.9  # and a client waits no less than at the model


def test_the_costs_of_the_document_are_those_of_the_code() -> None:
    text = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+\.\d\d) \| ([\d,]+\.\d\d) \|", text, re.MULTILINE)
    assert len(rows) == 3
    prices = CostSettings().model_dump()
    for row in rows:
        turns, *told = (float(cell.replace(",", "")) for cell in row)
        for (read, written), dollars in zip(((500, 100), (2000, 150)), told, strict=True):
            count = int(turns)
            counted = Usage("openai", "m", count, count, read * count, written * count)
            assert count_costs([counted], **prices)["api_usd"] == dollars
            even = count_costs([counted], **prices)["break_even_turns"]
            assert f"{even:,}" in text
