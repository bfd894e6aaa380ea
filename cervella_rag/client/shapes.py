"""What a server answers, as values. A field that a newer server adds is ignored."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(_Shape):
    """One half of an earlier turn, for callers that keep the conversation themselves."""

    role: Literal["user", "assistant"]
    content: str


class Filters(_Shape):
    """Conditions every hit must meet; None means any. Dates are YYYY-MM-DD, inclusive."""

    project: str | None = None
    kind: str | None = None
    session: str | None = None
    since: str | None = None
    until: str | None = None
    path_prefix: str | None = None


class Hit(_Shape):
    """A passage found: lines `start_line` to `end_line` of `path`, 1-based and inclusive."""

    chunk_id: str
    path: str
    root: str
    title: str
    headings: tuple[str, ...]
    start_line: int
    end_line: int
    text: str
    paths: tuple[str, ...]
    score: float
    scores: dict[str, float | None]
    date: str | None
    session: str | None
    project: str | None
    kind: str
    status: str | None
    retired: str | None
    superseded_by: Any = None
    why: str


class SearchResult(_Shape):
    """Hits, best first; `closest` where they are not `enough` to answer from."""

    hits: tuple[Hit, ...]
    enough: bool
    closest: tuple[Hit, ...]
    understood: dict[str, Any]
    exact: Any = None
    index: dict[str, int]
    took_ms: float


class Citation(_Shape):
    """A numbered pointer from the answer to lines of a file."""

    number: int
    path: str
    title: str = ""
    headings: tuple[str, ...]
    start_line: int
    end_line: int
    date: str | None
    session: str | None = None
    status: str | None = None
    retired: str | None = None
    quote: str


class Answer(_Shape):
    """A finished answer; `mode` says which voice spoke."""

    answer: str
    grounded: bool
    mode: str
    citations: tuple[Citation, ...]
    conversation_id: str | None
    turn_id: str
    model: str
    finish_reason: str = "stop"
    usage: dict[str, int]
    timings_ms: dict[str, float]
    provenance: dict[str, Any]


class Status(_Shape):
    """What she is doing while no word has come yet."""

    stage: str
    done: int = 0
    total: int = 0


class Sources(_Shape):
    """What the answer will draw from; once, before the first token."""

    sources: tuple[Citation, ...]


class Token(_Shape):
    """The next piece of the answer."""

    text: str


class Done(_Shape):
    """The last event of a stream."""

    answer: Answer


Event: TypeAlias = Status | Sources | Token | Done


class Turn(_Shape):
    """One question with its answer, as a conversation keeps it."""

    turn_id: str
    question: str
    answer: str
    mode: str
    model: str
    grounded: bool
    finish_reason: str
    citations: tuple[Citation, ...]
    created: str


class ConversationCard(_Shape):
    """A conversation in a list."""

    conversation_id: str
    title: str
    created: str
    updated: str
    turns: int


class Conversation(_Shape):
    """A conversation with its turns, oldest first."""

    conversation_id: str
    title: str
    created: str
    updated: str
    turns: tuple[Turn, ...]


class BriefLine(_Shape):
    """One line of a brief and where it stands."""

    text: str
    root: str
    path: str
    start_line: int
    end_line: int


class Brief(_Shape):
    """Where to start from; `text` is all of it as markdown, `tokens` long."""

    project: str | None
    as_of: str | None
    session: str | None
    generation: int
    state: tuple[BriefLine, ...]
    next_steps: tuple[BriefLine, ...]
    decisions: tuple[BriefLine, ...]
    stale: tuple[BriefLine, ...]
    contradictions: tuple[BriefLine, ...]
    found: dict[str, int]
    text: str
    tokens: int


class IndexJob(_Shape):
    """State of re-indexing: "idle", "running", "done" or "failed"."""

    state: str
    job_id: str | None = None
    stage: str | None = None
    done: int = 0
    total: int = 0
    error: str | None = None
    report: dict[str, Any] | None = None


class Stats(_Shape):
    """What the index holds."""

    generation: int
    created: str
    documents: int
    chunks: int
    embedder: str
    roots: dict[str, str]
    kinds: dict[str, int]
    projects: dict[str, int]
    newest: str | None


class Proposal(_Shape):
    """A file that could be written: read `text` before you confirm."""

    proposal_id: str
    kind: str
    root: str
    path: str
    text: str
    created: str


class Written(_Shape):
    """A file that was written, and the job that indexes it."""

    root: str
    path: str
    job_id: str


class Feedback(_Shape):
    """What was thought of an answer, as it is kept."""

    feedback_id: str
    turn_id: str
    kind: str
    note: str
    created: str
