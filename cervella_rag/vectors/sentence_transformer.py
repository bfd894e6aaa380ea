"""Any sentence-transformers model, by its id on a hub or its folder, on the CPU or whatever torch finds."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from transformers.utils import logging

from cervella_rag.errors import EmbedderError
from cervella_rag.protocols import Vectors
from cervella_rag.vectors.embedding import ModelEmbedder, Prefixes

_logging: Any = logging  # it is typed in part


class SentenceTransformerEmbedder(ModelEmbedder):
    """Embeds with a model that sentence-transformers can load.

    Args:
        model: Id on a hub, or a folder.
        prefixes: Put before texts; None lets the model put its own, where it has any.
    """

    def __init__(self, model: str, prefixes: Prefixes | None) -> None:
        # A folder is known by its name, so that an index can be used where the folder lies elsewhere.
        folder = Path(model).expanduser()
        self._source = str(folder) if folder.is_dir() else model
        name = folder.absolute().name if folder.is_dir() else model
        super().__init__("sentence-transformers", name, prefixes=prefixes)
        self._puts_its_own = prefixes is None
        self._lock = Lock()  # one load, and one text at a time before a tokenizer that cannot be shared

    @cached_property
    def _model(self) -> SentenceTransformer:
        _logging.disable_progress_bar()  # loading takes a second; fetching has its own bar
        try:
            try:
                # A hub is asked only for what is not here: without a network that takes a minute.
                return SentenceTransformer(self._source, local_files_only=True)
            except OSError:
                if Path(self._source).is_dir():
                    raise
                return SentenceTransformer(self._source)
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise EmbedderError(embedder=self.name, reason=_first_line(error)) from error

    def _embed(self, texts: list[str], *, is_query: bool) -> Vectors:
        prompt = None if self._puts_its_own else ""  # ours stands before the texts already
        try:
            with self._lock:
                model = self._model
                encode = model.encode_query if is_query else model.encode_document
                vectors = encode(texts, prompt=prompt, show_progress_bar=False)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise EmbedderError(embedder=self.name, reason=_first_line(error)) from error
        return np.asarray(vectors, np.float32)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
