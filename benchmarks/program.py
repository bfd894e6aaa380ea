"""The program as a person meets it: how soon it is there, what memory it takes, a search from a shell."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from .corpus import Corpus
from .measuring import Figures, environment, resident_mb, timed
from .served import running

_ROUNDS = 5
_SERVE = ("cervella_rag", "serve", "--port", "PORT")
_QUIET = {"CERVELLA_LLM__VOICE": "memory_only"}


def measure(home: Path, large: Path, corpus: Corpus) -> Figures:
    """Measure with a home of the corpus and one of 10,000 chunks."""
    questions = corpus.questions
    started, rest = _start(home)
    alone = [_search(home, questions[number]) for number in range(_ROUNDS)]
    with running(home, *_SERVE, **_QUIET):
        beside = [_search(home, questions[number]) for number in range(_ROUNDS)]
    return {
        "help_seconds": round(median(_shell(home, "--help") for _ in range(_ROUNDS)), 2),
        "ready_seconds": started,
        "at_rest_mb": rest,
        "at_10k_chunks_mb": _memory_after_searches(large, questions),
        "search_alone_seconds": round(median(alone), 2),
        "search_beside_a_server_seconds": round(median(beside), 2),
    }


def _start(home: Path) -> tuple[float, float]:
    """Return how many seconds a server takes to be ready, and its memory then."""
    seconds, memory = [], []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        with running(home, *_SERVE, **_QUIET) as (_, process):
            seconds.append(time.perf_counter() - began)
            memory.append(resident_mb(process.pid))
    return round(median(seconds), 2), round(median(memory), 1)


def _memory_after_searches(home: Path, questions: tuple[str, ...]) -> float:
    """Return the memory of a server after every question has been searched, in MB."""
    with running(home, *_SERVE, **_QUIET) as (port, process):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for question in questions:
            body, kind = json.dumps({"question": question}), {"content-type": "application/json"}
            connection.request("POST", "/v1/search", body, kind)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"a search failed: {answer.status}")
        connection.close()
        return resident_mb(process.pid)


def _search(home: Path, question: str) -> float:
    return _shell(home, "search", question)


def _shell(home: Path, *arguments: str) -> float:
    command = [sys.executable, "-m", "cervella_rag", *arguments]
    taken = timed(
        lambda: subprocess.run(  # noqa: S603 - our own program
            command, env=environment(home), cwd=home, check=True, capture_output=True
        )
    )
    return taken / 1000
