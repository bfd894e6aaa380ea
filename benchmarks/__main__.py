"""Measure everything and write it down: `python -m benchmarks`; parts of it, by name, are only printed.

Every measurement runs in a process of its own. What is written is benchmarks/results.json and the tables of
docs/performance.md; figures of a machine that does other things meanwhile say so by its load.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cervella_rag import bootstrap
from cervella_rag.domain import Point
from cervella_rag.protocols import Manifest
from cervella_rag.vectors.generations import EmbeddedStore

from . import machine, program, service, stopping, tables
from .corpus import ROOT, Corpus, read_corpus, write_memory
from .measuring import Figures, run
from .points import fill, real_points

SIZES = (1_000, 10_000, 20_000, 100_000)
ROUNDS = 3
RESULTS = ROOT / "benchmarks/results.json"
_FILES, _CHARACTERS = 626, 12_800
"""What the memory had grown to by March: 8 MB."""
_FILLED = 10_000


@dataclass(frozen=True)
class Bench:
    """What the measurements share: the corpus, an index of it, and larger ones made from it."""

    place: Path
    corpus: Corpus

    def home(self, name: str) -> Path:
        """Return a home of its own."""
        home = self.place / name
        home.mkdir(exist_ok=True)
        return home

    @cached_property
    def indexed(self) -> tuple[Path, Figures]:
        """A home with the corpus indexed, and how long that took."""
        home, copy = self.home("indexed"), self.place / "memory"
        shutil.copytree(self.corpus.folder, copy)
        return home, run("indexing", home, copy)

    @cached_property
    def material(self) -> tuple[Manifest, list[Point]]:
        """The points of the corpus, and how they were made."""
        settings = bootstrap.load_settings(home=self.indexed[0])
        reader = bootstrap.make_retriever(settings).reader()
        return reader.manifest, real_points(reader)

    def sized(self, count: int) -> Path:
        """Return a home whose index has so many points: real ones, and generated ones beyond."""
        home = self.home(f"points-{count}")
        if not (home / "index").exists():
            manifest, points = self.material
            fill(EmbeddedStore(home / "index"), manifest, points, count)
        return home

    def retrieval(self) -> list[Figures]:
        """Searches at every size."""
        real = len(self.material[1])
        return [
            run("retrieval", self.sized(count), ROUNDS) | {"generated": max(0, count - real)}
            for count in SIZES
        ]

    def indexing(self) -> Figures:
        """The corpus with the real embedder, and a memory as large as it became with vectors by lot."""
        folder = self.place / "generated"
        texts = [file.read_text("utf-8", "replace") for file in sorted(self.corpus.folder.rglob("*.md"))]
        write_memory(folder, texts, _FILES, _CHARACTERS)
        large = run("indexing", self.home("large"), folder, "drawn")
        return {"corpus": self.indexed[1], "large": large}

    def service(self) -> Figures:
        """The service around a voice that costs nothing."""
        home = self.indexed[0]
        return {
            "overhead": service.overhead(home, self.corpus),
            "streams": service.streams(home, self.corpus),
        }

    def stopping(self) -> Figures:
        """Clients that leave, and conversations that go on."""
        return stopping.measure(self.indexed[0], self.corpus)

    def program(self) -> Figures:
        """Starting, memory, a search from a shell."""
        return program.measure(self.indexed[0], self.sized(SIZES[1]), self.corpus)

    def beside(self) -> Figures:
        """What a user would otherwise pick."""
        home = self.home("beside")
        figures = {
            name: run("beside", home, name, ROUNDS)
            for name in ("cervella", "llama_index", "llama_index_500", "local_mode", "grep")
        }
        return figures | {"local_mode_at_10k_ms": run("beside", home, "local_mode", ROUNDS, _FILLED)}


PARTS: tuple[Callable[[Bench], object], ...] = (
    Bench.retrieval,
    Bench.indexing,
    Bench.service,
    Bench.stopping,
    Bench.program,
    Bench.beside,
)


def main(wanted: list[str]) -> None:
    """Measure all parts and write them down, or print those that are named."""
    corpus = read_corpus()
    results: Figures = {"machine": machine.facts(), "corpus": {"name": corpus.name}}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), corpus)
        for part in PARTS:
            name = part.__name__
            if not wanted or name in wanted:
                sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {name}\n")
                results[name] = part(bench)
        results["corpus"] |= {
            "files": bench.indexed[1]["full"]["documents"],
            "chunks": bench.indexed[1]["full"]["chunks"],
            "questions": len(corpus.items),
            "scored": len(corpus.scored),
        }
    results["seconds"] = round(time.monotonic() - began)
    results["machine"]["load_at_end"] = round(os.getloadavg()[0], 1)
    text = json.dumps(results, indent=1) + "\n"
    if wanted:
        sys.stdout.write(text)
        return
    RESULTS.write_text(text, "utf-8")
    tables.write(results)
    sys.stderr.write(f"{results['seconds']:5.0f} s  written\n")


if __name__ == "__main__":
    main(sys.argv[1:])
