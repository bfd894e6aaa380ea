"""A question becomes hits: lexical and dense lists, fused by the engine, each hit with its reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from cervella_rag.domain import (
    Chunk,
    Exact,
    Filters,
    Hit,
    IndexInfo,
    Question,
    Retrieval,
    Scores,
    Understood,
)
from cervella_rag.errors import (
    IndexAbsentError,
    InvalidRequestError,
    QuestionEmptyError,
    QuestionTooLongError,
    UpstreamError,
)
from cervella_rag.memory.lexical import encode_query, numbered, words
from cervella_rag.messages import message
from cervella_rag.protocols import Embedder, Search, StoreReader, VectorStore
from cervella_rag.retrieval.dictionary import dictionary
from cervella_rag.retrieval.evidence import NO_EMBEDDER, WEIGHED, gate_for
from cervella_rag.retrieval.query import understand
from cervella_rag.retrieval.ranker import rerank
from cervella_rag.retrieval.reading import is_read, prepare
from cervella_rag.retrieval.time import condition, prefer

_log = logging.getLogger(__name__)
_TRANSLATED = 0.4
"""Weight of a word that only the dictionary gives, where the question's have 1; 0.3 to 0.7 find as much."""


@dataclass(frozen=True, slots=True)
class RetrieverOptions:
    """How hits are found.

    Attributes:
        home: Where the index is looked for; named when there is none.
        chunking: Preset the index must have been made with.
        redaction: Name of the redaction rules it must have been made with.
        candidates: Chunks taken from each list before fusion.
        rrf_k: Constant of reciprocal rank fusion.
        lexical_votes: How often the lexical list counts for each time the dense one does.
        question_characters: Longest question.
        language: Language of the reasons given with hits.
        words_alone: Whether an embedder that fails is done without, and that is told.
    """

    home: str
    chunking: str
    candidates: int
    rrf_k: int
    lexical_votes: int
    question_characters: int
    language: str
    redaction: str = "none"
    words_alone: bool = False


class Retriever:
    """Finds chunks for a question; an embedder of None searches by words alone.

    Args:
        store: Where they are.
        embedder: What made their vectors.
        options: How they are found.
        exact: Answers a question that code can count the answer of; None answers none.
    """

    def __init__(
        self,
        store: VectorStore,
        embedder: Embedder | None,
        options: RetrieverOptions,
        exact: Callable[[Question], Exact | None] | None = None,
    ) -> None:
        self._exact = exact
        self._store = store
        self._embedder = embedder
        self._options = options

    def retrieve(self, question: Question, *, top_k: int = 10) -> Retrieval:
        """Return the best `top_k` hits, best first.

        Raises:
            QuestionEmptyError, QuestionTooLongError, InvalidRequestError: It cannot be searched.
            IndexAbsentError: Nothing is indexed.
            IndexMismatchError: The index was made with other parts.
            EmbedderError, StoreError: A part failed.
        """
        started = time.perf_counter()
        self._check(question)
        reader = self.reader()
        longest = 2 * self._options.question_characters
        understood = understand(question.text, question.history, reader.manifest.newest, longest)
        dense, degraded = self._dense(understood.searched)
        search = self._search(understood, dense, question.filters, top_k)
        if search.dense is not None:
            reader.manifest.require_dimension(len(search.dense))
        candidates = _candidates(reader, search, understood)
        found = prefer(understood, rerank(understood.searched, candidates, dict(understood.also)))
        asked = understood.words
        wanted = max(top_k, WEIGHED)
        best = tuple(
            Hit(chunk, scores, self._why(asked, chunk, scores))
            for chunk, scores in _whole(reader, found[:wanted])
        )
        hits = best[:top_k]
        gate = gate_for(reader.manifest.embedder if dense else NO_EMBEDDER)
        doubt = gate.doubt(understood, best[:WEIGHED])
        enough = doubt <= (gate.line if reader.manifest.line is None else reader.manifest.line)
        return Retrieval(
            question=question,
            hits=hits,
            enough=enough,
            closest=() if enough else hits[:3],
            understood=understood,
            index=_info(reader),
            exact=self._exact(question) if self._exact else None,
            took_ms=round((time.perf_counter() - started) * 1000, 2),
            degraded=degraded,
            doubt=round(doubt, 3),
        )

    def reader(self) -> StoreReader:
        """Return the published generation.

        Raises:
            IndexAbsentError: There is none.
            IndexMismatchError: It was made with other parts.
        """
        reader = self._store.read()
        if reader is None:
            raise IndexAbsentError(home=self._options.home)
        reader.manifest.require(self._embedder, self._options.chunking, self._options.redaction)
        return reader

    def warm(self) -> None:
        """Load what answers, so that the first question does not wait for it.

        Raises:
            EmbedderError: The embedder cannot be loaded.
            IndexAbsentError, IndexMismatchError, StoreError: There is no index to load.
        """
        self.try_embedder()
        dictionary()
        prepare(self.reader().warm())

    def try_embedder(self) -> None:
        """Embed a word.

        Raises:
            EmbedderError: It cannot be loaded, or does not answer.
        """
        if self._embedder:
            self._embedder.embed_query("memoria")

    def _check(self, question: Question) -> None:
        if not question.text.strip():
            raise QuestionEmptyError
        limit = self._options.question_characters
        if len(question.text) > limit:
            raise QuestionTooLongError(length=len(question.text), limit=limit)
        said = [message.content for message in question.history]
        for field, text in (
            ("question", question.text),
            *(("history", content) for content in said),
            *((name, value or "") for name, value in asdict(question.filters).items()),
        ):
            if not _is_text(text):
                raise InvalidRequestError(field=field, reason="half of a surrogate pair is not text")

    def _dense(self, text: str) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
        """Return the question's vector, and what was done without."""
        if self._embedder is None:
            return None, ()
        try:
            return tuple(self._embedder.embed_query(text).tolist()), ()
        except UpstreamError as error:
            if not self._options.words_alone:
                raise
            _log.warning("%s", error)
            return None, ("embedder",)

    def _search(
        self, asked: Understood, dense: tuple[float, ...] | None, filters: Filters, top_k: int
    ) -> Search:
        other_names = [name for _, names in asked.also for name in names]
        text = numbered(asked.searched) + (f" {asked.hour:02}" if asked.hour is not None else "")
        return Search(
            lexical=encode_query(text, other_names, _TRANSLATED),
            dense=dense,
            filters=filters,
            windows=dense is not None and self._embedder is not None and self._embedder.sees_windows,
            candidates=max(self._options.candidates, top_k),
            rrf_k=self._options.rrf_k,
            lexical_votes=self._options.lexical_votes,
        )

    def _why(self, asked: Sequence[str], chunk: Chunk, scores: Scores) -> str:
        present = set(words(chunk.index_text))
        shared = [word for word in dict.fromkeys(asked) if word in present]
        reasons = []
        if shared:
            reasons.append(message("why.words", self._options.language, words=", ".join(shared)))
        if scores.dense is not None:
            similarity = f"{scores.dense:.2f}"
            reasons.append(message("why.similar", self._options.language, similarity=similarity))
        return "; ".join(reasons) or message("why.stems", self._options.language)


def _candidates(reader: StoreReader, search: Search, understood: Understood) -> list[tuple[Chunk, Scores]]:
    """Return what is found, and first what is found among what the question itself names."""
    found = reader.search(replace(search, named=condition(understood, search.filters)))
    if all(is_read(chunk) for chunk, _ in found):
        return found
    return _whole(reader, found)  # an older index: the ranker reads them itself


def _whole(reader: StoreReader, found: Sequence[tuple[Chunk, Scores]]) -> list[tuple[Chunk, Scores]]:
    chunks = reader.whole([chunk for chunk, _ in found])
    return [(chunk, scores) for chunk, (_, scores) in zip(chunks, found, strict=True)]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _info(reader: StoreReader) -> IndexInfo:
    manifest = reader.manifest
    return IndexInfo(manifest.generation, manifest.documents, manifest.chunks)
