"""`POST /v1/proposals`, its confirmation, and `POST /v1/feedback`."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from fastapi import APIRouter, Request

from cervella_rag.api.jobs import IndexJobs
from cervella_rag.api.schemas import Problem
from cervella_rag.api.schemas_writing import (
    FeedbackModel,
    FeedbackRequest,
    ProposalModel,
    ProposalRequest,
    WrittenModel,
)
from cervella_rag.chat.notes import SQLNoteStore
from cervella_rag.chat.writeback.draft import Wish
from cervella_rag.chat.writeback.writer import MemoryWriter
from cervella_rag.memory.redaction import Redactor

router = APIRouter(
    responses={
        status: {"model": Problem, "content": {"application/problem+json": {}}}
        for status in (401, 404, 409, 422, 503)
    }
)


def _writer(request: Request) -> MemoryWriter:
    return cast(MemoryWriter, request.app.state.memory_writer)


@router.post("/v1/proposals", status_code=201)
async def propose(body: ProposalRequest, request: Request) -> ProposalModel:
    """Propose a file for the memory; read it before you confirm it."""
    told = body.model_dump(exclude={"with_voice"})
    wish = Wish(day=datetime.now().astimezone().date().isoformat(), **told)
    return ProposalModel.model_validate(await _writer(request).propose(wish, with_voice=body.with_voice))


@router.post("/v1/proposals/{proposal_id}/confirm", status_code=201)
async def confirm(proposal_id: str, request: Request) -> WrittenModel:
    """Write what was proposed, never over another file, and have it indexed."""
    written = await _writer(request).confirm(proposal_id)
    jobs = cast(IndexJobs, request.app.state.jobs)
    return WrittenModel(root=written.root, path=written.path, job_id=jobs.start())


@router.post("/v1/feedback", status_code=201)
async def feedback(body: FeedbackRequest, request: Request) -> FeedbackModel:
    """Keep what is thought of an answer."""
    notes = cast(SQLNoteStore, request.app.state.notes)
    redactor = cast(Redactor, request.app.state.assistant.redactor)
    note = redactor.redact(body.note).text
    return FeedbackModel.model_validate(await notes.add_feedback(body.turn_id, body.kind, note))
