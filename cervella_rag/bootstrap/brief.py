"""The session brief, from the index that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cervella_rag.bootstrap.index import make_retriever

if TYPE_CHECKING:
    from cervella_rag.chat.brief.writer import Brief, BriefWriter
    from cervella_rag.settings import Settings


def make_brief_writer() -> BriefWriter:
    """Return what writes briefs."""
    from cervella_rag.chat.brief.writer import BriefWriter
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    return BriefWriter(Templates(resource("prompts")))


def write_brief(settings: Settings, project: str | None, max_tokens: int, language: str) -> Brief:
    """Write a brief of the memory or of one project. See `BriefWriter.write`."""
    reader = make_retriever(settings).reader()
    return make_brief_writer().write(reader, project=project, max_tokens=max_tokens, language=language)


def brief_shape(brief: Brief) -> dict[str, Any]:
    """Return a brief as the HTTP door shows it."""
    from cervella_rag.api.schemas_brief import BriefModel

    return BriefModel.of(brief).model_dump(mode="json")
