"""What the service adds to a model: before its first word, at each word, where many are heard at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from .corpus import Corpus
from .measuring import Figures, spread
from .served import Heard, ask, running

_TOKENS = 400
_ASKED = 30
_PACE_SECONDS = 1 / 16
"""Between the words of a stream: what a T4 makes of Qwen3-4B."""
_PACED_TOKENS = 160
"""An answer of ten seconds."""
STREAMS = (1, 10, 50, 100, 200)
_OPEN = {
    "CERVELLA_API__GENERATIONS": "256",
    "CERVELLA_API__WAITING_PER_KEY": "1000",
    "CERVELLA_API__MAX_CONNECTIONS": "1000",
}


def overhead(home: Path, corpus: Corpus) -> Figures:
    """Ask one after the other, of a voice that answers at once."""
    questions = _chosen(corpus, _ASKED)
    with running(home, "benchmarks.voiced", "PORT", _TOKENS, 0.0, **_OPEN) as (port, _):

        async def ask_all() -> list[Heard]:
            await ask(port, questions[0])
            return [await ask(port, question) for question in questions]

        heard = asyncio.run(ask_all())
    heard = [one for one in heard if len(one.arrivals) > 1]
    return {
        "before_first_token_ms": spread([_added(one) for one in heard]),
        "per_token_ms": round(median(_per_token(one) for one in heard), 3),
        "tokens": _TOKENS,
        "questions": len(heard),
    }


def _added(heard: Heard) -> float:
    """Milliseconds from the question to the first word, retrieval taken off."""
    return (heard.arrivals[0] - heard.asked) * 1000 - float(heard.done["timings_ms"]["retrieval"])


def _per_token(heard: Heard) -> float:
    return (heard.arrivals[-1] - heard.arrivals[0]) * 1000 / (len(heard.arrivals) - 1)


def streams(home: Path, corpus: Corpus) -> list[Figures]:
    """Hear many at once, each at the pace of a model; they begin within the time of one answer."""
    questions = _chosen(corpus, 100)
    with running(home, "benchmarks.voiced", "PORT", _PACED_TOKENS, _PACE_SECONDS, **_OPEN) as (port, _):
        asyncio.run(ask(port, questions[0]))
        return [asyncio.run(_at_once(port, questions, count)) for count in STREAMS]


async def _at_once(port: int, questions: Sequence[str], count: int) -> Figures:
    within = _PACED_TOKENS * _PACE_SECONDS

    async def begin(number: int) -> Heard | None:
        await asyncio.sleep(number * within / count)
        try:
            return await ask(port, questions[number % len(questions)])
        except OSError:
            return None

    heard = await asyncio.gather(*(begin(number) for number in range(count)))
    whole = [one for one in heard if one and _is_whole(one)]
    late = [seconds * 1000 for one in whole for seconds in one.late]
    first = [(one.arrivals[0] - one.asked) * 1000 for one in whole]
    return {
        "streams": count,
        "errors": count - len(whole),
        "added_ms": spread(late),
        "first_token_ms": spread(first) if len(first) > 1 else {"p50": round(first[0], 2)},
        "tokens": len(late),
    }


def _is_whole(heard: Heard) -> bool:
    """Tell whether every word came, and the answer was kept."""
    kept = "conversations" not in heard.done.get("degraded", ())
    return bool(heard.done) and kept and len(heard.arrivals) >= _PACED_TOKENS


def _chosen(corpus: Corpus, count: int) -> list[str]:
    """Return some of the questions that a passage answers: where code alone does, no voice is heard."""
    asked = [item.question.text for item in corpus.scored]
    return random.Random(3).sample(asked, min(count, len(asked)))
