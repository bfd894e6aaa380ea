"""What routes are given: the parts that `create_app` put into the application's state."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, Request

from cervella_rag.api.jobs import IndexJobs
from cervella_rag.api.metrics import Metrics
from cervella_rag.api.schemas import Problem
from cervella_rag.chat.assistant import Assistant
from cervella_rag.errors import KeyRefusedError
from cervella_rag.protocols import Embedder
from cervella_rag.retrieval.retriever import Retriever

PROBLEM: dict[str, Any] = {"model": Problem, "content": {"application/problem+json": {}}}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: PROBLEM}
COMMON: dict[int | str, dict[str, Any]] = {
    400: PROBLEM,
    401: PROBLEM,
    413: PROBLEM,
    422: PROBLEM,
    429: PROBLEM,
    503: PROBLEM,
}

LEFT = 499
"""What a server answers a client that has closed the connection; nobody reads it."""

STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


async def _retriever(request: Request) -> Retriever:
    return cast(Retriever, request.app.state.retriever)


async def _assistant(request: Request) -> Assistant:
    return cast(Assistant, request.app.state.assistant)


async def _jobs(request: Request) -> IndexJobs:
    return cast(IndexJobs, request.app.state.jobs)


async def owner(request: Request) -> str | None:
    """Return the name of the key that asks; None where there are no keys, and everything is everybody's.

    Raises:
        KeyRefusedError: There are keys and the request carries none: a door that should not stand open.
    """
    name = cast("str | None", request.state.caller)
    if name is None and request.app.state.has_keys:
        raise KeyRefusedError
    return name


TheOwner = Annotated[str | None, Depends(owner)]
TheRetriever = Annotated[Retriever, Depends(_retriever)]
TheAssistant = Annotated[Assistant, Depends(_assistant)]
TheJobs = Annotated[IndexJobs, Depends(_jobs)]


async def _embedder(request: Request) -> Embedder | None:
    return cast("Embedder | None", request.app.state.embedder)


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


TheMetrics = Annotated[Metrics, Depends(_metrics)]
TheEmbedder = Annotated[Embedder | None, Depends(_embedder)]
