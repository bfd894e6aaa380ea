"""How long a question waits for a model: a queue before one machine that speaks to several at once.

Questions come at random (Poisson) or at given times, wait in their order for one of a few places, and
each place's speed depends on how many are taken: with `gain` 0 all share what one alone would have, with
1 nobody slows another down. tests/test_simulate.py holds it to queueing theory and to a measured run.

    python benchmarks/simulate.py --per-month 95000 --hours 217 --places 4 --tokens-per-second 16 --gain 0.6
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Machine:
    """What answers.

    Attributes:
        places: Answers made at once; the others wait.
        tokens_per_second: Of one answer that is made alone.
        gain: What each further answer adds to the whole speed, as a share of one alone, 0 to 1.
        before_seconds: Before the first token, for every answer: retrieval and reading the prompt.
    """

    places: int
    tokens_per_second: float
    gain: float = 0.0
    before_seconds: float = 0.0

    def seconds_alone(self, tokens: float) -> float:
        """Return how long an answer takes where nobody else asks."""
        return self.before_seconds + tokens / self.tokens_per_second

    def pace(self, running: int) -> float:
        """Return the speed of each of the answers that are made now, 1 for one alone."""
        return (1 + self.gain * (running - 1)) / running

    def most_per_second(self, tokens: float) -> float:
        """Return how many answers a second it can make at best; more only make the queue grow."""
        return self.places * self.pace(self.places) / self.seconds_alone(tokens)


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over all questions, in seconds."""

    mean: float
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return cls(*(round(float(value), 4) for value in (np.mean(values), p50, p95, p99)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        wait: From asking to one's place.
        total: From asking to the last token.
        busy: Share of the time in which at least one answer was made.
        longest_queue: Questions that waited at once, at most.
    """

    wait: Spread
    total: Spread
    busy: float
    longest_queue: int


@dataclass(slots=True)
class _Job:
    came: float
    left: float


def simulate(machine: Machine, arrivals: Sequence[float], tokens: Sequence[float]) -> Outcome:
    """Return how long everybody waited.

    Args:
        machine: What answers.
        arrivals: When each question comes, in seconds, ascending.
        tokens: How long each answer is.
    """
    coming = deque(
        _Job(came, machine.seconds_alone(length)) for came, length in zip(arrivals, tokens, strict=True)
    )
    queue: deque[_Job] = deque()
    running: list[_Job] = []
    now = busy = 0.0
    longest, waits, totals = 0, list[float](), list[float]()
    while coming or running:
        pace = machine.pace(len(running)) if running else 0.0
        ends = now + min(job.left for job in running) / pace if running else float("inf")
        then = min(ends, coming[0].came if coming else float("inf"))
        for job in running:
            job.left -= (then - now) * pace
        busy += (then - now) * bool(running)
        now = then
        if coming and coming[0].came <= now:
            queue.append(coming.popleft())
        else:
            done = min(running, key=lambda job: job.left)
            running.remove(done)
            totals.append(now - done.came)
        while queue and len(running) < machine.places:
            job = queue.popleft()
            waits.append(now - job.came)
            running.append(job)
        longest = max(longest, len(queue))
    return Outcome(Spread.of(waits), Spread.of(totals), round(busy / now, 4), longest)


def arrive(per_second: float, count: int, seed: int) -> list[float]:
    """Return when questions come that know nothing of each other."""
    gaps = np.random.default_rng(seed).exponential(1 / per_second, count)
    return [float(time) for time in np.cumsum(gaps)]


def lengths(mean: float, count: int, seed: int, shape: float = 4.0) -> list[float]:
    """Return lengths of answers: few are very short, some are twice the mean (a gamma of this shape)."""
    drawn = np.random.default_rng(seed + 1).gamma(shape, mean / shape, count)
    return [max(1.0, float(length)) for length in drawn]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what the command line asks for; 1 where the machine cannot keep up."""
    parser = argparse.ArgumentParser(description="How long questions wait for a model.")
    parser.add_argument("--per-month", type=float, default=10_000, help="questions a month")
    parser.add_argument("--hours", type=float, default=217, help="hours a month in which they come")
    parser.add_argument("--peak", type=float, default=1.0, help="busiest hour against the mean one")
    parser.add_argument("--places", type=int, default=4)
    parser.add_argument("--tokens-per-second", type=float, default=16, help="of one answer alone")
    parser.add_argument("--gain", type=float, default=0.0, help="0: all share; 1: nobody slows another")
    parser.add_argument("--before-seconds", type=float, default=1.0)
    parser.add_argument("--tokens", type=float, default=150, help="mean length of an answer")
    parser.add_argument("--questions", type=int, default=20_000, help="questions to simulate")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    machine = Machine(given.places, given.tokens_per_second, given.gain, given.before_seconds)
    per_second = given.per_month * given.peak / (given.hours * 3600)
    load = per_second / machine.most_per_second(given.tokens)
    told: dict[str, object] = {
        "machine": asdict(machine),
        "per_hour": round(per_second * 3600, 1),
        "load": round(load, 3),
    }
    if load < 1:
        arrivals = arrive(per_second, given.questions, given.seed)
        drawn = lengths(given.tokens, given.questions, given.seed)
        told |= asdict(simulate(machine, arrivals, drawn))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 0 if load < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
