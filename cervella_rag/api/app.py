"""The HTTP application: routes speak HTTP only, the work is done elsewhere."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers
from starlette.types import Scope

from cervella_rag import __version__
from cervella_rag.api import chat, earlier, health, memory, openai_wire, problems, rooms
from cervella_rag.api.generation_queue import GenerationQueue, QueueBounds
from cervella_rag.api.jobs import IndexJobs
from cervella_rag.api.limits import COUNTED_AS_SEARCH, RequestLimits
from cervella_rag.api.metrics import Metrics
from cervella_rag.api.middleware import Guard, RequestContext, TransferLimits
from cervella_rag.api.parts import (
    COMMON,
    UNKNOWN,
    TheAssistant,
    TheJobs,
    TheMetrics,
    TheOwner,
    TheRetriever,
)
from cervella_rag.api.schemas import (
    ConversationCard,
    ConversationList,
    ConversationModel,
    JobModel,
    JobStarted,
    SearchRequest,
    SearchResponse,
    StatsModel,
)
from cervella_rag.chat.assistant import Assistant
from cervella_rag.errors import CervellaError
from cervella_rag.memory.exact.facts import ExactFacts
from cervella_rag.protocols import ConversationStore, Embedder
from cervella_rag.retrieval.retriever import Retriever
from cervella_rag.retrieval.stats import count
from cervella_rag.settings import APISettings

if TYPE_CHECKING:
    from cervella_rag.api.tracing import Tracing

_log = logging.getLogger(__name__)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
_OFTEN = frozenset({"/health", "/health/ready", "/metrics"})
"""Asked every few seconds by machines."""

router = APIRouter(responses=COMMON, dependencies=[COUNTED_AS_SEARCH])


def create_app(  # noqa: PLR0913 - the parts of a server, each named where it is put in
    settings: APISettings,
    retriever: Retriever,
    assistant: Assistant,
    jobs: IndexJobs,
    exact: ExactFacts,
    *,
    embedder: Embedder | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Put the routes together with what they serve.

    Args:
        settings: Of the door.
        retriever: Finds passages.
        assistant: Answers.
        jobs: Re-indexes.
        exact: Counts and looks up in the files as they are.
        embedder: Makes vectors for others; None where words alone are searched.
        tracing: Is told of every request, where a collector is configured.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(to_thread.run_sync(_warm, retriever, assistant))
        waking = asyncio.create_task(assistant.voices.wake())
        keeping = asyncio.create_task(_open(assistant.conversations))
        jobs.begin()
        yield
        jobs.end()
        await asyncio.gather(warming, waking, keeping, return_exceptions=True)
        await assistant.aclose()
        if tracing:
            await to_thread.run_sync(tracing.close)

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
    app.state.exact = exact
    app.state.embedder = embedder
    app.state.has_keys = bool(settings.keys)
    app.state.limits = RequestLimits(settings.chat_per_minute, settings.search_per_minute)
    app.state.queue = queue = GenerationQueue(_bounds(settings))
    app.state.metrics = metrics = Metrics(queue)
    app.state.openai_footer = settings.openai_footer
    app.state.ping_seconds = settings.ping_seconds
    problems.install(app)
    for part in (health.router, router, chat.router, memory.router, openai_wire.router, earlier.router):
        app.include_router(part)
    rooms.install(app)
    app.mount("/page", StaticFiles(directory=health.PAGE), name="page")
    app.add_middleware(
        RequestContext,
        guard=Guard.of(settings),
        limits=TransferLimits.of(settings),
        observe=partial(_observe, metrics, tracing),
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "x-api-key", "content-type", "x-client-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


def _bounds(settings: APISettings) -> QueueBounds:
    """Return the queue's bounds; where there are no keys, nobody has to be kept from taking all places."""
    return QueueBounds(
        total=settings.generations,
        per_key=settings.generations_per_key if settings.keys else settings.generations,
        waiting_per_key=settings.waiting_per_key,
        patience_seconds=settings.waiting_seconds,
    )


def _observe(metrics: Metrics, tracing: Tracing | None, scope: Scope, status: int, seconds: float) -> None:
    """Count a request and log it: by its route, because a path may hold anything."""
    route = getattr(scope.get("route"), "path", "") or "unknown"
    method = scope["method"] if scope["method"] in _METHODS else "other"
    key = scope["state"]["caller"] or ""
    metrics.request(route, method, status, key, seconds)
    extra: dict[str, str | int] = {"route": route, "method": method, "status": status, "key": key}
    if tracing:
        tracing.request(extra, seconds, Headers(scope=scope))
    level = logging.DEBUG if route in _OFTEN and status < 400 else logging.INFO
    _log.log(level, "request", extra={**extra, "milliseconds": round(seconds * 1000, 1)})


def _warm(retriever: Retriever, assistant: Assistant) -> None:
    """Load the embedder, the index and what tells languages, so that no first question waits for them."""
    assistant.detect_language("memoria")
    try:
        retriever.warm()
    except CervellaError as error:
        _log.warning("%s", error)
    # What is loaded by now stays. Looked through again and again, it made one answer in a hundred wait.
    gc.collect()
    gc.freeze()


async def _open(conversations: ConversationStore) -> None:
    """Bring the tables of conversations along; where they cannot be reached now, the first turn does it."""
    try:
        await conversations.check()
    except CervellaError as error:
        _log.warning("%s", error)


@router.post("/v1/search")
def search(
    request: SearchRequest, retriever: TheRetriever, metrics: TheMetrics, owner: TheOwner
) -> SearchResponse:
    """Find passages; no model is asked."""
    retrieval = retriever.retrieve(request.to_domain(), top_k=request.top_k)
    metrics.searched(retrieval, owner or "")
    return SearchResponse.of(retrieval)


@router.get("/v1/conversations")
async def conversations(
    assistant: TheAssistant, owner: TheOwner, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> ConversationList:
    """List the newest conversations."""
    found = await assistant.conversations.list(limit, owner)
    return ConversationList(conversations=[ConversationCard.model_validate(card) for card in found])


@router.get("/v1/conversations/{conversation_id}", responses=UNKNOWN)
async def conversation(conversation_id: str, assistant: TheAssistant, owner: TheOwner) -> ConversationModel:
    """Return a conversation with its turns."""
    return ConversationModel.of(await assistant.conversations.read(conversation_id, owner))


@router.delete("/v1/conversations/{conversation_id}", status_code=204, responses=UNKNOWN)
async def forget_conversation(conversation_id: str, assistant: TheAssistant, owner: TheOwner) -> None:
    """Remove a conversation with its turns."""
    await assistant.conversations.delete(conversation_id, owner)


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
