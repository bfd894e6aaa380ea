"""The shapes at the door, shared by the HTTP API and by `--json` of the command line."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cervella_rag.domain import (
    Answer,
    Citation,
    Conversation,
    Exact,
    Filters,
    Hit,
    Kind,
    Message,
    Question,
    Retrieval,
)
from cervella_rag.retrieval.stats import Stats


def _iso_day(value: object) -> object:
    # pydantic would also take a number of seconds for a day.
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
        raise ValueError("a day is written YYYY-MM-DD")
    return value


Day = Annotated[date | None, BeforeValidator(_iso_day)]


class FiltersModel(BaseModel):
    """Conditions every hit must meet."""

    model_config = ConfigDict(extra="forbid")  # a misspelt condition would silently be none

    project: str | None = Field(None, description="Project the document belongs to.")
    kind: Kind | None = Field(None, description="What sort of record it is.")
    session: str | None = Field(None, description="Working session; 159 also finds 159e.")
    since: Day = Field(None, description="First date, inclusive.")
    until: Day = Field(None, description="Last date, inclusive.")
    path_prefix: str | None = Field(None, description="How the path begins, relative to its root.")

    def to_domain(self) -> Filters:
        """Return the same conditions as a plain value."""
        return Filters(
            project=self.project,
            kind=self.kind.value if self.kind else None,
            session=self.session,
            since=self.since.isoformat() if self.since else None,
            until=self.until.isoformat() if self.until else None,
            path_prefix=self.path_prefix,
        )


class MessageModel(BaseModel):
    """One half of an earlier turn."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=20_000)


class SearchRequest(BaseModel):
    """A question to find passages for."""

    question: str
    top_k: int = Field(10, ge=1, le=100)
    history: list[MessageModel] = Field([], max_length=100)
    filters: FiltersModel = FiltersModel()
    explain: bool = Field(
        False,
        description="Accepted; hits carry their scores and reasons, and `understood` is there, always.",
    )

    def to_domain(self) -> Question:
        """Return the question as a plain value."""
        return _question(self.question, self.history, self.filters)


class ChatRequest(BaseModel):
    """A message to answer."""

    message: str
    conversation_id: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Go on with this conversation; a new one is begun without it.",
    )
    history: list[MessageModel] = Field(
        [],
        max_length=100,
        description="For clients that keep the conversation themselves, instead of an id.",
    )
    stream: bool = False
    filters: FiltersModel = FiltersModel()

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.conversation_id and self.history:
            raise ValueError("give a conversation_id or a history, not both")
        return self

    def to_domain(self) -> Question:
        """Return the question as a plain value."""
        return _question(self.message, self.history, self.filters)


def _question(text: str, history: list[MessageModel], filters: FiltersModel) -> Question:
    turns = tuple(Message(turn.role, turn.content) for turn in history)
    return Question(text, turns, filters.to_domain())


class _FromAttributes(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ScoresModel(_FromAttributes):
    """Scores of one hit; null where a list did not rank it."""

    lexical: float | None
    dense: float | None
    window: float | None
    fused: float | None
    rerank: float | None


class HitModel(BaseModel):
    """A passage found."""

    chunk_id: str
    path: str
    root: str
    title: str
    headings: list[str]
    start_line: int
    end_line: int
    text: str
    paths: list[str]
    score: float
    scores: ScoresModel
    date: str | None
    session: str | None
    project: str | None
    kind: str
    status: str | None
    retired: str | None
    superseded_by: str | None
    why: str

    @classmethod
    def of(cls, hit: Hit) -> HitModel:
        """Return the outer shape of `hit`."""
        chunk, metadata = hit.chunk, hit.chunk.metadata
        return cls(
            chunk_id=chunk.chunk_id,
            path=chunk.path,
            root=chunk.root,
            title=metadata.title,
            headings=list(chunk.headings),
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            text=chunk.text,
            paths=list(chunk.paths),
            score=hit.score,
            scores=ScoresModel.model_validate(hit.scores),
            date=metadata.date,
            session=metadata.session,
            project=metadata.project,
            kind=metadata.kind,
            status=metadata.status,
            retired=chunk.retired,
            superseded_by=metadata.superseded_by,
            why=hit.why,
        )


class IndexInfoModel(_FromAttributes):
    """The generation that answered."""

    generation: int
    documents: int
    chunks: int


class ExactSourceModel(_FromAttributes):
    """Where an exact fact can be checked; lines are null where the whole file or folder shows it."""

    root: str
    path: str
    start_line: int | None
    end_line: int | None
    text: str
    title: str
    date: str | None


class ExactModel(BaseModel):
    """A fact that code counted or looked up in the files as they are now."""

    operation: str
    value: Any
    sources: list[ExactSourceModel]
    details: dict[str, Any]
    parts: list[ExactModel] = []
    complete: bool = Field(description="Whether it is the whole answer, or comes before one.")

    @classmethod
    def of(cls, exact: Exact) -> ExactModel:
        """Return the outer shape of `exact`."""
        return cls(
            operation=exact.operation,
            value=exact.value,
            sources=[ExactSourceModel.model_validate(source) for source in exact.sources],
            details=dict(exact.details),
            parts=[cls.of(part) for part in exact.parts],
            complete=exact.complete,
        )


class SearchResponse(BaseModel):
    """What was found; `exact` is null where the question asks for nothing that code counts."""

    hits: list[HitModel]
    enough: bool
    closest: list[HitModel]
    understood: dict[str, Any]
    exact: ExactModel | None = None
    index: IndexInfoModel
    took_ms: float
    degraded: list[str] = Field([], description="Parts that failed and were done without: `embedder`.")

    @classmethod
    def of(cls, retrieval: Retrieval) -> SearchResponse:
        """Return the outer shape of `retrieval`."""
        return cls(
            hits=[HitModel.of(hit) for hit in retrieval.hits],
            enough=retrieval.enough,
            closest=[HitModel.of(hit) for hit in retrieval.closest],
            understood=asdict(retrieval.understood),
            exact=ExactModel.of(retrieval.exact) if retrieval.exact else None,
            index=IndexInfoModel.model_validate(retrieval.index),
            took_ms=retrieval.took_ms,
            degraded=list(retrieval.degraded),
        )


class CitationModel(_FromAttributes):
    """A numbered pointer to lines of a source."""

    number: int
    path: str
    title: str
    headings: list[str]
    start_line: int
    end_line: int
    date: str | None
    session: str | None
    status: str | None
    retired: str | None
    quote: str
    why: str = ""  # turns kept by earlier versions have neither this nor what follows
    superseded_by: str | None = None

    @classmethod
    def of(cls, citation: Citation) -> CitationModel:
        """Return the outer shape of `citation`."""
        return cls.model_validate(citation)


class AnswerModel(_FromAttributes):
    """A finished answer."""

    answer: str
    grounded: bool
    mode: str
    citations: list[CitationModel]
    conversation_id: str | None
    turn_id: str
    model: str
    finish_reason: str
    usage: dict[str, int]
    timings_ms: dict[str, float]
    provenance: dict[str, Any]
    degraded: list[str] = Field(
        [], description="Parts that failed and were done without: `embedder`, `voice`, `conversations`."
    )

    @classmethod
    def of(cls, answer: Answer) -> AnswerModel:
        """Return the outer shape of `answer`."""
        return cls.model_validate(answer)


class SkippedModel(_FromAttributes):
    """A file left out by a rule."""

    root: str
    path: str
    rule: str


class RefusedModel(_FromAttributes):
    """A file that could not be read, and why."""

    root: str
    path: str
    reason: str


class IndexReportModel(_FromAttributes):
    """What a run of `index` did; counts are files unless named otherwise."""

    added: int
    changed: int
    moved: int
    retired: int
    removed: int
    unchanged: int
    skipped: list[SkippedModel]
    refused: list[RefusedModel]
    documents: int
    chunks: int
    embedded: int
    generation: int
    took_ms: float
    roots: dict[str, str]
    dropped_roots: dict[str, str]
    redacted: dict[str, int]
    enriched: int = Field(
        0, description="Chunks of which something else is searched besides their lines now."
    )


class DifferenceModel(_FromAttributes):
    """A file whose place in the index is not as the folders are."""

    root: str
    path: str
    problem: Literal["missing", "changed", "gone", "elsewhere", "retired", "broken"]


class VerificationModel(_FromAttributes):
    """Folders and index compared; no difference means that one is the image of the other."""

    differences: list[DifferenceModel]
    files: int
    retired: int


class JobStarted(BaseModel):
    """A re-index that was accepted."""

    job_id: str


class JobModel(BaseModel):
    """State of re-indexing: "idle", "running", "done" or "failed"."""

    state: Literal["idle", "running", "done", "failed"]
    job_id: str | None = None
    stage: str | None = None
    done: int = 0
    total: int = 0
    error: str | None = None
    report: IndexReportModel | None = None


class StatsModel(BaseModel):
    """What the index holds."""

    generation: int
    created: str
    documents: int
    chunks: int
    retired_chunks: int
    embedder: str
    dimension: int
    chunking: str
    roots: dict[str, str]
    kinds: dict[str, int]
    projects: dict[str, int]
    languages: dict[str, int]
    dated: int
    undated: list[str]
    newest: str | None

    @classmethod
    def of(cls, stats: Stats) -> StatsModel:
        """Return the outer shape of `stats`."""
        return cls.model_validate({**asdict(stats.manifest), **asdict(stats)})


class HealthModel(BaseModel):
    """Alive."""

    status: Literal["ok"] = "ok"


class PartModel(BaseModel):
    """One part's health."""

    ready: bool
    detail: str


class HostModel(_FromAttributes):
    """The health of one server that a voice speaks through; how long it is still left alone."""

    host: str
    ready: bool
    detail: str
    resting_seconds: float


class VoiceModel(_FromAttributes):
    """One voice's health, and that of its servers."""

    mode: str
    model: str
    ready: bool
    detail: str
    hosts: list[HostModel] = []


class ReadyModel(BaseModel):
    """Whether she can answer, part by part; "degraded" where a part is done without.

    That is: another than the first voice speaks, words alone are searched, or turns cannot be kept.
    """

    status: Literal["ready", "degraded", "not_ready"]
    parts: dict[str, PartModel]
    voices: list[VoiceModel]


class TurnModel(_FromAttributes):
    """One question with its answer."""

    turn_id: str
    question: str
    answer: str
    mode: str
    model: str
    grounded: bool
    finish_reason: str
    citations: list[CitationModel]
    created: str


class ConversationCard(_FromAttributes):
    """A conversation in a list; dates are ISO with offset."""

    conversation_id: str
    title: str
    created: str
    updated: str
    turns: int


class ConversationList(BaseModel):
    """The newest conversations, newest first."""

    conversations: list[ConversationCard]


class ConversationModel(BaseModel):
    """A conversation with its turns, oldest first."""

    conversation_id: str
    title: str
    created: str
    updated: str
    turns: list[TurnModel]

    @classmethod
    def of(cls, conversation: Conversation) -> ConversationModel:
        """Return the outer shape of `conversation`."""
        turns = [TurnModel.model_validate(asdict(turn)) for turn in conversation.turns]
        return cls(**{**asdict(conversation.info), "turns": turns})


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str
