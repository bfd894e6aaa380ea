"""Which memory and which questions are measured with, and memories that are made from them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cervella_rag.evaluation.retrieval import Item, read_items

ROOT = Path(__file__).parents[1]
MEMORY = "CERVELLA_BENCH_MEMORY"
QUESTIONS = "CERVELLA_BENCH_QUESTIONS"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A memory with questions about it.

    Attributes:
        name: What to call it in a table; no path.
        items: Questions, with the passages that answer them.
    """

    name: str
    folder: Path
    items: tuple[Item, ...]

    @property
    def questions(self) -> tuple[str, ...]:
        """The questions alone, as they are typed."""
        return tuple(item.question.text for item in self.items)

    @property
    def scored(self) -> tuple[Item, ...]:
        """The questions that a passage answers."""
        return tuple(item for item in self.items if item.gold)


def read_corpus() -> Corpus:
    """Return the memory that the environment names, else the sample memory."""
    folder, questions = os.environ.get(MEMORY), os.environ.get(QUESTIONS)
    if folder and questions:
        return Corpus("a real memory", Path(folder), tuple(read_items(Path(questions))))
    sample = ROOT / "tests/questions/knowledge.jsonl"
    return Corpus("the sample memory", ROOT / "knowledge", tuple(read_items(sample)))


_BASE_DAY = 9


def write_memory(folder: Path, texts: Sequence[str], files: int, characters: int) -> None:
    """Write a generated memory: markdown files whose words are as frequent as in `texts`.

    Args:
        folder: Where to.
        texts: What the words are taken from.
        files: How many files.
        characters: Length of each, about.
    """
    vocabulary = [word for text in texts for word in text.split()]
    choose = random.Random(1)
    for number in range(files):
        place = (
            folder
            / f"memoria/parte_{number % 12:02d}/202601{_BASE_DAY + number % 20:02d}_NOTA_{number:04d}.md"
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(_file(choose, vocabulary, number, characters)), "utf-8")


def _file(choose: random.Random, vocabulary: Sequence[str], number: int, characters: int) -> Iterator[str]:
    yield f"# Nota {number}\n"
    yield f"**Data:** 2026-01-{_BASE_DAY + number % 20:02d}"
    yield f"**Sessione:** {100 + number % 60}\n"
    written = 0
    while written < characters:
        if written % 700 < 90:
            yield f"\n## {' '.join(choose.choices(vocabulary, k=4)).strip('#*|-` ')}\n"
        line = "- " + " ".join(choose.choices(vocabulary, k=14))
        written += len(line)
        yield line
