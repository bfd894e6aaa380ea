"""The HTTP application: routes speak HTTP only, the work is done elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, cast

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from cervella_rag import __version__
from cervella_rag.api import problems, sse
from cervella_rag.api.jobs import IndexJobs
from cervella_rag.api.middleware import RequestContext
from cervella_rag.api.schemas import (
    AnswerModel,
    ChatRequest,
    HealthModel,
    JobModel,
    JobStarted,
    PartModel,
    Problem,
    ReadyModel,
    SearchRequest,
    SearchResponse,
    StatsModel,
)
from cervella_rag.chat.assistant import Assistant
from cervella_rag.errors import CervellaError
from cervella_rag.retrieval.retriever import Retriever
from cervella_rag.retrieval.stats import count
from cervella_rag.settings import APISettings

_log = logging.getLogger(__name__)
_PAGE = Path(__file__).parent / "page"

router = APIRouter(
    responses={
        422: {"model": Problem, "content": {"application/problem+json": {}}},
        503: {"model": Problem, "content": {"application/problem+json": {}}},
    }
)


def create_app(
    settings: APISettings, retriever: Retriever, assistant: Assistant, jobs: IndexJobs
) -> FastAPI:
    """Put the routes together with what they serve."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(to_thread.run_sync(_warm, retriever))
        yield
        await asyncio.gather(warming, return_exceptions=True)

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
    app.state.ping_seconds = settings.ping_seconds
    problems.install(app)
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=_PAGE), name="page")
    app.add_middleware(
        RequestContext, allowed_hosts=settings.allowed_hosts, max_body_bytes=settings.max_body_bytes
    )
    return app


def _warm(retriever: Retriever) -> None:
    """Load the embedder and the index, so that the first question does not wait for them."""
    try:
        retriever.warm()
        retriever.reader()
    except CervellaError as error:
        _log.warning("%s", error)


def _retriever(request: Request) -> Retriever:
    return cast(Retriever, request.app.state.retriever)


def _assistant(request: Request) -> Assistant:
    return cast(Assistant, request.app.state.assistant)


def _jobs(request: Request) -> IndexJobs:
    return cast(IndexJobs, request.app.state.jobs)


TheRetriever = Annotated[Retriever, Depends(_retriever)]
TheAssistant = Annotated[Assistant, Depends(_assistant)]
TheJobs = Annotated[IndexJobs, Depends(_jobs)]


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the chat page."""
    return FileResponse(_PAGE / "index.html")


@router.get("/health")
async def health() -> HealthModel:
    """Tell that the process is alive."""
    return HealthModel()


@router.get("/health/ready", responses={503: {"model": ReadyModel}})
def ready(request: Request, retriever: TheRetriever, assistant: TheAssistant) -> Response:
    """Tell whether she can answer; 503 with the reason of each part until she can."""
    parts = {"voice": PartModel(ready=True, detail=assistant.llm.mode)}
    for name, check in (("index", retriever.reader), ("embedder", retriever.warm)):
        try:
            check()
            parts[name] = PartModel(ready=True, detail="ok")
        except CervellaError as error:
            parts[name] = PartModel(ready=False, detail=error.text(problems.language(request)))
    is_ready = all(part.ready for part in parts.values())
    body = ReadyModel(status="ready" if is_ready else "not_ready", parts=parts)
    return JSONResponse(body.model_dump(), 200 if is_ready else 503)


@router.post("/v1/search")
def search(request: SearchRequest, retriever: TheRetriever) -> SearchResponse:
    """Find passages; no model is asked."""
    retrieval = retriever.retrieve(request.to_domain(), top_k=request.top_k)
    return SearchResponse.of(retrieval)


@router.post("/v1/chat", response_model=AnswerModel)
async def chat(body: ChatRequest, request: Request, assistant: TheAssistant) -> Response | AnswerModel:
    """Answer a message: one JSON object, or server-sent events where `stream` is true."""
    question = body.to_domain()
    if not body.stream:
        return AnswerModel.of(await assistant.reply(question, body.conversation_id))
    events = assistant.stream(question, body.conversation_id)
    first = await anext(events)  # what fails before it still gets its own status
    describe = partial(problems.describe, request)
    return StreamingResponse(
        sse.stream(first, events, request.app.state.ping_seconds, describe),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


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
