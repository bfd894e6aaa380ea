"""What a voice writes of chunks: the parts put together, and the index brought up to date with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from cervella_rag.bootstrap.index import (
    find_roots,
    make_enrichments,
    make_indexer,
    make_redactor,
    make_retriever,
    make_store,
)
from cervella_rag.bootstrap.measures import with_voice
from cervella_rag.bootstrap.voices import make_persona, make_voices
from cervella_rag.errors import VoiceAbsentError

if TYPE_CHECKING:
    from cervella_rag.chat.voices import Voices
    from cervella_rag.domain import Chunk, IndexReport
    from cervella_rag.indexing.enrich import Enricher, EnrichReport, Estimate
    from cervella_rag.protocols import LLM
    from cervella_rag.settings import Settings

Progress = Callable[[str, int, int], None]


def enrich(
    settings: Settings,
    confirm: Callable[[Estimate], bool],
    progress: Progress,
    *,
    limit: int | None = None,
    dry_run: bool = False,
) -> tuple[EnrichReport, IndexReport | None]:
    """Let a voice write of the chunks of which nothing was written yet; bring the index up to date.

    Args:
        settings: What is configured; its voice is asked.
        confirm: Told what it will take, tells whether to go on.
        progress: Told how far it is.
        limit: Most chunks to ask about.
        dry_run: Only measure; nothing is kept and the index stays.

    Returns:
        What was written, and what came of indexing it; None where nothing was to be indexed.

    Raises:
        IndexAbsentError, IndexMismatchError: There is no index to enrich.
        VoiceAbsentError: No voice with a model can speak.
        UpstreamError: The voice or another part failed; what was written by then is kept.
    """
    store = make_store(settings)
    chunks = sorted(make_retriever(settings, store=store).reader().chunks(), key=_place)

    async def ask() -> EnrichReport:
        enricher, voices = await _make_enricher(settings)
        try:
            return await enricher.run(
                [chunk for chunk in chunks if not chunk.retired],
                limit=limit,
                dry_run=dry_run,
                confirm=confirm,
                progress=lambda done, total: progress("enrich", done, total),
            )
        finally:
            await voices.aclose()

    report = asyncio.run(ask())
    if dry_run or not (report.written or report.known):
        return report, None
    indexed = make_indexer(settings, store=store).run(find_roots(settings, store=store), progress=progress)
    return report, indexed


def _place(chunk: Chunk) -> tuple[str, str, int]:
    return chunk.root, chunk.path, chunk.start_line


async def _make_enricher(settings: Settings) -> tuple[Enricher, Voices]:
    """Return what asks about chunks, and the voices to close after it."""
    from cervella_rag.chat.bare import Verbatim
    from cervella_rag.chat.prompt import disarm
    from cervella_rag.indexing.enrich import ANSWER_TOKENS, Enricher, prompt_name
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    prompts, redactor = resource("prompts"), make_redactor(settings)
    templates, persona = Templates(prompts), make_persona(settings)
    voices = make_voices(with_voice(settings, None, ANSWER_TOKENS), Verbatim(), templates, persona)
    try:
        voice = await _speaking(voices)
    except VoiceAbsentError:
        await voices.aclose()
        raise
    enricher = Enricher(
        voice=voice,
        kept=make_enrichments(settings),
        templates=templates,
        prompt=prompt_name(prompts / "enrich"),
        redact=lambda text: redactor.redact(text).text,
        disarm=disarm,
    )
    return enricher, voices


async def _speaking(voices: Voices) -> LLM:
    """Return the first voice with a model that can speak: one alone, so that it is known who wrote."""
    for voice, state in zip(voices.voices, await voices.states("en"), strict=True):
        if state.ready and voice.mode != "memory_only":
            return voice
    raise VoiceAbsentError
