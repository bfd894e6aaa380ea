"""A voice says a conversation's outcome in a sentence or two; nothing waits for it to be able to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from cervella_rag.chat.voices import Voices
from cervella_rag.chat.writeback.draft import Wish
from cervella_rag.domain import Chunk, Citation, Conversation, Hit, Metadata, Prompt, Scores
from cervella_rag.errors import CervellaError
from cervella_rag.listening import listen
from cervella_rag.marks import MARK
from cervella_rag.messages import message

_log = logging.getLogger(__name__)

_MOST_CHARACTERS = 600


async def phrase(voices: Voices, wish: Wish, conversation: Conversation, language: str) -> str | None:
    """Return what a model makes of the conversation, without citation marks; None where none can speak.

    The memory's own voice only quotes, so what it says is not taken.
    """
    citations = _citations(conversation.turns[-1].citations)
    prompt = Prompt(
        question=message(f"writeback.ask_{wish.kind}", language),
        language=language,
        hits=tuple(map(_hit, citations)),
        citations=citations,
        grounded=bool(citations),
        history=conversation.history,
        today=wish.day,
    )
    try:
        said, spoken = await listen(voices.stream(prompt), _MOST_CHARACTERS)
    except CervellaError as error:
        _log.info("%s", error)
        return None
    is_model = spoken.mode not in ("", "memory_only") or len(said) > _MOST_CHARACTERS
    return MARK.sub("", said).strip() or None if is_model else None


def _citations(told: Sequence[dict[str, Any]]) -> tuple[Citation, ...]:
    names = [field.name for field in fields(Citation)]
    kept = [citation for citation in told if all(name in citation for name in names)]
    return tuple(
        Citation(**{name: citation[name] for name in names} | {"headings": tuple(citation["headings"])})
        for citation in kept
    )


def _hit(citation: Citation) -> Hit:
    """Return a hit that holds what was cited: prompts are made of hits."""
    metadata = Metadata(
        title=citation.title, date=citation.date, session=citation.session, status=citation.status
    )
    chunk = Chunk(
        chunk_id="",
        root="",
        path=citation.path,
        paths=(citation.path,),
        sha256="",
        headings=citation.headings,
        start_line=citation.start_line,
        end_line=citation.end_line,
        text=citation.quote,
        index_text="",
        metadata=metadata,
        retired=citation.retired,
    )
    return Hit(chunk, Scores())
