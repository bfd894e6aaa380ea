"""The values that travel through Cervella, from a file on disk to a cited answer.

Everything here is frozen and knows nothing of libraries, disks or networks. The order below is the
order in which data flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Kind(StrEnum):
    """What sort of record a document is."""

    DECISION = "decision"
    LESSON = "lesson"
    RESEARCH = "research"
    SESSION = "session"
    STATE = "state"
    ROADMAP = "roadmap"
    IDEA = "idea"
    REPORT = "report"
    HANDOFF = "handoff"
    CONSCIOUSNESS = "consciousness"
    RULE = "rule"
    PERSONA = "persona"
    SPECIFICATION = "specification"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder (or a single file) that belongs to the memory.

    Attributes:
        name: Short name, unique among the roots; it is what hits and citations show.
        location: Absolute path on this machine.
    """

    name: str
    location: Path


@dataclass(frozen=True, slots=True)
class Source:
    """A readable text file of the memory.

    Attributes:
        root: Name of the root that holds it.
        path: Path relative to the root, "/" separated.
        sha256: Hex digest of the file's bytes.
        text: Content decoded as UTF-8, line ends normalised to LF, so line numbers stay true.
    """

    root: str
    path: str
    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a folder where `path` ends with "/", left out by a named rule."""

    root: str
    path: str
    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A file or folder that should have been indexed and could not be; `reason` says why."""

    root: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found under the roots, in path order."""

    sources: tuple[Source, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A run of lines that markdown sees as one thing.

    Attributes:
        kind: "heading", "paragraph", "list_item", "table", "code" or "rule".
        start_line: First line, 1-based.
        end_line: Last line, inclusive.
        level: Heading level 1-6, otherwise 0.
        title: Heading text without markup, otherwise "".
    """

    kind: str
    start_line: int
    end_line: int
    level: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a document says about itself, in its header, name, place and footer.

    Attributes:
        title: First heading, or the file name.
        date: ISO date the document speaks for, or None.
        date_source: Where the date came from: "header", "early", "name", "footer" or "part".
        project: Project the document belongs to, or None.
        session: Working session with its suffix, for example "159e", or None.
        kind: What sort of record it is.
        status: Status as written, trimmed of decoration, or None.
        author: Author as written, or None.
        language: "it", "en" or "pt".
        volatile: True where the file is rewritten in place and ages quickly.
        template: True where the file is an empty form.
        superseded_by: Path of the file that took this one's place, as its own header names it.
    """

    title: str
    date: str | None = None
    date_source: str | None = None
    project: str | None = None
    session: str | None = None
    kind: Kind = Kind.OTHER
    status: str | None = None
    author: str | None = None
    language: str = "it"
    volatile: bool = False
    template: bool = False
    superseded_by: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Text and metadata read from one source, with every place that holds the same bytes.

    Attributes:
        source: What was read, secrets and personal data replaced by placeholders.
        paths: All paths with exactly this content under the same root; the first one is its own.
        redacted: How many placeholders there are, by rule.
    """

    source: Source
    metadata: Metadata
    blocks: tuple[Block, ...]
    paths: tuple[str, ...]
    redacted: Mapping[str, int] = field(default_factory=dict)


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
    """

    searched: str
    words: tuple[str, ...]
    also: tuple[tuple[str, tuple[str, ...]], ...] = ()
    asks: str = "fact"
    answer: str | None = None
    session: str | None = None
    since: str | None = None
    until: str | None = None


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


@dataclass(frozen=True, slots=True)
class Citation:
    """A numbered pointer from the answer's text to lines of a source.

    Attributes:
        number: What stands between brackets in the answer, from 1.
        start_line: First line of `quote` in the file, 1-based.
        end_line: Its last line, inclusive.
        quote: Those lines as they are in the file.
        why: What matched, in a person's words.
        superseded_by: Path of the file that took this one's place, where it says so.
    """

    number: int
    path: str
    title: str
    headings: tuple[str, ...]
    start_line: int
    end_line: int
    date: str | None
    session: str | None
    status: str | None
    retired: str | None
    quote: str
    why: str = ""
    superseded_by: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a voice is given to speak from.

    Attributes:
        language: "it", "en" or "pt": the question's.
        hits: What the answer may use, in the order of the citations.
        citations: The same, numbered, each with its most telling lines.
        grounded: False where the memory holds no answer and only comes close.
        history: What was said before, oldest first.
        today: ISO date of the turn.
        stated: What code has already answered in words, before the voice; mostly nothing.
        situations: What the question asks of a voice besides a fact, the first weighing most.
        about_her: The question is who she is: nothing of the memory belongs in the answer.
        conflicts: Numbers of two citations that do not say the same, the older first.
        draft: An answer that broke a rule and is to be said again; `faults` names the rules.
    """

    question: str
    language: str
    hits: tuple[Hit, ...]
    citations: tuple[Citation, ...]
    grounded: bool
    history: tuple[Message, ...] = ()
    today: str = ""
    stated: str = ""
    situations: tuple[str, ...] = ()
    about_her: bool = False
    conflicts: tuple[tuple[int, int], ...] = ()
    draft: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Composition:
    """What a prompt was made of, and what did not fit.

    Attributes:
        persona_sha256: The persona as it was told; "" where none was.
        estimated_tokens: Length of the messages, by our own count.
        examples: The situations of the examples that were shown.
        turns_left_out: Earlier turns that did not fit, each half counted as one.
        passages_left_out: Numbers of citations that did not fit.
        passages_shortened: Numbers of citations of which only a part was shown.
        examples_left_out: Examples that did not fit.
    """

    persona_sha256: str = ""
    estimated_tokens: int = 0
    examples: tuple[str, ...] = ()
    turns_left_out: int = 0
    passages_left_out: tuple[int, ...] = ()
    passages_shortened: tuple[int, ...] = ()
    examples_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Composed:
    """The messages a model is sent, and what they were made of."""

    messages: tuple[Message, ...]
    composition: Composition | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What a model can take and give, in tokens.

    Attributes:
        context_tokens: Prompt and answer together.
        answer_tokens: Longest answer.
        compact: True for a small or slow model: the short persona, and quotes instead of chunks.
        continuations: How often an answer that reached its limit is gone on with, at most.
    """

    context_tokens: int
    answer_tokens: int
    compact: bool = False
    continuations: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer and everything needed to check it.

    Attributes:
        conversation_id: Where the turn is kept; None for a client that keeps the history itself.
        finish_reason: "stop" where she had said all, "length" where the answer was cut at its limit,
            "incomplete" where the voice ended without saying that it was done.
        degraded: Parts that failed and were done without: "embedder" (searched by words alone), "voice"
            (another than the first spoke), "conversations" (the turn could not be kept).
    """

    answer: str
    grounded: bool
    mode: str
    citations: tuple[Citation, ...]
    conversation_id: str | None
    turn_id: str
    model: str
    finish_reason: str
    usage: dict[str, int]
    timings_ms: dict[str, float]
    provenance: dict[str, object]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of `index` did; counts are documents unless named otherwise.

    Attributes:
        enriched: Chunks whose enrichment came, changed or went.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    retired: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()
    documents: int = 0
    chunks: int = 0
    embedded: int = 0
    generation: int = 0
    took_ms: float = 0.0
    roots: dict[str, str] = field(default_factory=dict)
    dropped_roots: dict[str, str] = field(default_factory=dict)
    redacted: dict[str, int] = field(default_factory=dict)
    enriched: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A file whose place in the index is not as the folders are.

    Attributes:
        problem: "missing" from the index, "changed" since, "gone" from the folders without being
            retired, "elsewhere" (its other places differ), "retired" though it is there, or "broken"
            (its chunks are not those that its content gives).
    """

    root: str
    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Folders and index compared, file by file.

    Attributes:
        files: Files in the folders that belong in the index.
        retired: Paths the index remembers of files that are gone.
    """

    differences: tuple[Difference, ...]
    files: int
    retired: int


@dataclass(frozen=True, slots=True)
class Status:
    """What she is doing while no word has come yet; `done` of `total` where it can be counted."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """What the answer will draw from; comes once, before the first token."""

    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """The next piece of the answer; `is_quote` where it is the memory's own text in its frame."""

    text: str
    is_quote: bool = False


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A voice that could not speak this time, and why."""

    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A voice has ended: which one, how, what it counted (0 for nothing), and on which of its hosts."""

    mode: str
    model: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    passed_over: tuple[PassedOver, ...] = ()
    composition: Composition | None = None
    said_again_for: tuple[str, ...] = ()
    host: str = ""
    continued: int = 0  # how often it was cut at its limit and went on; the counts are of all parts


VoiceEvent = Status | Token | Spoken


@dataclass(frozen=True, slots=True)
class HostState:
    """One server's health; how long it is still left alone after it failed."""

    host: str
    ready: bool
    detail: str
    resting_seconds: float


@dataclass(frozen=True, slots=True)
class HostLoad:
    """What one server of a voice does now, and what it did since this process began."""

    mode: str
    host: str
    running: int
    answered: int
    failed: int
    resting_seconds: float


@dataclass(frozen=True, slots=True)
class VoiceState:
    """One voice's health, and that of each server it speaks through."""

    mode: str
    model: str
    ready: bool
    detail: str
    hosts: tuple[HostState, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The finished answer; the last event of a turn."""

    answer: Answer


Event = Status | Sources | Token | Done


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer, as a conversation keeps it; `created` is ISO with offset."""

    turn_id: str
    question: str
    answer: str
    mode: str
    model: str
    grounded: bool
    finish_reason: str
    citations: tuple[dict[str, object], ...]
    created: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What was counted of the turns of one voice and model: `turns` of them, `counted` with counts."""

    mode: str
    model: str
    turns: int
    counted: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A conversation's card: the title is its first question; dates are ISO with offset."""

    conversation_id: str
    title: str
    created: str
    updated: str
    turns: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with its turns, oldest first."""

    info: ConversationInfo
    turns: tuple[Turn, ...]

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said, oldest first."""
        return tuple(
            message
            for turn in self.turns
            for message in (Message("user", turn.question), Message("assistant", turn.answer))
        )
