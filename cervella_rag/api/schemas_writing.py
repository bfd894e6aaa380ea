"""The shapes of what is written into the memory, and of what is thought of answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Plain = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line without control characters: it goes into a file's header."""


class ProposalRequest(BaseModel):
    """A wish for a file, from a conversation."""

    kind: Literal["decision", "lesson", "handoff"]
    conversation_id: str = Field(min_length=1, max_length=100)
    title: Plain | None = Field(None, min_length=1, max_length=200)
    text: str | None = Field(
        None, min_length=1, max_length=20_000, description="In your own words; without it, the last answer."
    )
    project: Plain | None = Field(None, min_length=1, max_length=100)
    session: Annotated[str, Field(pattern=r"^S?\d{1,5}[a-z]?$")] | None = Field(
        None, description="Working session, for example 165."
    )
    with_voice: bool = Field(False, description="Let a voice write the first lines, where one can speak.")


class _FromAttributes(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProposalModel(_FromAttributes):
    """What would be written, and where; nothing is until it is confirmed."""

    proposal_id: str
    conversation_id: str
    kind: str
    root: str
    path: str
    text: str
    created: str


class WrittenModel(BaseModel):
    """A file that was written, and the job that indexes it (`GET /v1/index`)."""

    root: str
    path: str
    job_id: str


class FeedbackRequest(BaseModel):
    """What is thought of an answer."""

    turn_id: str = Field(min_length=1, max_length=100)
    kind: Literal["not_cervella", "wrong_source", "good"]
    note: str = Field("", max_length=2000)


class FeedbackModel(_FromAttributes):
    """Feedback as it is kept."""

    feedback_id: str
    turn_id: str
    kind: str
    note: str
    created: str
