"""How long files take to become an index: `python -m benchmarks.indexing FOLDER [drawn]`.

Whole, again with nothing changed, and with one file changed. With "drawn" vectors are drawn by lot instead
of computed: what is measured is everything but the model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from cervella_rag import bootstrap
from cervella_rag.indexing.indexer import Indexer
from cervella_rag.protocols import Vectors

from .measuring import Figures, measured, report, timed

_ROUNDS = 5


class DrawnEmbedder:
    """Vectors by lot, of the shape that the default embedder makes."""

    name = "drawn"
    dimension = 512
    sees_windows = True

    def __init__(self) -> None:
        self._random = np.random.default_rng(5)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        drawn = self._random.standard_normal((len(texts), self.dimension), np.float32)
        vectors: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """See `Embedder`."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector


def measure(folder: Path, *, is_drawn: bool) -> Figures:
    """Index a folder that may be changed."""
    settings = bootstrap.load_settings()
    indexer = bootstrap.make_indexer(settings, DrawnEmbedder() if is_drawn else None)
    roots = bootstrap.find_roots(settings, [folder])
    whole: Figures = {}
    with measured(whole):
        first = indexer.run(roots)
    whole |= {
        "documents": first.documents,
        "chunks": first.chunks,
        "documents_per_second": round(first.documents / whole["seconds"], 1),
        "chunks_per_second": round(first.chunks / whole["seconds"], 1),
    }
    unchanged = [timed(lambda: indexer.run(roots)) for _ in range(_ROUNDS)]
    changed = [_changed(indexer, folder, number) for number in range(_ROUNDS)]
    return {
        "full": whole,
        "unchanged_seconds": round(median(unchanged) / 1000, 3),
        "one_file_changed_seconds": round(median(changed) / 1000, 3),
    }


def _changed(indexer: Indexer, folder: Path, number: int) -> float:
    file = min(folder.rglob("*.md"))
    file.write_text(f"{file.read_text('utf-8')}\n\nRiga nuova numero {number}.\n", "utf-8")
    settings = bootstrap.load_settings()
    return timed(lambda: indexer.run(bootstrap.find_roots(settings)))


if __name__ == "__main__":
    report(measure(Path(sys.argv[1]), is_drawn="drawn" in sys.argv[2:]))
