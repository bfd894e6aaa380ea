"""Another embedder: a rebuild beside the index that serves, never a mix, there and back, on every store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cervella_rag.domain import Question
from cervella_rag.errors import EmbedderError, IndexMismatchError
from cervella_rag.memory.sources import name_roots
from cervella_rag.protocols import Embedder, Vectors, VectorStore
from cervella_rag.retrieval.retriever import Retriever, RetrieverOptions
from cervella_rag.settings import Settings

from .conftest import HashEmbedder, make_indexer
from .embedding_double import embed

QUESTION = Question("Perché il forno a legna?")


class LongerEmbedder(HashEmbedder):
    """The same words in 96 dimensions."""

    name = "hash-96"
    dimension = 96


class Impostor(HashEmbedder):
    """Another model under the same name, as a server may have after an update."""

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        return np.asarray(embed(text, 32), np.float32)


def retriever(store: VectorStore, embedder: Embedder | None) -> Retriever:
    options = RetrieverOptions("home", "350/50", 100, 10, 2, 4000, "it")
    return Retriever(store, embedder, options)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (HashEmbedder, LongerEmbedder),
        (LongerEmbedder, HashEmbedder),
        (HashEmbedder, None),
        (None, HashEmbedder),
    ],
)
def test_a_change_is_a_rebuild_there_and_back(
    any_store: VectorStore,
    january: Path,
    settings: Settings,
    first: type[HashEmbedder] | None,
    second: type[HashEmbedder] | None,
) -> None:
    roots = name_roots([january])
    for before, after in ((first, second), (second, first)):
        old, new = before() if before else None, after() if after else None
        make_indexer(any_store, old, settings).run(roots, rebuild=True)
        found = retriever(any_store, old).retrieve(QUESTION).hits[0].chunk
        with pytest.raises(IndexMismatchError, match="cervella index --rebuild"):
            make_indexer(any_store, new, settings).run(roots)
        assert retriever(any_store, old).retrieve(QUESTION).hits[0].chunk == found
        report = make_indexer(any_store, new, settings).run(roots, rebuild=True)
        assert report.embedded == (report.chunks if new else 0)
        assert retriever(any_store, new).retrieve(QUESTION).hits
        with pytest.raises(IndexMismatchError, match="cervella index --rebuild"):
            retriever(any_store, old).retrieve(QUESTION)


def test_the_old_index_serves_until_the_new_one_is_whole(
    any_store: VectorStore, january: Path, settings: Settings
) -> None:
    roots, old = name_roots([january]), HashEmbedder()
    make_indexer(any_store, old, settings).run(roots)
    answered: list[int] = []

    class Watched(LongerEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            answered.append(len(retriever(any_store, old).retrieve(QUESTION).hits))
            return super().embed_documents(texts)

    make_indexer(any_store, Watched(), settings).run(roots, rebuild=True)
    assert answered
    assert all(answered)


def test_an_embedder_that_fails_leaves_the_old_index(
    any_store: VectorStore, january: Path, settings: Settings
) -> None:
    roots, old = name_roots([january]), HashEmbedder()
    make_indexer(any_store, old, settings).run(roots)

    class Failing(LongerEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            raise EmbedderError(embedder=self.name, reason="no memory")

    with pytest.raises(EmbedderError, match="no memory"):
        make_indexer(any_store, Failing(), settings).run(roots, rebuild=True)
    assert retriever(any_store, old).retrieve(QUESTION).hits


def test_another_model_under_the_same_name_is_noticed(
    any_store: VectorStore, january: Path, settings: Settings
) -> None:
    make_indexer(any_store, HashEmbedder(), settings).run(name_roots([january]))
    with pytest.raises(IndexMismatchError, match=r"\(64\).*\(32\)"):
        retriever(any_store, Impostor()).retrieve(QUESTION)
    (january / "nuovo.md").write_text("# Nuovo\n\n> **Data:** 2026-01-12\n\nUna pagina nuova.\n")
    with pytest.raises(IndexMismatchError, match=r"\(64\).*\(32\)"):
        make_indexer(any_store, Impostor(), settings).run(name_roots([january]))
    assert retriever(any_store, HashEmbedder()).retrieve(QUESTION).hits
