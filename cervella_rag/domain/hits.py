"""What is asked of the memory, and what is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cervella_rag.domain.chunks import Chunk


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions every hit must meet; None means any. Dates are ISO and inclusive."""

    project: str | None = None
    kind: str | None = None
    session: str | None = None
    since: str | None = None
    until: str | None = None
    path_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn's half, or what a model is told first: `role` is "user", "assistant" or "system"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, with what was said before and what the answer may draw from."""

    text: str
    history: tuple[Message, ...] = ()
    filters: Filters = Filters()


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one hit; None where there is none.

    Attributes:
        lexical: BM25.
        dense: Cosine similarity of the question and the whole chunk.
        window: Cosine similarity of the question and the chunk's best window.
        fused: Reciprocal rank fusion of the lexical and the dense list.
        rerank: What the ranker makes of all of it; only its order means something.
    """

    lexical: float | None = None
    dense: float | None = None
    window: float | None = None
    fused: float | None = None
    rerank: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found for a question, best first; `why` tells a person what matched."""

    chunk: Chunk
    scores: Scores
    why: str = ""

    @property
    def score(self) -> float:
        """The score that ranked it."""
        return self.scores.rerank or 0.0


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """The generation that answered."""

    generation: int
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Understood:
    """What the question was taken to ask.

    Attributes:
        searched: Text searched with.
        words: Its words, folded, stop words left out.
        also: Words among them that other languages name otherwise, with these names.
        asks: "state", "why", "decision", "lesson", "research" or "fact".
        answer: Sort of thing that would answer, see `retrieval.answer_types`; None where it cannot be told.
        session: Working session it names.
        since: First day it names, ISO.
        until: Last day, inclusive.
        hour: Hour of that one day, 0 to 23.
    """

    searched: str
    words: tuple[str, ...]
    also: tuple[tuple[str, tuple[str, ...]], ...] = ()
    asks: str = "fact"
    answer: str | None = None
    session: str | None = None
    since: str | None = None
    until: str | None = None
    hour: int | None = None


@dataclass(frozen=True, slots=True)
class ExactSource:
    """Where an exact fact can be checked.

    Attributes:
        path: A file, or a folder where it ends with "/".
        start_line: First line that shows it, 1-based; None where the whole file or folder does.
        end_line: Its last line, inclusive.
        text: Those lines, or what a folder lists, after redaction.
        title: What the source calls itself.
    """

    root: str
    path: str
    start_line: int | None = None
    end_line: int | None = None
    text: str = ""
    title: str = ""
    date: str | None = None
    session: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Exact:
    """A fact that code has counted or looked up in the files as they are now.

    Attributes:
        operation: "count_files", "count_matches", "exists", "lines", "links", "list", "newest",
            "record" (what a file says of itself), "cost", "calendar" or "several".
        value: The bare answer: a number, true or false, a path, names; of several, their values.
        sources: Where it can be checked.
        details: What is needed besides to put it into words; JSON.
        parts: The facts that "several" holds.
        complete: Whether it is the whole answer, or comes before one.
    """

    operation: str
    value: object
    sources: tuple[ExactSource, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    parts: tuple[Exact, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found: hits when there is enough to answer from, otherwise the closest ones.

    Attributes:
        doubt: Chance, from 0 to 1, that the hits do not hold the answer.
        degraded: Parts that failed and were done without: "embedder".
    """

    question: Question
    hits: tuple[Hit, ...]
    enough: bool
    closest: tuple[Hit, ...]
    understood: Understood
    index: IndexInfo
    took_ms: float
    exact: Exact | None = None
    degraded: tuple[str, ...] = ()
    doubt: float = 0.0
