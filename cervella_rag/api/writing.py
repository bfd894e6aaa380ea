"""`POST /v1/proposals`, its confirmation, and `POST /v1/feedback`."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from fastapi import APIRouter, Request

from cervella_rag.api.limits import COUNTED_AS_SEARCH, spend
from cervella_rag.api.parts import COMMON, PROBLEM, UNKNOWN, TheJobs, TheOwner
from cervella_rag.api.schemas_writing import (
    FeedbackModel,
    FeedbackRequest,
    ProposalModel,
    ProposalRequest,
    WrittenModel,
)
from cervella_rag.api.turns import TheTurns
from cervella_rag.chat.notes import SQLNoteStore
from cervella_rag.chat.writeback.draft import Wish
from cervella_rag.chat.writeback.writer import MemoryWriter
from cervella_rag.memory.redaction import Redactor

router = APIRouter(responses={**COMMON, **UNKNOWN, 409: PROBLEM}, dependencies=[COUNTED_AS_SEARCH])


def _writer(request: Request) -> MemoryWriter:
    return cast(MemoryWriter, request.app.state.memory_writer)


@router.post("/v1/proposals", status_code=201)
async def propose(
    body: ProposalRequest, request: Request, turns: TheTurns, owner: TheOwner
) -> ProposalModel:
    """Propose a file for the memory; read it before you confirm it."""
    writer = _writer(request)
    told = body.model_dump(exclude={"with_voice"})
    wish = Wish(day=datetime.now().astimezone().date().isoformat(), **told)
    if not body.with_voice:
        return ProposalModel.model_validate(await writer.propose(wish, owner=owner))
    await spend(request, "chat")
    async with turns.place():
        return ProposalModel.model_validate(await writer.propose(wish, with_voice=True, owner=owner))


@router.post("/v1/proposals/{proposal_id}/confirm", status_code=201)
async def confirm(proposal_id: str, request: Request, jobs: TheJobs, owner: TheOwner) -> WrittenModel:
    """Write what was proposed, never over another file, and have it indexed."""
    written = await _writer(request).confirm(proposal_id, owner)
    return WrittenModel(root=written.root, path=written.path, job_id=jobs.start())


@router.post("/v1/feedback", status_code=201)
async def feedback(body: FeedbackRequest, request: Request, owner: TheOwner) -> FeedbackModel:
    """Keep what is thought of an answer."""
    notes = cast(SQLNoteStore, request.app.state.notes)
    redactor = cast(Redactor, request.app.state.assistant.redactor)
    note = redactor.redact(body.note).text
    return FeedbackModel.model_validate(await notes.add_feedback(body.turn_id, body.kind, note, owner))
