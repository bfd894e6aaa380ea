"""The HTTP application: routes speak HTTP only, the work is done elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from cervella_rag import __version__
from cervella_rag.api import earlier, openai_wire, problems, sse
from cervella_rag.api.jobs import IndexJobs
from cervella_rag.api.keys import Keys
from cervella_rag.api.leaving import until_left
from cervella_rag.api.middleware import RequestContext
from cervella_rag.api.parts import (
    LEFT,
    PROBLEM,
    STREAM_HEADERS,
    UNKNOWN,
    TheAssistant,
    TheJobs,
    TheRetriever,
)
from cervella_rag.api.schemas import (
    AnswerModel,
    ChatRequest,
    ConversationCard,
    ConversationList,
    ConversationModel,
    HealthModel,
    JobModel,
    JobStarted,
    PartModel,
    ReadyModel,
    SearchRequest,
    SearchResponse,
    StatsModel,
    VoiceModel,
)
from cervella_rag.chat.assistant import Assistant
from cervella_rag.errors import CervellaError
from cervella_rag.protocols import Embedder
from cervella_rag.retrieval.retriever import Retriever
from cervella_rag.retrieval.stats import count
from cervella_rag.settings import APISettings

_log = logging.getLogger(__name__)
_PAGE = Path(__file__).parent / "page"

router = APIRouter(
    responses={401: PROBLEM, 422: PROBLEM, 503: PROBLEM},
)


def create_app(
    settings: APISettings,
    retriever: Retriever,
    assistant: Assistant,
    jobs: IndexJobs,
    embedder: Embedder | None = None,
) -> FastAPI:
    """Put the routes together with what they serve."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(to_thread.run_sync(_warm, retriever))
        waking = asyncio.create_task(assistant.voices.wake())
        jobs.begin()
        yield
        jobs.end()
        await asyncio.gather(warming, waking, return_exceptions=True)
        await assistant.aclose()

    app = FastAPIOffline(
        title="Cervella",
        version=__version__,
        description="One founder's AI partner, answering from memory, with citations.",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.retriever = retriever
    app.state.assistant = assistant
    app.state.jobs = jobs
    app.state.embedder = embedder
    app.state.openai_footer = settings.openai_footer
    app.state.ping_seconds = settings.ping_seconds
    problems.install(app)
    for part in (router, openai_wire.router, earlier.router):
        app.include_router(part)
    app.mount("/page", StaticFiles(directory=_PAGE), name="page")
    app.add_middleware(
        RequestContext,
        keys=Keys(settings.keys),
        allowed_hosts=settings.allowed_hosts,
        max_body_bytes=settings.max_body_bytes,
    )
    return app


def _warm(retriever: Retriever) -> None:
    """Load the embedder and the index, so that the first question does not wait for them."""
    try:
        retriever.warm()
        retriever.reader()
    except CervellaError as error:
        _log.warning("%s", error)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the chat page."""
    return FileResponse(_PAGE / "index.html")


@router.get("/health")
async def health() -> HealthModel:
    """Tell that the process is alive."""
    return HealthModel()


@router.get("/health/ready", responses={503: {"model": ReadyModel}})
async def ready(request: Request, retriever: TheRetriever, assistant: TheAssistant) -> Response:
    """Tell whether she can answer; 503 with the reason of each part until she can."""
    language = problems.language(request)
    parts = {
        "index": await to_thread.run_sync(_part, retriever.reader, language),
        "embedder": await to_thread.run_sync(_part, retriever.warm, language),
    }
    voices = await assistant.voices.states(language)
    speaking = next((voice for voice in voices if voice.ready), None)
    detail = f"{speaking.mode} {speaking.model}".strip() if speaking else voices[-1].detail
    parts["voice"] = PartModel(ready=speaking is not None, detail=detail)
    is_ready = all(part.ready for part in parts.values())
    status = "not_ready" if not is_ready else "ready" if speaking is voices[0] else "degraded"
    shown = [VoiceModel.model_validate(voice) for voice in voices]
    body = ReadyModel(status=status, parts=parts, voices=shown)
    return JSONResponse(body.model_dump(), 200 if is_ready else 503)


def _part(check: Callable[[], object], language: str) -> PartModel:
    try:
        check()
    except CervellaError as error:
        return PartModel(ready=False, detail=error.text(language))
    return PartModel(ready=True, detail="ok")


@router.post("/v1/search")
def search(request: SearchRequest, retriever: TheRetriever) -> SearchResponse:
    """Find passages; no model is asked."""
    retrieval = retriever.retrieve(request.to_domain(), top_k=request.top_k)
    return SearchResponse.of(retrieval)


@router.post("/v1/chat", response_model=AnswerModel, responses=UNKNOWN)
async def chat(body: ChatRequest, request: Request, assistant: TheAssistant) -> Response | AnswerModel:
    """Answer a message: one JSON object, or server-sent events where `stream` is true."""
    question = body.to_domain()
    if not body.stream:
        answer = await until_left(request, assistant.reply(question, body.conversation_id))
        return AnswerModel.of(answer) if answer else Response(status_code=LEFT)
    events = assistant.stream(question, body.conversation_id)
    first = await anext(events)  # what fails before it still gets its own status
    describe = partial(problems.describe, request)
    return StreamingResponse(
        sse.stream(first, events, request.app.state.ping_seconds, sse.OwnFrames(describe)),
        media_type="text/event-stream",
        headers=STREAM_HEADERS,
    )


@router.get("/v1/conversations")
async def conversations(
    assistant: TheAssistant, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> ConversationList:
    """List the newest conversations."""
    found = await assistant.conversations.list(limit)
    return ConversationList(conversations=[ConversationCard.model_validate(card) for card in found])


@router.get("/v1/conversations/{conversation_id}", responses=UNKNOWN)
async def conversation(conversation_id: str, assistant: TheAssistant) -> ConversationModel:
    """Return a conversation with its turns."""
    return ConversationModel.of(await assistant.conversations.read(conversation_id))


@router.delete("/v1/conversations/{conversation_id}", status_code=204, responses=UNKNOWN)
async def forget_conversation(conversation_id: str, assistant: TheAssistant) -> None:
    """Remove a conversation with its turns."""
    await assistant.conversations.delete(conversation_id)


@router.post("/v1/index", status_code=202)
def start_index(jobs: TheJobs) -> JobStarted:
    """Bring the index to the state of the folders, in the background."""
    return JobStarted(job_id=jobs.start())


@router.get("/v1/index")
def index_state(jobs: TheJobs) -> JobModel:
    """Tell how the last re-index goes."""
    return JobModel.model_validate(jobs.last, from_attributes=True)


@router.get("/v1/stats")
def stats(retriever: TheRetriever) -> StatsModel:
    """Count what the index holds."""
    return StatsModel.of(count(retriever.reader()))
