"""How often each operation asks a model, an engine, a disk: counted, because times are noisy."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cervella_rag import bootstrap
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import Filters, Question
from cervella_rag.indexing.indexer import Indexer
from cervella_rag.memory import sources
from cervella_rag.protocols import Vectors
from cervella_rag.retrieval import reading
from cervella_rag.retrieval.query import understand
from cervella_rag.settings import Settings
from cervella_rag.vectors.qdrant_edge import EdgeShard
from cervella_rag.vectors.qdrant_server import QdrantStore
from cervella_rag.vectors.use_embedder import USEEmbedder

from .conftest import server_options
from .qdrant_double import qdrant_double
from .test_assistant import ScriptedLLM

QUESTION = "Quante ore tiene la temperatura il forno a legna?"


class CountingEmbedder(USEEmbedder):
    """The default embedder; counts what it is asked."""

    def __init__(self) -> None:
        self.questions = 0
        self.texts = 0

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        self.texts += len(texts)
        return super().embed_documents(texts)

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        self.questions += 1
        return super().embed_query(text)


class CountingShard:
    """The engine; counts its calls by name."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._shard, name)


@pytest.fixture
def counting() -> CountingEmbedder:
    return CountingEmbedder()


@pytest.fixture
def indexer(settings: Settings, counting: CountingEmbedder, january: Path) -> Indexer:
    """What has indexed the January memory, everything counted from now on."""
    made = bootstrap.make_indexer(settings, counting)
    made.run(bootstrap.find_roots(settings, [january]))
    counting.texts = 0
    return made


@contextmanager
def counted(owner: Any, *names: str) -> Iterator[Counter[str]]:
    """Count the calls of functions of a module; they do what they did."""
    calls: Counter[str] = Counter()

    def counting_call(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            if args and isinstance(args[0], str | os.PathLike):
                calls[os.fspath(args[0])] += 1
            return call(*args, **kwargs)

        return made

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(owner, name, counting_call(name, getattr(owner, name)))
        yield calls


def counted_shard(settings: Settings) -> tuple[Any, CountingShard]:
    store = bootstrap.make_store(settings)
    reader = store.read()
    assert isinstance(reader, EdgeShard)
    shard = CountingShard(reader._shard)
    reader._shard = shard  # type: ignore[assignment]
    return store, shard


@pytest.mark.usefixtures("indexer")
def test_a_search_is_one_embedding_and_two_batches_of_the_engine(
    settings: Settings, counting: CountingEmbedder
) -> None:
    store, shard = counted_shard(settings)
    retriever = bootstrap.make_retriever(settings, counting, store)
    retriever.retrieve(Question(QUESTION))
    assert counting.questions == 1
    # What is best by words and by meaning, and all its scores; what has not been read before.
    assert shard.calls == {"query_batch": 2, "retrieve": 1}
    retriever.retrieve(Question(QUESTION))
    # Of what is remembered, the texts of the best.
    assert shard.calls == {"query_batch": 4, "retrieve": 2}
    assert counting.texts == 0


@pytest.mark.usefixtures("indexer")
def test_a_search_by_words_is_one_batch(settings: Settings) -> None:
    store, shard = counted_shard(settings)
    reader = store.read()
    assert reader
    retriever = bootstrap.make_retriever(settings, CountingEmbedder(), store)
    search = retriever._search(understand(QUESTION, (), "", 8000), None, Filters(), 10)
    assert reader.search(search)
    assert shard.calls == {"query_batch": 1, "retrieve": 1}


def test_a_search_on_a_server_is_one_query(
    settings: Settings, counting: CountingEmbedder, january: Path, tmp_path: Path
) -> None:
    with qdrant_double() as double:
        store = QdrantStore(server_options(double.url), tmp_path / "lock")
        indexer = bootstrap.make_indexer(settings, counting, store)
        indexer.run(bootstrap.find_roots(settings, [january], store))
        retriever = bootstrap.make_retriever(settings, counting, store)
        double.requests.clear()
        retriever.retrieve(Question(QUESTION))
        queries = [one for one in double.requests if "/query" in one]
        assert len(queries) == 1
        # Which collection, and which generation of it: two small requests, so that no old one is read.
        assert len(double.requests) <= 3, double.requests


def test_a_run_with_nothing_changed_embeds_nothing_and_reads_each_file_once(
    indexer: Indexer, settings: Settings, counting: CountingEmbedder, january: Path
) -> None:
    roots = bootstrap.find_roots(settings)
    with counted(sources, "_read_bytes") as read, counted(os, "scandir") as listed:
        report = indexer.run(roots)
    files = [file for file in january.rglob("*.md") if "TEMPLATE" not in file.name]
    assert report.unchanged == len(files)
    assert counting.texts == counting.questions == 0
    assert within(january, read) == {os.fspath(file): 1 for file in files}
    folders = [january, *(path for path in january.rglob("*") if path.is_dir())]
    assert within(january, listed) == {os.fspath(folder): 1 for folder in folders}


def within(folder: Path, calls: Counter[str]) -> dict[str, int]:
    return {name: times for name, times in calls.items() if name.startswith(os.fspath(folder))}


def test_one_changed_file_is_all_that_is_embedded(
    indexer: Indexer, settings: Settings, counting: CountingEmbedder, january: Path
) -> None:
    file = january / "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"
    file.write_text(f"{file.read_text('utf-8')}\nIl forno pesa due tonnellate.\n", "utf-8")
    report = indexer.run(bootstrap.find_roots(settings))
    assert (report.changed, report.added) == (1, 0)
    chunks = [
        c for c in read_chunks(settings) if c.path == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"
    ]
    assert 0 < report.embedded <= len([chunk for chunk in chunks if not chunk.retired])


def read_chunks(settings: Settings) -> list[Any]:
    reader = bootstrap.make_store(settings).read()
    assert reader
    return list(reader.chunks())


@pytest.mark.usefixtures("indexer")
def test_a_turn_is_one_retrieval_and_one_generation_and_opens_no_file_of_the_memory(
    settings: Settings, counting: CountingEmbedder, january: Path
) -> None:
    store, shard = counted_shard(settings)
    retriever = bootstrap.make_retriever(settings, counting, store)
    voice = ScriptedLLM("Tiene ", "sei ", "ore ", "[1].")
    assistant = replace(
        bootstrap.make_assistant(settings, retriever), voices=Voices([voice], rest_seconds=0)
    )
    with counted(sources, "_read_bytes") as read, counted(os, "scandir") as listed:
        said = asyncio.run(assistant.reply(Question(QUESTION)))
    assert said.grounded
    assert len(voice.prompts) == 1
    assert counting.questions == 1
    assert shard.calls == {"query_batch": 2, "retrieve": 1}
    assert not within(january, read + listed)


@pytest.mark.usefixtures("indexer")
def test_what_the_ranker_looks_for_is_read_when_a_chunk_is_indexed(settings: Settings) -> None:
    reading._read.cache_clear()
    bootstrap.make_retriever(settings, CountingEmbedder()).retrieve(Question(QUESTION))
    assert reading._read.cache_info().misses == 0
