"""The shapes the user's earlier clients speak: `/api/rag/query` and `/api/ai/*`."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from cervella_rag.api.limits import COUNTED_AS_CHAT, COUNTED_AS_SEARCH
from cervella_rag.api.parts import COMMON, LEFT, TheAssistant, TheRetriever
from cervella_rag.api.turns import TheTurns
from cervella_rag.domain import Hit, Question

_TEXT_CHARACTERS = 200

router = APIRouter(prefix="/api", tags=["earlier clients"], responses=COMMON)


class QueryRequest(BaseModel):
    """A question with how many sources to show."""

    query: str
    top_k: int = Field(5, ge=1, le=100)
    min_score: float | None = Field(None, description="Sources below it are left out; see `score`.")


class SourceModel(BaseModel):
    """The beginning of a passage; `score` is the cosine similarity, or what ranked it without vectors."""

    text: str
    score: float
    metadata: dict[str, Any]

    @classmethod
    def of(cls, hit: Hit) -> SourceModel:
        """Return the outer shape of `hit`."""
        chunk, metadata = hit.chunk, hit.chunk.metadata
        return cls(
            text=chunk.text[:_TEXT_CHARACTERS],
            score=_score(hit),
            metadata={
                "path": chunk.path,
                "title": metadata.title,
                "headings": list(chunk.headings),
                "start_line": chunk.start_line,
                "end_line": chunk.end_line,
                "date": metadata.date,
                "session": metadata.session,
                "project": metadata.project,
                "kind": metadata.kind,
            },
        )


class QueryResponse(BaseModel):
    """An answer with the passages found for the question."""

    answer: str
    sources: list[SourceModel]
    num_chunks: int


class MessageRequest(BaseModel):
    """A message to answer."""

    message: str


class MessageResponse(BaseModel):
    """An answer."""

    response: str
    model: str
    mode: str


class AIHealth(BaseModel):
    """Whether a voice with a model can speak."""

    status: str
    model: str


class AIModels(BaseModel):
    """The models that can speak now, the first of them first."""

    models: list[str]


@router.post("/rag/query", response_model=QueryResponse, dependencies=[COUNTED_AS_CHAT])
async def query(body: QueryRequest, retriever: TheRetriever, turns: TheTurns) -> Response | QueryResponse:
    """Answer a question and show what was found for it."""
    question = Question(body.query)
    found = await to_thread.run_sync(lambda: retriever.retrieve(question, top_k=body.top_k))
    answer = await turns.whole(question, keep=False)
    if answer is None:
        return Response(status_code=LEFT)
    hits = [hit for hit in found.hits if body.min_score is None or _score(hit) >= body.min_score]
    sources = [SourceModel.of(hit) for hit in hits]
    return QueryResponse(answer=answer.answer, sources=sources, num_chunks=len(sources))


@router.post("/ai/chat", response_model=MessageResponse, dependencies=[COUNTED_AS_CHAT])
async def chat(body: MessageRequest, turns: TheTurns) -> Response | MessageResponse:
    """Answer a message; nothing of it is kept."""
    answer = await turns.whole(Question(body.message), keep=False)
    if answer is None:
        return Response(status_code=LEFT)
    return MessageResponse(response=answer.answer, model=answer.model, mode=answer.mode)


@router.get("/ai/health", dependencies=[COUNTED_AS_SEARCH])
async def health(assistant: TheAssistant) -> AIHealth:
    """Tell whether she speaks with her first voice ("healthy") or another ("degraded")."""
    voices = await assistant.voices.states("en")
    speaking = next((voice for voice in voices if voice.ready), None)
    status = "unhealthy" if speaking is None else "healthy" if speaking is voices[0] else "degraded"
    return AIHealth(status=status, model=(speaking.model or speaking.mode) if speaking else "")


@router.get("/ai/models", dependencies=[COUNTED_AS_SEARCH])
async def models(assistant: TheAssistant) -> AIModels:
    """List the models that can speak now."""
    voices = await assistant.voices.states("en")
    return AIModels(models=[voice.model or voice.mode for voice in voices if voice.ready])


def _score(hit: Hit) -> float:
    return hit.score if hit.scores.dense is None else hit.scores.dense
