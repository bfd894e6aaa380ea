"""What embedders that stand before a model share: prefixes, batches, norms, and texts that are too long."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import stamina

from cervella_rag.errors import EmbedderError
from cervella_rag.protocols import Vectors
from cervella_rag.vectors.batches import batches


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a model was trained to see before a question and before a document."""

    query: str = ""
    document: str = ""


_INSTRUCTION = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)

_KNOWN = (
    (r"e5-.*instruct|e5-mistral", Prefixes(f"{_INSTRUCTION} ")),
    (r"(^|[/_-])e5-|multilingual-e5", Prefixes("query: ", "passage: ")),
    (r"qwen3-embedding", Prefixes(_INSTRUCTION)),
    (r"nomic-embed-text", Prefixes("search_query: ", "search_document: ")),
    (r"embeddinggemma", Prefixes("task: search result | query: ", "title: none | text: ")),
    (r"arctic-embed.*(2|v2)", Prefixes("query: ")),
    (
        r"mxbai-embed|bge-(small|base|large)-en|arctic-embed",
        Prefixes("Represent this sentence for searching relevant passages: "),
    ),
)
"""Patterns of model names, the first that matches. Reference: the models' cards."""


def known_prefixes(model: str) -> Prefixes | None:
    """Return what a model wants before its texts, or None for one that is not known here.

    Args:
        model: Id or path; its last part decides, whatever the folders above are called.
    """
    name = model.lower().rstrip("/").rpartition("/")[2]
    return next((found for pattern, found in _KNOWN if re.search(pattern, name)), None)


_ATTEMPTS = 3
CONNECT_SECONDS = 2.0
"""Longest wait for a server to be there at all; what follows may load a model."""


@dataclass(frozen=True, slots=True)
class Portions:
    """How many texts are asked for in one request, and how many requests are under way at once."""

    batch_size: int = 32
    concurrency: int = 1


class TextTooLongError(Exception):
    """Inside an embedder: a text is longer than its model's window."""


class ModelEmbedder(ABC):
    """An `Embedder` before a model that is asked in batches.

    Args:
        technology: What runs the model; first half of the name.
        model: Its name; second half of the name.
        prefixes: Put before texts, or None for a model that needs none or puts its own.
        portions: How documents are asked for; more than one request at once only where `_embed` lets it.
    """

    def __init__(
        self,
        technology: str,
        model: str,
        *,
        prefixes: Prefixes | None = None,
        portions: Portions | None = None,
    ) -> None:
        self._prefixes = prefixes or Prefixes()
        self._portions = portions or Portions()
        before = self._prefixes.document.strip()
        # Other words before the documents make vectors that cannot be compared.
        self.name = f"{technology}:{model}" + (f" ({before})" if before else "")

    sees_windows = False
    """These models were trained on passages: one vector a chunk, a fifth of the work."""

    @cached_property
    def dimension(self) -> int:
        """Length of a vector, asked of the model."""
        return int(self.embed_query("memoria").shape[0])

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        cut = list(batches(texts, self._portions.batch_size))
        embed = partial(self._whole, is_query=False)
        if self._portions.concurrency == 1 or len(cut) == 1:
            return np.vstack([embed(batch) for batch in cut])
        # Results come in the order of the batches; the first that fails calls off those not yet begun.
        with ThreadPoolExecutor(self._portions.concurrency, thread_name_prefix="embed") as pool:
            return np.vstack(list(pool.map(embed, cut)))

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        vector: Vectors = self._whole([text], is_query=True)[0]
        return vector

    @abstractmethod
    def _embed(self, texts: list[str], *, is_query: bool) -> Vectors:
        """Return one vector a text, of any norm.

        Raises:
            TextTooLongError: One of them does not fit the model's window.
            EmbedderError: The model cannot be loaded or failed.
        """

    def _whole(self, texts: list[str], *, is_query: bool) -> Vectors:
        """Embed texts of any length: one that does not fit is the mean of its halves."""
        prefix = self._prefixes.query if is_query else self._prefixes.document
        try:
            made = self._embed([prefix + text for text in texts], is_query=is_query)
            return self._checked(made, len(texts))
        except TextTooLongError as error:
            if len(texts) > 1:
                return np.vstack([self._whole([text], is_query=is_query) for text in texts])
            halves = _halves(texts[0])
            if not halves:
                raise EmbedderError(embedder=self.name, reason=error) from error
            return _normalised(self._whole(halves, is_query=is_query).mean(axis=0, keepdims=True))

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
            raise EmbedderError(embedder=self.name, reason=f"{count} texts gave vectors {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise EmbedderError(embedder=self.name, reason="a vector holds NaN or infinity")
        return _normalised(vectors)


def ask_again(call: Callable[[], Vectors], on: Callable[[Exception], bool]) -> Vectors:
    """Return what a server answers, asked up to three times where `on` says that it may help."""
    for attempt in stamina.retry_context(on=on, attempts=_ATTEMPTS, wait_initial=0.2):
        with attempt:
            return call()
    raise AssertionError  # the last attempt raises


def _normalised(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    made: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return made


def _halves(text: str) -> list[str]:
    """Cut at the blank nearest to the middle; nothing where there is none to cut at."""
    blanks = [match.start() for match in re.finditer(r"\s+(?=\S)", text) if match.start()]
    if not blanks:
        return []
    cut = min(blanks, key=lambda place: abs(place - len(text) // 2))
    return [text[:cut], text[cut:].lstrip()]
