"""Is she alive, and can she answer? And the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from cervella_rag.api import problems
from cervella_rag.api.metrics import CONTENT_TYPE
from cervella_rag.api.parts import PROBLEM, TheAssistant, TheMetrics, TheRetriever
from cervella_rag.api.schemas import HealthModel, PartModel, ReadyModel, VoiceModel
from cervella_rag.errors import CervellaError
from cervella_rag.protocols import Manifest
from cervella_rag.retrieval.retriever import Retriever

PAGE = Path(__file__).parent / "page"

_FINE = PartModel(ready=True, detail="ok")

router = APIRouter(responses={401: PROBLEM})


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the chat page."""
    return FileResponse(PAGE / "index.html")


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
        "embedder": await to_thread.run_sync(_part, retriever.try_embedder, language),
    }
    voices = await assistant.voices.states(language)
    speaking = next((voice for voice in voices if voice.ready), None)
    detail = f"{speaking.mode} {speaking.model}".strip() if speaking else voices[-1].detail
    parts["voice"] = PartModel(ready=speaking is not None, detail=detail)
    try:
        await assistant.conversations.check()
        parts["conversations"] = _FINE
    except CervellaError as error:
        parts["conversations"] = PartModel(ready=False, detail=error.text(language))
    # Without vectors she searches by words, and an answer that is not kept is an answer.
    is_ready = parts["index"].ready and parts["voice"].ready
    is_whole = all(part.ready for part in parts.values()) and speaking is voices[0]
    status = "not_ready" if not is_ready else "ready" if is_whole else "degraded"
    shown = [VoiceModel.model_validate(voice) for voice in voices]
    body = ReadyModel(status=status, parts=parts, voices=shown)
    return JSONResponse(body.model_dump(), 200 if is_ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(retriever: TheRetriever, assistant: TheAssistant, metrics: TheMetrics) -> Response:
    """Tell what was counted, in Prometheus' text format."""
    metrics.index(await to_thread.run_sync(_manifest, retriever))
    metrics.hosts(assistant.voices.loads())
    return Response(metrics.render(), media_type=CONTENT_TYPE)


def _manifest(retriever: Retriever) -> Manifest | None:
    try:
        return retriever.reader().manifest
    except CervellaError:
        return None


def _part(check: Callable[[], object], language: str) -> PartModel:
    try:
        check()
    except CervellaError as error:
        return PartModel(ready=False, detail=error.text(language))
    return _FINE
