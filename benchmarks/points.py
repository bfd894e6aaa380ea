"""Points beyond the real memory: as many windows, words as frequent, vectors as near as in a real one.

A generated point is made from a real one: its vectors with noise added, its lines with every word drawn
anew from all the words of the memory. So lists of a term grow as they do in a memory that grows, and the
neighbourhood of a question is as dense as a real one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, islice

import numpy as np

from cervella_rag.domain import Chunk, Point
from cervella_rag.memory.lexical import encode_document
from cervella_rag.protocols import Manifest, StoreReader, Vectors, VectorStore
from cervella_rag.retrieval.reading import reading_of

NOISE = 0.75
"""Length of the noise beside a vector of length 1: a cosine of .8 to the point it was made from."""
_NEW_WORDS = 0.02
"""Share of words that no other chunk has: names, numbers, mistakes of typing."""
_PAGE = 500


def real_points(reader: StoreReader) -> list[Point]:
    """Return the points of an index."""
    chunks = sorted(reader.chunks(), key=lambda chunk: (chunk.path, chunk.start_line))
    vectors: dict[str, Vectors] = {}
    for start in range(0, len(chunks), _PAGE):
        vectors |= reader.vectors([chunk.chunk_id for chunk in chunks[start : start + _PAGE]])
    return [_point(chunk, vectors.get(chunk.chunk_id)) for chunk in chunks]


def _point(chunk: Chunk, dense: Vectors | None) -> Point:
    """As the indexer makes it."""
    return Point(replace(chunk, reading=reading_of(chunk)), dense, encode_document(chunk.index_text))


def generated_points(real: Sequence[Point], seed: int = 7) -> Iterator[Point]:
    """Yield generated points without end."""
    random = np.random.default_rng(seed)
    words = np.array([word for point in real for word in point.chunk.index_text.split()], object)
    number = 0
    while True:
        for base in random.permutation(len(real)):
            number += 1
            yield _made(real[int(base)], number, words, random)


def _made(base: Point, number: int, words: np.ndarray, random: np.random.Generator) -> Point:
    chunk = base.chunk
    index_text = _redrawn(chunk.index_text, words, random)
    made = replace(
        chunk,
        chunk_id=str(uuid.UUID(int=number)),
        path=f"generated/{number % 5000:05d}.md",
        paths=(f"generated/{number % 5000:05d}.md",),
        sha256=f"{number % 5000:064x}",
        text=index_text,
        index_text=index_text,
        reading="",
    )
    return _point(made, _moved(base.dense, random))


def _redrawn(text: str, words: np.ndarray, random: np.random.Generator) -> str:
    lines = [line.count(" ") + 1 for line in text.split("\n")]
    drawn = words[random.integers(len(words), size=sum(lines))]
    fresh = np.flatnonzero(random.random(len(drawn)) < _NEW_WORDS)
    drawn[fresh] = [f"nuova{random.integers(10**6)}" for _ in fresh]
    rest = iter(drawn.tolist())
    return "\n".join(" ".join(islice(rest, count)) for count in lines)


def _moved(dense: Vectors | None, random: np.random.Generator) -> Vectors | None:
    if dense is None:
        return None
    noise = random.standard_normal(dense.shape, np.float32) * (NOISE / np.sqrt(dense.shape[1]))
    moved = dense + noise
    made: Vectors = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return made


def fill(store: VectorStore, like: Manifest, real: Sequence[Point], count: int) -> None:
    """Publish a generation of exactly `count` points: real ones, and generated ones beyond.

    Args:
        store: An empty one.
        like: Manifest of the index that the real points are from.
        real: Its points.
        count: How many to publish.
    """
    with store.write() as writer:
        writer.begin(dimension=like.dimension, fresh=True)
        writer.upsert(islice(chain(real, generated_points(real)), count))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        writer.publish(replace(like, generation=writer.generation, created=now, chunks=count))
