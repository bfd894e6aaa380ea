"""What is indexed: pieces of documents, with their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cervella_rag.domain.files import Metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document that is indexed.

    Attributes:
        chunk_id: UUID of this passage in this content of the file; a move does not change it.
        headings: Heading path that holds every line of the chunk, outermost first.
        start_line: First line in the file, 1-based.
        end_line: Last line, inclusive.
        text: Those lines as they are in the file, at most 500 estimated tokens; for display. Of a
            line that is longer than that by itself, a part.
        index_text: File name, headings and cleaned words; for embedding and lexical search.
        reading: What the ranker looks for in it, read once (`retrieval.reading`); "" where nobody has.
        enrichment: Lines that a model wrote of it, searched too and never shown; "" without any.
    """

    chunk_id: str
    root: str
    path: str
    paths: tuple[str, ...]
    sha256: str
    headings: tuple[str, ...]
    start_line: int
    end_line: int
    text: str
    index_text: str
    metadata: Metadata
    retired: str | None = None
    reading: str = ""
    enrichment: str = ""

    @property
    def searched_text(self) -> str:
        """Everything that is searched by words."""
        return f"{self.index_text}\n{self.enrichment}" if self.enrichment else self.index_text


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Lexical weights: `indices[i]` is a term number (unsigned 32-bit), `values[i]` its weight."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A chunk with its vectors, as the vector store keeps it.

    Attributes:
        dense: Shape (1 + windows, dimension), float32, rows L2-normalised: the whole chunk, then each of
            its windows where the embedder wants them. None in a lexical-only index.
    """

    chunk: Chunk
    dense: NDArray[np.float32] | None
    lexical: SparseVector
