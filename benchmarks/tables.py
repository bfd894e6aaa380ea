"""Figures become the tables of docs/performance.md, between two marks; the words around them are a person's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .corpus import ROOT
from .measuring import Figures

DOCUMENT = ROOT / "docs/performance.md"
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for; a figure of None was not measured."""

    name: str
    wanted: float
    unit: str
    figure: float | None
    at_least: bool = False

    def row(self) -> list[str]:
        """Return the target as a row: what, asked, measured, met."""
        sign = ">=" if self.at_least else "<="
        asked = f"{sign} {self.wanted:g} {self.unit}"
        if self.figure is None:
            return [self.name, asked, "not measured", "-"]
        is_met = self.figure >= self.wanted if self.at_least else self.figure <= self.wanted
        return [self.name, asked, f"{self.figure:g} {self.unit}", "yes" if is_met else "**no**"]


def targets(results: Figures) -> list[Target]:
    """Return every target with its figure."""
    by_size = {one["chunks"]: one for one in results["retrieval"]}
    service, stopping, program = results["service"], results["stopping"], results["program"]
    most = service["streams"][-1]
    warm = stopping.get("warm", {}).get("gain")
    return [
        Target("search at 20,000 chunks, asked for the first time, p95", 10, "ms", by_size[20_000]["new_ms"]["p95"]),
        Target("the same, asked again", 10, "ms", by_size[20_000]["again_ms"]["p95"]),
        Target("search at 100,000 chunks, asked for the first time, p95", 25, "ms", by_size[100_000]["new_ms"]["p95"]),
        Target("the same, asked again", 25, "ms", by_size[100_000]["again_ms"]["p95"]),
        Target("index of 626 files, nothing changed", 1, "s", results["indexing"]["large"]["unchanged_seconds"]),
        Target("service before the first word, retrieval taken off, p50", 5, "ms", service["overhead"]["before_first_token_ms"]["p50"]),
        Target("service at each word", 0.2, "ms", service["overhead"]["per_token_ms"]),
        Target("200 streams at once: errors", 0, "", most["errors"]),
        Target("200 streams at once: added to each word, p99", 50, "ms", most["added_ms"]["p99"]),
        Target("client gone, model silent (Ollama's protocol)", 0.5, "s", stopping["ollama_seconds"]),
        Target("client gone, model generating (in process)", 0.5, "s", stopping.get("generating_seconds")),
        Target("client gone, model reading (in process)", 1, "s", stopping.get("reading_seconds")),
        Target("first word, warm beside cold", 5, "times sooner", warm, at_least=True),
        Target("memory at 10,000 chunks, without a model", 500, "MB", program["at_10k_chunks_mb"]),
        Target("`cervella search` from a shell", 2.5, "s", program["search_alone_seconds"]),
        Target("the same while a server runs", 1, "s", program["search_beside_a_server_seconds"]),
    ]  # fmt: skip


def render(results: Figures) -> str:
    """Return all tables as markdown."""
    return "\n\n".join(_sections(results))


def _sections(results: Figures) -> Iterator[str]:
    machine, corpus = results["machine"], results["corpus"]
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, Python {machine['python']},"
        f" Cervella {machine['cervella']}; load of the machine {machine['load_at_start']} when the run began,"
        f" {machine['load_at_end']} when it ended (the run's own included). Corpus: {corpus['name']},"
        f" {corpus['files']} files, {corpus['chunks']} chunks, {corpus['questions']} questions,"
        f" {corpus['scored']} of them with a passage that answers. The run took {results['seconds'] / 60:.0f} minutes."
    )
    yield "### Targets"
    yield _table(["what", "asked", "measured", "met"], [target.row() for target in targets(results)])
    yield "### Searches"
    yield _table(
        ["chunks", "of them generated", "first of a process, disk cold", "new: p50 / p95 / p99", "again", "again, filtered"],
        [
            [
                f"{one['chunks']:,}", f"{one['generated']:,}", f"{one['cold_ms']:.0f} ms",
                *(_spread(one[name]) for name in ("new_ms", "again_ms", "filtered_ms")),
            ]
            for one in results["retrieval"]
        ],
    )  # fmt: skip
    yield "### Indexing"
    names = {"corpus": "the corpus, real embedder", "large": "626 generated files, vectors by lot"}
    yield _table(
        ["memory", "files", "chunks", "whole", "files/s", "chunks/s", "CPU", "peak", "unchanged", "one file changed"],
        [_indexing(name, results["indexing"][key]) for key, name in names.items()],
    )  # fmt: skip
    yield "### Streams at once"
    yield _table(
        ["streams", "errors", "added to each word: p50 / p95 / p99", "first word: p50 / p95 / p99"],
        [
            [
                str(one["streams"]),
                str(one["errors"]),
                _spread(one["added_ms"]),
                _spread(one["first_token_ms"]),
            ]
            for one in results["service"]["streams"]
        ],
    )
    yield "### The program"
    yield _table(["what", "measured"], _program(results))
    yield "### Beside what one would otherwise pick"
    yield _beside(results["beside"])


def _indexing(name: str, one: Figures) -> list[str]:
    full = one["full"]
    return [
        name, f"{full['documents']}", f"{full['chunks']:,}", f"{full['seconds']:.1f} s",
        f"{full['documents_per_second']:g}", f"{full['chunks_per_second']:g}", f"{full['cpu_seconds']:.1f} s",
        f"{full['peak_mb']:.0f} MB", f"{one['unchanged_seconds']:g} s", f"{one['one_file_changed_seconds']:g} s",
    ]  # fmt: skip


def _program(results: Figures) -> list[list[str]]:
    program, service, stopping = results["program"], results["service"]["overhead"], results["stopping"]
    rows = [
        ["`cervella --help`", f"{program['help_seconds']:g} s"],
        ["`cervella serve` until it is ready", f"{program['ready_seconds']:g} s"],
        ["its memory then", f"{program['at_rest_mb']:.0f} MB"],
        ["before the first word, retrieval taken off", _spread(service["before_first_token_ms"])],
    ]
    if "warm" in stopping:
        warm = stopping["warm"]
        rows.append(
            [
                "first word of a 135M model in process, cold and warm",
                f"{warm['cold_seconds']:g} s, {warm['warm_seconds']:g} s",
            ]
        )
    return rows


_SYSTEMS = {
    "cervella": "Cervella",
    "llama_index": "LlamaIndex, hybrid on Qdrant",
    "local_mode": "script on qdrant-client, vectors alone",
    "grep": "grep",
}


def _beside(figures: Figures) -> str:
    ours = figures["cervella"]
    rows = []
    for key, name in _SYSTEMS.items():
        one = figures[key]
        rows.append(
            [
                one["name"] if key == "grep" else name,
                f"{one['indexing']['seconds']:.1f} s{_times(one['indexing']['seconds'], ours['indexing']['seconds'], key)}",
                f"{one['indexing']['cpu_seconds']:.1f} s",
                f"{one['indexing']['peak_mb']:.0f} MB",
                f"{_spread(one['search_ms'])}{_times(one['search_ms']['p50'], ours['search_ms']['p50'], key)}",
                f"{one['hit@1']:.3f}",
                f"{one['hit@5']:.3f}{_times(one['hit@5'], ours['hit@5'], key)}",
                f"{one['hit@10']:.3f}",
            ]
        )
    table = _table(
        ["system", "indexing", "CPU", "peak", "search: p50 / p95 / p99", "hit@1", "hit@5", "hit@10"], rows
    )
    filled = _spread(figures["local_mode_at_10k_ms"])
    return (
        f"{table}\n\nIn brackets: times our figure, of the median for searches. The script among 10,000 vectors"
        f" drawn by lot: {filled}."
    )


def _times(theirs: float, ours: float, key: str) -> str:
    return "" if key == "cervella" or not theirs else f" ({theirs / ours:.2f}x)"


def _spread(one: dict[str, float]) -> str:
    return " / ".join(f"{value:.1f}" for value in one.values()) + " ms"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(results: Figures) -> None:
    """Put the tables into the document."""
    text = DOCUMENT.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    read: Any = json.loads((ROOT / "benchmarks/results.json").read_text("utf-8"))
    write(read)
    sys.stdout.write("written\n")
