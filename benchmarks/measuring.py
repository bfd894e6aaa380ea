"""Times, shares and memory: how what is measured becomes a figure."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from .corpus import MEMORY, QUESTIONS, ROOT

Figures = dict[str, Any]
REST = "http://127.0.0.1:1"
"""Nobody listens there: no voice of this machine takes part."""


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99; nothing for fewer than two."""
    if len(milliseconds) < 2:
        return {}
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}


def middle(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of every figure of several rounds."""
    return {name: round(median(one[name] for one in rounds), 2) for name in rounds[0]}


def timed(call: Callable[[], object]) -> float:
    """Return how many milliseconds a call took."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def peak_mb() -> float:
    """Return the most memory this process has had, in MB; `getrusage` would count its parent's too."""
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1e3, 1) if found else 0.0


def resident_mb(pid: int) -> float:
    """Return the memory of a process, in MB: what is its own, and what files it has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


@contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """Put seconds, processor seconds and peak memory of a block into `figures`."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    figures["seconds"] = round(time.perf_counter() - wall, 2)
    figures["cpu_seconds"] = round(time.process_time() - processor, 2)
    figures["peak_mb"] = peak_mb()


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a process of ours that no setting of the machine reaches."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CERVELLA_") or name in (MEMORY, QUESTIONS)
    }
    return plain | {
        "CERVELLA_HOME": str(home),
        "CERVELLA_LANGUAGE": "en",
        "CERVELLA_LLM__OLLAMA_URL": REST,
        "CERVELLA_LOG__LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
        **settings,
    }


def run(module: str, home: Path, *arguments: object, **settings: str) -> Any:
    """Run one measurement in a process of its own, so that none warms another; return what it prints."""
    done = subprocess.run(  # noqa: S603 - our own modules
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        env=environment(home, **settings),
        stdout=subprocess.PIPE,
        check=True,
        cwd=home,
    )
    return json.loads(done.stdout)


def report(figures: object) -> None:
    """Print what a measurement found, for `run`."""
    sys.stdout.write(json.dumps(figures))
