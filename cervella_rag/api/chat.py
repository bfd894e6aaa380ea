"""`POST /v1/chat`: a message becomes an answer, whole or streamed."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from cervella_rag.api import problems, sse
from cervella_rag.api.limits import COUNTED_AS_CHAT
from cervella_rag.api.parts import COMMON, LEFT, STREAM_HEADERS, UNKNOWN
from cervella_rag.api.schemas import AnswerModel, ChatRequest
from cervella_rag.api.turns import TheTurns

router = APIRouter(responses=COMMON, dependencies=[COUNTED_AS_CHAT])


@router.post("/v1/chat", response_model=AnswerModel, responses=UNKNOWN)
async def chat(body: ChatRequest, request: Request, turns: TheTurns) -> Response | AnswerModel:
    """Answer a message: one JSON object, or server-sent events where `stream` is true."""
    question = body.to_domain()
    if not body.stream:
        answer = await turns.whole(question, body.conversation_id)
        return AnswerModel.of(answer) if answer else Response(status_code=LEFT)
    events = turns.stream(question, body.conversation_id)
    first = await anext(events)  # what fails before it still gets its own status
    describe = partial(problems.describe, request)
    return StreamingResponse(
        sse.stream(first, events, request.app.state.ping_seconds, sse.OwnFrames(describe)),
        media_type="text/event-stream",
        headers=STREAM_HEADERS,
    )
