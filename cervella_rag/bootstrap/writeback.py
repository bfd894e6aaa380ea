"""What is written into the memory, and what is thought of answers: the parts put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cervella_rag.bootstrap.conversations import make_database
from cervella_rag.bootstrap.index import find_roots, make_indexer, make_redactor, make_retriever, make_store
from cervella_rag.bootstrap.voices import make_assistant
from cervella_rag.errors import InvalidRequestError

if TYPE_CHECKING:
    from cervella_rag.chat.assistant import Assistant
    from cervella_rag.chat.database import Database
    from cervella_rag.chat.notes import Proposal, SQLNoteStore
    from cervella_rag.chat.writeback.draft import RecordKind
    from cervella_rag.chat.writeback.writer import MemoryWriter
    from cervella_rag.domain import Conversation
    from cervella_rag.protocols import VectorStore
    from cervella_rag.settings import Settings


def make_note_store(settings: Settings, database: Database | None = None) -> SQLNoteStore:
    """Return what keeps proposals and feedback, in a database that is open already or its own."""
    from cervella_rag.chat.notes import SQLNoteStore

    return SQLNoteStore(database or make_database(settings))


def make_memory_writer(
    settings: Settings, assistant: Assistant, store: VectorStore, notes: SQLNoteStore | None = None
) -> MemoryWriter:
    """Return what writes into the memory; its voices are the assistant's."""
    from cervella_rag.chat.writeback.draft import Wish
    from cervella_rag.chat.writeback.phrase import phrase
    from cervella_rag.chat.writeback.writer import MemoryWriter
    from cervella_rag.memory.language import detect_language
    from cervella_rag.resources import resource
    from cervella_rag.templates import Templates

    async def say(wish: Wish, conversation: Conversation, language: str) -> str | None:
        return await phrase(assistant.voices, wish, conversation, language)

    return MemoryWriter(
        conversations=assistant.conversations,
        proposals=notes or make_note_store(settings),
        templates=Templates(resource("prompts")),
        redactor=make_redactor(settings),
        roots=lambda: find_roots(settings, store=store),
        reader=assistant.retriever.reader,
        detect_language=detect_language,
        phrase=say,
    )


def check_wish(kind: str, conversation_id: str, **told: str | None) -> dict[str, str | None]:
    """Return what is told of a file, checked as the HTTP door checks it.

    Raises:
        InvalidRequestError: Something of it cannot be used.
    """
    from pydantic import ValidationError

    from cervella_rag.api.schemas_writing import ProposalRequest

    try:
        request = ProposalRequest.model_validate({"kind": kind, "conversation_id": conversation_id, **told})
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequestError(field=str(first["loc"][0]), reason=first["msg"]) from error
    return {name: getattr(request, name) for name in told}


def write_back(
    settings: Settings,
    kind: RecordKind,
    conversation_id: str,
    confirm: Callable[[Proposal], bool],
    *,
    with_voice: bool = False,
    **told: str | None,
) -> Proposal | None:
    """Propose a file; where `confirm` says so, write and index it. Return what was written, or None.

    Args:
        settings: What is configured.
        kind: What to write.
        conversation_id: What it comes from.
        confirm: Shown the proposal, tells whether to write it.
        with_voice: Let a voice say it in the first lines.
        told: `title`, `text`, `project` and `session`, each where it is known.
    """
    from cervella_rag.chat.writeback.draft import Wish

    store = make_store(settings)
    assistant = make_assistant(settings, make_retriever(settings, store=store))
    writer = make_memory_writer(settings, assistant, store)
    today = datetime.now().astimezone().date().isoformat()
    wish = Wish(kind=kind, conversation_id=conversation_id, day=today, **told)

    async def run() -> Proposal | None:
        try:
            proposal = await writer.propose(wish, with_voice=with_voice)
            return await writer.confirm(proposal.proposal_id) if confirm(proposal) else None
        finally:
            await assistant.aclose()

    written = asyncio.run(run())
    if written:
        make_indexer(settings, store=store).run(find_roots(settings, store=store))
    return written


def export_feedback(settings: Settings) -> list[dict[str, Any]]:
    """Return all feedback with the answers it is about, oldest first."""
    return asyncio.run(make_note_store(settings).export_feedback())
