"""Figures become the tables of docs/performance.md, between two marks; words around them are a person's."""

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
    first, at_20k, at_100k = "asked for the first time", by_size[20_000], by_size[100_000]
    gone, alone = "client gone, model", "`cervella search` from a shell"
    before = service["overhead"]["before_first_token_ms"]["p50"]
    beside = program["search_beside_a_server_seconds"]
    unchanged = results["indexing"]["large"]["unchanged_seconds"]
    return [
        Target(f"search at 20,000 chunks, {first}, p95", 10, "ms", at_20k["new_ms"]["p95"]),
        Target("the same, asked again", 10, "ms", at_20k["again_ms"]["p95"]),
        Target(f"search at 100,000 chunks, {first}, p95", 25, "ms", at_100k["new_ms"]["p95"]),
        Target("the same, asked again", 25, "ms", at_100k["again_ms"]["p95"]),
        Target("index of 626 files, nothing changed", 1, "s", unchanged),
        Target("service before the first word, retrieval taken off, p50", 5, "ms", before),
        Target("service at each word", 0.2, "ms", service["overhead"]["per_token_ms"]),
        Target("200 streams at once: errors", 0, "", most["errors"]),
        Target("200 streams at once: added to each word, p99", 50, "ms", most["added_ms"]["p99"]),
        Target(f"{gone} silent (Ollama's protocol)", 0.5, "s", stopping["ollama_seconds"]),
        Target(f"{gone} generating (in process)", 0.5, "s", stopping.get("generating_seconds")),
        Target(f"{gone} reading (in process)", 1, "s", stopping.get("reading_seconds")),
        Target("first word, warm beside cold", 5, "times sooner", warm, at_least=True),
        Target("memory at 10,000 chunks, without a model", 500, "MB", program["at_10k_chunks_mb"]),
        Target(alone, 2.5, "s", program["search_alone_seconds"]),
        Target("the same while a server runs", 1, "s", beside),
    ]


def render(results: Figures) -> str:
    """Return all tables as markdown."""
    return "\n\n".join(_sections(results))


def _sections(results: Figures) -> Iterator[str]:
    yield _where(results)
    yield "### Targets"
    yield _table(["what", "asked", "measured", "met"], [target.row() for target in targets(results)])
    yield "### Searches"
    head = (
        "chunks,of them generated,first of a process with a cold disk,new: p50 / p95 / p99,again,filtered"
    )
    yield _table(head.split(","), [_search(one) for one in results["retrieval"]])
    yield "### Indexing"
    names = {"corpus": "the corpus, real embedder", "large": "626 generated files, vectors by lot"}
    head = "memory,files,chunks,whole,files/s,chunks/s,CPU,peak,unchanged,one file changed"
    yield _table(
        head.split(","), [_indexing(name, results["indexing"][key]) for key, name in names.items()]
    )
    yield "### Streams at once"
    head = "streams,errors,added to each word: p50 / p95 / p99,first word: p50 / p95 / p99"
    yield _table(head.split(","), [_stream(one) for one in results["service"]["streams"]])
    yield "### The program"
    yield _table(["what", "measured"], _program(results))
    yield "### Beside what one would otherwise pick"
    yield _beside(results["beside"])


def _where(results: Figures) -> str:
    machine, corpus = results["machine"], results["corpus"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB,"
        f" Python {machine['python']}, Cervella {machine['cervella']}. Load of the machine"
        f" {machine['load_at_start']} when the run began, {machine['load_at_end']} when it ended, its own"
        f" included. Corpus: {corpus['name']}, {corpus['files']} files, {corpus['chunks']} chunks,"
        f" {corpus['questions']} questions, {corpus['scored']} of them with a passage that answers. The run"
        f" took {results['seconds'] / 60:.0f} minutes."
    )


def _search(one: Figures) -> list[str]:
    times = [_spread(one[name]) for name in ("new_ms", "again_ms", "filtered_ms")]
    return [f"{one['chunks']:,}", f"{one['generated']:,}", f"{one['cold_ms']:.0f} ms", *times]


def _stream(one: Figures) -> list[str]:
    times = [_spread(one["added_ms"]), _spread(one["first_token_ms"])]
    return [str(one["streams"]), str(one["errors"]), *times]


def _indexing(name: str, one: Figures) -> list[str]:
    full = one["full"]
    return [
        name,
        f"{full['documents']}",
        f"{full['chunks']:,}",
        f"{full['seconds']:.1f} s",
        f"{full['documents_per_second']:g}",
        f"{full['chunks_per_second']:g}",
        f"{full['cpu_seconds']:.1f} s",
        f"{full['peak_mb']:.0f} MB",
        f"{one['unchanged_seconds']:g} s",
        f"{one['one_file_changed_seconds']:g} s",
    ]


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
    "llama_index_500": "the same, pieces of 500 tokens",
    "local_mode": "script on qdrant-client, vectors alone",
    "grep": "grep",
}


def _beside(figures: Figures) -> str:
    head = (
        "system,indexing,CPU,peak,search: p50 / p95 / p99,hit@1,hit@5,hit@10,hit@5 of whole pieces,"
        "in 2000 tokens,characters of five"
    )
    table = _table(head.split(","), [_system(key, figures) for key in _SYSTEMS])
    filled = _spread(figures["local_mode_at_10k_ms"])
    return (
        f"{table}\n\nIn brackets: times our figure; of searches, of the median. The script among 10,000"
        f" vectors drawn by lot: {filled}."
    )


def _system(key: str, figures: Figures) -> list[str]:
    one, ours = figures[key], figures["cervella"]
    indexing, searching = one["indexing"], one["search_ms"]
    return [
        one["name"] if key == "grep" else _SYSTEMS[key],
        f"{indexing['seconds']:.1f} s{_times(indexing['seconds'], ours['indexing']['seconds'], key)}",
        f"{indexing['cpu_seconds']:.1f} s",
        f"{indexing['peak_mb']:.0f} MB",
        f"{_spread(searching)}{_times(searching['p50'], ours['search_ms']['p50'], key)}",
        f"{one['hit@1']:.3f}",
        f"{one['hit@5']:.3f}{_times(one['hit@5'], ours['hit@5'], key)}",
        f"{one['hit@10']:.3f}",
        f"{one['whole_pieces_hit@5']:.3f}",
        f"{one['within_context']:.3f}",
        f"{one['characters_of_five']:,}",
    ]


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
