"""`GET /v1/brief`."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query, Request

from cervella_rag.api import problems
from cervella_rag.api.limits import COUNTED_AS_SEARCH
from cervella_rag.api.parts import COMMON, UNKNOWN, TheRetriever
from cervella_rag.api.schemas_brief import BriefModel
from cervella_rag.chat.brief.writer import DEFAULT_TOKENS, FEWEST_TOKENS, MOST_TOKENS, BriefWriter

router = APIRouter(responses={**COMMON, **UNKNOWN}, dependencies=[COUNTED_AS_SEARCH])


@router.get("/v1/brief")
def brief(
    request: Request,
    retriever: TheRetriever,
    project: Annotated[str | None, Query(max_length=200)] = None,
    max_tokens: Annotated[int, Query(ge=FEWEST_TOKENS, le=MOST_TOKENS)] = DEFAULT_TOKENS,
) -> BriefModel:
    """Tell where to start from; no model is asked."""
    writer = cast(BriefWriter, request.app.state.brief_writer)
    written = writer.write(
        retriever.reader(),
        project=project or None,
        max_tokens=max_tokens,
        language=problems.language(request),
    )
    return BriefModel.of(written)
