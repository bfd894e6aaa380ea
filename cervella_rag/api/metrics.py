"""What is counted while she works, in Prometheus' words. Names and bounds only, never what was said."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cervella_rag.api.generation_queue import GenerationQueue
from cervella_rag.domain import Answer, HostLoad, Retrieval
from cervella_rag.protocols import Manifest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_SLOW = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_TOKENS = (1, 2, 5, 10, 20, 30, 50, 80, 120)


class Metrics:
    """The counters of one application.

    Args:
        queue: Who waits is read from it when somebody looks.
    """

    def __init__(self, queue: GenerationQueue) -> None:
        self._registry = registry = CollectorRegistry()
        self._created = math.nan
        self._requests = Counter(
            "cervella_requests",
            "Requests answered.",
            ["route", "method", "status", "key"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "cervella_request_seconds", "Time to the end of an answer.", ["route"], registry=registry,
            buckets=_SLOW,
        )  # fmt: skip
        self._refused = Counter(
            "cervella_refused",
            "Requests refused: limits, keys, hosts.",
            ["status", "key"],
            registry=registry,
        )
        self._retrieval = Histogram(
            "cervella_retrieval_seconds", "Time to find passages.", registry=registry, buckets=_FAST
        )
        self._searches = Counter(
            "cervella_searches", "Searches, and whether enough was found.", ["enough", "key"],
            registry=registry,
        )  # fmt: skip
        self._answers = Counter(
            "cervella_answers", "Answers: by whom, from memory or not.", ["mode", "grounded", "key"],
            registry=registry,
        )  # fmt: skip
        self._first = Histogram(
            "cervella_first_token_seconds", "Time to the first word.", ["mode"], registry=registry,
            buckets=_SLOW,
        )  # fmt: skip
        self._speed = Histogram(
            "cervella_tokens_per_second",
            "Words as they come.",
            ["mode"],
            registry=registry,
            buckets=_TOKENS,
        )
        self._tokens = Counter(
            "cervella_tokens", "Tokens read and said, as voices count them.", ["kind", "key"],
            registry=registry,
        )  # fmt: skip
        self._citations = Counter(
            "cervella_citations", "Citations that code had to remove or add.", ["change"], registry=registry
        )
        self._degraded = Counter(
            "cervella_degraded",
            "Answers and searches that did without a part.",
            ["part"],
            registry=registry,
        )
        self._failed = Counter("cervella_failed_turns", "Turns that ended in an error.", registry=registry)
        self._waited = Histogram(
            "cervella_queue_wait_seconds",
            "Time from asking to one's turn.",
            registry=registry,
            buckets=_SLOW,
        )
        for name, text, value in (
            ("cervella_generations_running", "Answers being made.", lambda: queue.running),
            ("cervella_generations_waiting", "Questions that wait.", lambda: queue.waiting),
            ("cervella_index_age_seconds", "Since the index was published.", self._age),
        ):
            Gauge(name, text, registry=registry).set_function(value)
        self._index = Gauge("cervella_index", "The index in numbers.", ["count"], registry=registry)
        self._index_up = Gauge("cervella_index_up", "1 where the index can be read.", registry=registry)

        self._hosts = _Hosts()
        registry.register(self._hosts)

    def request(self, route: str, method: str, status: int, key: str, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status), key).inc()
        self._request_seconds.labels(route).observe(seconds)
        if status in (400, 401, 403, 413, 429):
            self._refused.labels(str(status), key).inc()

    def searched(self, found: Retrieval, key: str) -> None:
        """Count a search."""
        self._retrieval.observe(found.took_ms / 1000)
        self._searches.labels(str(found.enough).lower(), key).inc()
        self._without(found.degraded)

    def answered(self, answer: Answer, key: str, waited_seconds: float) -> None:
        """Count an answer."""
        times, mode = answer.timings_ms, answer.mode
        self._answers.labels(mode, str(answer.grounded).lower(), key).inc()
        self._retrieval.observe(times["retrieval"] / 1000)
        self._waited.observe(waited_seconds)
        self._without(answer.degraded)
        for kind, count in answer.usage.items():
            self._tokens.labels(kind.removesuffix("_tokens"), key).inc(count)
        for change in ("removed", "added"):
            numbers = answer.provenance[f"citations_{change}"]
            self._citations.labels(change).inc(len(numbers) if isinstance(numbers, list) else 0)
        if "first_token" not in times:
            return
        self._first.labels(mode).observe(times["first_token"] / 1000)
        speaking = (times["total"] - times["first_token"]) / 1000
        if answer.usage["completion_tokens"] and speaking > 0:
            self._speed.labels(mode).observe(answer.usage["completion_tokens"] / speaking)

    def failed(self) -> None:
        """Count a turn that ended in an error."""
        self._failed.inc()

    def index(self, manifest: Manifest | None) -> None:
        """Take down what the index is; None where it cannot be read, and its age is the last known."""
        self._index_up.set(manifest is not None)
        if manifest is None:
            return
        self._created = datetime.fromisoformat(manifest.created).timestamp()
        for name in ("generation", "documents", "chunks"):
            self._index.labels(name).set(getattr(manifest, name))

    def hosts(self, loads: Sequence[HostLoad]) -> None:
        """Take down what the servers of the voices do."""
        self._hosts.loads = loads

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _age(self) -> float:
        return time.time() - self._created

    def _without(self, parts: tuple[str, ...]) -> None:
        for part in parts:
            self._degraded.labels(part).inc()


class _Hosts(Collector):
    """The servers of the voices, as they count themselves."""

    def __init__(self) -> None:
        self.loads: Sequence[HostLoad] = ()

    def collect(self) -> Iterator[Metric]:
        """Yield each measure with every server."""
        names = ["mode", "host"]
        running = GaugeMetricFamily("cervella_host_running", "Answers a server is making.", labels=names)
        resting = GaugeMetricFamily(
            "cervella_host_resting_seconds", "How long a server that failed is still left alone.",
            labels=names,
        )  # fmt: skip
        answered = CounterMetricFamily("cervella_host_answers", "Answers a server gave.", labels=names)
        failed = CounterMetricFamily("cervella_host_failures", "Answers it could not give.", labels=names)
        for load in self.loads:
            labels = [load.mode, load.host]
            running.add_metric(labels, load.running)
            resting.add_metric(labels, load.resting_seconds)
            answered.add_metric(labels, load.answered)
            failed.add_metric(labels, load.failed)
        yield from (running, resting, answered, failed)
