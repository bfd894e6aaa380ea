"""The seams: what Cervella needs from an embedder, a vector store and a voice, whoever makes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from cervella_rag.domain import (
    Chunk,
    Composed,
    Conversation,
    ConversationInfo,
    Filters,
    Message,
    Point,
    Prompt,
    Scores,
    SparseVector,
    Turn,
    VoiceEvent,
    Window,
)
from cervella_rag.errors import IndexMismatchError

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Makes vectors; loads its model on first use."""

    @property
    def name(self) -> str:
        """Identity kept with the index; another name means vectors that cannot be compared."""
        ...

    @property
    def sees_windows(self) -> bool:
        """Whether windows of a chunk deserve vectors of their own, as with an encoder of sentences."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector, as the model has it.

        Raises:
            EmbedderError: The model has to be asked and cannot be.
        """
        ...

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return shape (len(texts), dimension), float32, L2-normalised.

        Raises:
            EmbedderError: The model cannot be loaded or failed.
        """
        ...

    def embed_query(self, text: str) -> Vectors:
        """Return shape (dimension,), float32, L2-normalised.

        Raises:
            EmbedderError: The model cannot be loaded or failed.
        """
        ...


FORMAT = 2
"""Raised when documents are read or kept differently, so that older indexes ask for a rebuild."""


class Made(TypedDict):
    """What must agree between an index and the program that opens it."""

    format: int
    embedder: str
    chunking: str
    redaction: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """How a generation was made; what a reader must match to use it.

    Attributes:
        format: Version of the payload and of what is read from files.
        embedder: Name of the embedder, "none" for a lexical-only index.
        dimension: Length of the dense vectors, 0 without an embedder.
        chunking: Name of the chunking preset.
        roots: Name of each root and its location.
        created: When it was published, ISO with offset.
        documents: Files of the memory in it, retired ones not counted.
        chunks: Points in it, retired ones included.
        redaction: Name of the rules by which secrets were taken out; another one means that some may be
            in it still.
        projects: Projects that files of the memory belong to.
        newest: Latest date of a file that is there, ISO; "" where none has one.
        line: Above which chance of having no answer a question is turned away, as `cervella eval calibrate`
            found it for this memory; None takes the embedder's own.
    """

    format: int
    generation: int
    embedder: str
    dimension: int
    chunking: str
    roots: dict[str, str]
    created: str
    documents: int
    chunks: int
    redaction: str = "none"
    projects: tuple[str, ...] = ()
    newest: str = ""
    line: float | None = None

    @staticmethod
    def wanted(embedder: Embedder | None, chunking: str, redaction: str) -> Made:
        """Return what an index must have been made with to be used with these parts."""
        name = embedder.name if embedder else "none"
        return Made(format=FORMAT, embedder=name, chunking=chunking, redaction=redaction)

    def require(self, embedder: Embedder | None, chunking: str, redaction: str) -> None:
        """Make sure this generation can be used with these parts; loads no model.

        Raises:
            IndexMismatchError: It was made otherwise; the error says how, and what to run.
        """
        made = Made(
            format=self.format,
            embedder=self.embedder,
            chunking=self.chunking,
            redaction=self.redaction,
        )
        wanted = self.wanted(embedder, chunking, redaction)
        if made != wanted:
            raise IndexMismatchError(made=_describe(made), wanted=_describe(wanted))

    def require_dimension(self, dimension: int) -> None:
        """Make sure that vectors of a length belong here: under one name a server may have another model.

        Raises:
            IndexMismatchError: The vectors here have another length.
        """
        if dimension != self.dimension:
            raise IndexMismatchError(
                made=f"embedder {self.embedder} ({self.dimension})",
                wanted=f"embedder {self.embedder} ({dimension})",
            )


def _describe(made: Made) -> str:
    return "embedder {embedder}, chunking {chunking}, redaction {redaction}, format {format}".format(**made)


@dataclass(frozen=True, slots=True)
class Search:
    """One hybrid search: both vectors, what every hit must meet, and how the two lists are fused.

    Attributes:
        named: Narrower filters that the question itself names; what meets them is found besides, and first.
        candidates: Chunks taken from each list; their union is what is found.
        windows: Whether to score the best window of each candidate too.
        rrf_k: Constant of reciprocal rank fusion.
        lexical_votes: How often the lexical list counts for each time the dense one does.
    """

    lexical: SparseVector
    dense: tuple[float, ...] | None
    filters: Filters
    candidates: int
    rrf_k: int
    lexical_votes: int
    windows: bool = False
    named: Filters | None = None


class StoreReader(Protocol):
    """One whole published generation; never changes."""

    @property
    def manifest(self) -> Manifest:
        """How this generation was made."""
        ...

    def search(self, search: Search) -> list[tuple[Chunk, Scores]]:
        """Return the candidates of both lists, each with all its scores, best fused first.

        A chunk that has been read for the ranker may come without `text` and `index_text`: see `whole`.

        Raises:
            StoreError: The engine failed.
        """
        ...

    def whole(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return chunks that were found with their texts, in the order given.

        Raises:
            StoreError: The engine failed, or one of them is not here.
        """
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Return every chunk, in no order."""
        ...

    def warm(self) -> Iterable[Chunk]:
        """Do before the first search what makes searches quicker, in a process that will be asked again.

        Returns:
            The chunks that are in memory from now on.
        """
        ...

    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors of those chunks that have any, each of the shape of `Point.dense`."""
        ...


class StoreWriter(Protocol):
    """The one writer: fills the next generation in private and shows it in one step."""

    @property
    def current(self) -> StoreReader | None:
        """The published generation, or None where there is none."""
        ...

    @property
    def generation(self) -> int:
        """The number the next generation will have."""
        ...

    def begin(self, *, dimension: int, fresh: bool) -> None:
        """Start the next generation, empty or as a copy of the current one."""
        ...

    def delete(self, chunk_ids: Sequence[str]) -> None:
        """Take chunks out of the next generation."""
        ...

    def upsert(self, points: Iterable[Point]) -> None:
        """Put points into the next generation."""
        ...

    def count(self) -> int:
        """Return how many points the next generation has."""
        ...

    def publish(self, manifest: Manifest) -> None:
        """Make the next generation the current one; readers see it whole or not at all."""
        ...

    def purge(self) -> None:
        """Remove what only earlier generations held; a reader that is still in one may fail."""
        ...


class VectorStore(Protocol):
    """Keeps generations of points; any number of readers, one writer."""

    def read(self) -> StoreReader | None:
        """Return the published generation, or None where there is none.

        Raises:
            StoreError: It is there and cannot be opened.
        """
        ...

    def write(self, *, afresh: bool = False) -> AbstractContextManager[StoreWriter]:
        """Become the one writer; what was not published is dropped at the end.

        Args:
            afresh: Everything will be replaced, so a current generation that cannot be opened is
                taken for none instead of being an error.

        Raises:
            IndexLockedError: Another process is writing.
            StoreError: The current generation is there and cannot be opened.
        """
        ...


class LLM(Protocol):
    """A voice. The stream is the only way to speak; a whole answer is the joined stream."""

    @property
    def mode(self) -> str:
        """Which voice this is: "ollama", "openai", "llama_cpp" or "memory_only"."""
        ...

    @property
    def model(self) -> str:
        """Name of the model, "" where there is none."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """Yield what it does, then the answer piece by piece and, last, how it ended.

        Closing the stream stops the voice.

        Raises:
            PromptTooLongError: The prompt does not fit its window; nothing was sent.
            UpstreamError: It cannot speak, or broke off.
        """
        ...

    async def check(self) -> str:
        """Return what is worth knowing of a voice that could speak now, without making it speak.

        Raises:
            CervellaError: It could not; the error says why and what to do.
        """
        ...

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """Begin to evaluate what the next prompt will begin with, where that helps; return at once."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and models."""
        ...


class PromptWriter(Protocol):
    """Writes what a model is sent."""

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """Return the messages, within the window, and what did not fit.

        Raises:
            PromptTooLongError: They cannot be made to fit.
        """
        ...

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """Return what the next prompt of a conversation begins with, whatever is asked."""
        ...

    def go_on(self, prompt: Prompt, said: str) -> str:
        """Return the words that ask for the rest of an answer, where a server needs to be asked."""
        ...


class ConversationStore(Protocol):
    """Keeps what was said.

    A conversation belongs to the owner who began it, the name of a key; to others it is not there. An
    owner of None is whoever works on this machine: everything is theirs, and what they begin is nobody
    else's.
    """

    async def begin(self, turn: Turn, owner: str | None = None) -> str:
        """Start a conversation with its first turn; return its id.

        Raises:
            ConversationStoreError: It cannot be written.
        """
        ...

    async def read(self, conversation_id: str, owner: str | None = None) -> Conversation:
        """Return a conversation with its turns.

        Raises:
            ConversationUnknownError: There is none with that id.
            ConversationStoreError: It cannot be read.
        """
        ...

    async def append(self, conversation_id: str, turn: Turn, owner: str | None = None) -> None:
        """Add a turn.

        Raises:
            ConversationUnknownError: There is none with that id.
            ConversationStoreError: It cannot be written.
        """
        ...

    async def list(self, limit: int, owner: str | None = None) -> tuple[ConversationInfo, ...]:
        """Return the newest conversations, newest first."""
        ...

    async def check(self) -> None:
        """Make sure that a turn could be kept now.

        Raises:
            ConversationStoreError: It could not.
        """
        ...

    async def delete(self, conversation_id: str, owner: str | None = None) -> None:
        """Remove a conversation with its turns.

        Raises:
            ConversationUnknownError: There is none with that id.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class ConversationCopies(Protocol):
    """Copies what was said to a SQLite file and back; from there any store can take it."""

    def check(self) -> None:
        """Make sure that `replace` can be done, as far as that can be known.

        Raises:
            ConversationStoreError: It cannot.
        """
        ...

    def save(self, file: Path) -> bool:
        """Copy everything to a new file; return False where nothing is kept, and no file is made.

        Raises:
            ConversationStoreError, sqlite3.Error, OSError: It cannot be read or written.
        """
        ...

    def replace(self, file: Path) -> None:
        """Put what a file holds in the place of everything; what was there is kept beside, in a file.

        Raises:
            ConversationStoreError, sqlite3.Error, OSError: It cannot be written.
        """
        ...
