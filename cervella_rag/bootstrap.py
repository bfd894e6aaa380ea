"""The one place that chooses implementations and puts the parts together.

Imports stand inside the functions, so that a command loads only what it uses: `cervella --help`
loads no model, a search loads no web server.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervella_rag.errors import (
    HostRefusedError,
    InvalidRequestError,
    PortTakenError,
    StoreError,
)
from cervella_rag.messages import locale_language

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.domain import Answer, IndexReport, Question, Retrieval, Root
    from cervella_rag.indexing.indexer import Indexer
    from cervella_rag.protocols import Embedder, VectorStore
    from cervella_rag.retrieval.retriever import Retriever
    from cervella_rag.retrieval.stats import Stats
    from cervella_rag.settings import Settings


def load_settings(**overrides: object) -> Settings:
    """Read the settings. See `load_settings`."""
    from cervella_rag.settings import load_settings as load

    return load(**overrides)


def make_embedder(settings: Settings) -> Embedder | None:
    """Return the configured embedder, or None for a lexical-only index."""
    if settings.embedder.name == "none":
        return None
    from cervella_rag.vectors.use_embedder import USEEmbedder

    return USEEmbedder()


def make_store(settings: Settings) -> VectorStore:
    """Return the vector store."""
    from cervella_rag.vectors.generations import EmbeddedStore

    return EmbeddedStore(settings.home / "index")


def find_roots(settings: Settings, paths: Iterable[Path] = ()) -> tuple[Root, ...]:
    """Return the roots of the memory: those named, else those configured, else those indexed before.

    With none of these, the sample memory that comes with the program.

    Raises:
        RootMissingError: One of them cannot be read.
        StoreError: None is named or configured, and the index cannot be asked.
    """
    from cervella_rag.memory.sources import name_roots
    from cervella_rag.resources import resource

    chosen = tuple(paths) or tuple(settings.memory.roots)
    try:
        reader = make_store(settings).read()
    except StoreError:
        if not chosen:
            raise
        reader = None  # a damaged index must not stand in the way of its own repair
    known = reader.manifest.roots if reader else {}
    chosen = chosen or tuple(map(Path, known.values()))
    return name_roots(chosen or (resource("knowledge"),), known)


def make_indexer(settings: Settings, shared: Embedder | None = None) -> Indexer:
    """Return what brings the index to the state of the folders; `shared` is a loaded embedder."""
    from cervella_rag.indexing.indexer import Indexer, IndexerParts
    from cervella_rag.memory.chunker import Chunker
    from cervella_rag.memory.language import detect_language
    from cervella_rag.memory.sncp import DocumentReader
    from cervella_rag.memory.sources import SourceReader
    from cervella_rag.settings import SKIP_RULES

    memory, chunking = settings.memory, settings.chunking
    return Indexer(
        IndexerParts(
            sources=SourceReader(memory, own_data=settings.home),
            documents=DocumentReader(
                volatile=memory.volatile,
                template=SKIP_RULES["template"],
                detect_language=detect_language,
            ),
            chunker=Chunker(chunking.size_tokens, chunking.overlap_tokens, _split_long_text),
            chunking=chunking.preset,
            embedder=shared or make_embedder(settings),
            store=make_store(settings),
        )
    )


def _split_long_text(text: str, size_tokens: int) -> list[str]:
    # LlamaIndex takes seconds to import and few memories have a line that needs it.
    from cervella_rag.memory.sentences import split_long_text

    return split_long_text(text, size_tokens)


def make_retriever(settings: Settings, shared: Embedder | None = None) -> Retriever:
    """Return what finds hits; `shared` is a loaded embedder."""
    from cervella_rag.retrieval.retriever import Retriever, RetrieverOptions

    options = RetrieverOptions(
        home=str(settings.home),
        chunking=settings.chunking.preset,
        candidates=settings.retrieval.candidates,
        rrf_k=settings.retrieval.rrf_k,
        lexical_votes=settings.retrieval.lexical_votes,
        question_characters=settings.retrieval.question_characters,
        language=locale_language(),
    )
    return Retriever(make_store(settings), shared or make_embedder(settings), options)


def make_assistant(settings: Settings, shared: Retriever | None = None) -> Assistant:
    """Return what answers; `shared` is a retriever that is there already."""
    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.llm.memory_only import MemoryOnlyLLM
    from cervella_rag.memory.language import detect_language
    from cervella_rag.resources import resource

    return Assistant(
        retriever=shared or make_retriever(settings),
        llm=MemoryOnlyLLM(resource("prompts") / "answers"),
        answer_hits=settings.retrieval.answer_hits,
        detect_language=detect_language,
    )


def make_app(settings: Settings) -> FastAPI:
    """Return the HTTP application."""
    from cervella_rag.api.app import create_app
    from cervella_rag.api.jobs import IndexJobs

    embedder = make_embedder(settings)
    retriever = make_retriever(settings, embedder)
    indexer = make_indexer(settings, embedder)
    jobs = IndexJobs(lambda progress: indexer.run(find_roots(settings), progress=progress))
    return create_app(settings.api, retriever, make_assistant(settings, retriever), jobs)


def run(task: Coroutine[Any, Any, None]) -> None:
    """Run what is asynchronous from a command that is not."""
    import asyncio

    asyncio.run(task)


def make_question(text: str, **filters: str | None) -> Question:
    """Return a question with its filters checked.

    Raises:
        InvalidRequestError: A filter cannot be used.
    """
    from pydantic import ValidationError

    from cervella_rag.api.schemas import FiltersModel
    from cervella_rag.domain import Question

    try:
        checked = FiltersModel.model_validate(filters)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequestError(field=str(first["loc"][0]), reason=first["msg"]) from error
    return Question(text, filters=checked.to_domain())


def outer_shape(value: IndexReport | Retrieval | Answer | Stats) -> dict[str, Any]:
    """Return a result as the HTTP door shows it, so that `--json` and the API never differ."""
    from cervella_rag.api import schemas
    from cervella_rag.domain import Answer, IndexReport, Retrieval

    match value:
        case IndexReport():
            return schemas.IndexReportModel.model_validate(value).model_dump(mode="json")
        case Retrieval():
            return schemas.SearchResponse.of(value).model_dump(mode="json")
        case Answer():
            return schemas.AnswerModel.of(value).model_dump(mode="json")
        case _:
            return schemas.StatsModel.of(value).model_dump(mode="json")


def count_index(settings: Settings) -> Stats:
    """Count what the index holds.

    Raises:
        IndexAbsentError, IndexMismatchError: There is no index to use.
    """
    from cervella_rag.retrieval.stats import count

    return count(make_retriever(settings).reader())


def evaluate_retrieval(
    settings: Settings, file: Path, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Measure retrieval on an evaluation file. See `evaluation.retrieval`."""
    from dataclasses import asdict

    from cervella_rag.evaluation.retrieval import evaluate, read_items

    items = read_items(file)
    retriever = make_retriever(settings)
    retriever.warm()
    manifest = retriever.reader().manifest
    made = {key: asdict(manifest)[key] for key in ("generation", "chunks", "embedder", "chunking")}
    return {"file": file.name, "index": made, **evaluate(retriever, items, progress)}


def serve(settings: Settings, *, host: str, port: int, announce: Callable[[str, int], None]) -> None:
    """Serve until told to stop.

    Raises:
        HostRefusedError: The address is not this machine's loopback.
        PortTakenError: Another program listens there.
    """
    import ipaddress
    import logging

    import uvicorn

    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise HostRefusedError(host=host)
    listening = _listen(host, port)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    shown = f"[{host}]" if ":" in host else host
    hosts = [*settings.api.allowed_hosts, shown]
    api = settings.api.model_copy(update={"allowed_hosts": hosts})
    app = make_app(settings.model_copy(update={"api": api}))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    announce(shown, port)
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded, so that a taken one is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise PortTakenError(host=host, port=port, reason=error.strerror, other=port % 65535 + 1) from error
    return listening
