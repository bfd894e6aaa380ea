"""Proposed, shown, confirmed, written: nothing reaches the memory that no person has seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from anyio import to_thread

from cervella_rag.chat.brief.records import read_records
from cervella_rag.chat.notes import Proposal
from cervella_rag.chat.writeback.disk import write_new
from cervella_rag.chat.writeback.draft import Wish, draft, language_of, title_of
from cervella_rag.chat.writeback.place import Place, folder_for, path_in
from cervella_rag.domain import Conversation, Root
from cervella_rag.errors import MemoryNotWritableError, ProposalSpentError
from cervella_rag.memory.redaction import Redactor
from cervella_rag.memory.sncp import kind_of_path
from cervella_rag.protocols import ConversationStore, StoreReader
from cervella_rag.templates import Templates


class ProposalStore(Protocol):
    """Keeps proposals until they are confirmed. See `SQLNoteStore`."""

    async def propose(self, conversation_id: str, kind: str, place: tuple[str, str], text: str) -> Proposal:
        """Keep one."""
        ...

    async def proposal(self, proposal_id: str, owner: str | None = None) -> Proposal:
        """Return one."""
        ...

    async def mark_written(self, proposal: Proposal) -> Proposal:
        """Remember that one was written."""
        ...


Phrase = Callable[[Wish, Conversation, str], Awaitable[str | None]]
"""Says a conversation's outcome in a sentence or two, or None where no voice can."""


@dataclass(frozen=True, slots=True)
class MemoryWriter:
    """Writes into the memory what a person has confirmed.

    Attributes:
        roots: Returns the folders of the memory.
        reader: Returns the index, from which the layout is known.
        redactor: Takes secrets out of what would be written.
        phrase: A voice for the first sentences, where one is wished for.
    """

    conversations: ConversationStore
    proposals: ProposalStore
    templates: Templates
    redactor: Redactor
    roots: Callable[[], tuple[Root, ...]]
    reader: Callable[[], StoreReader]
    detect_language: Callable[[str], str]
    phrase: Phrase

    async def propose(self, wish: Wish, *, with_voice: bool = False, owner: str | None = None) -> Proposal:
        """Return what would be written, and where; nothing is.

        Args:
            wish: What is to be written.
            with_voice: Let a voice say it in the first lines, where one can speak.
            owner: Whose conversations are meant; None for everybody's. See `ConversationStore`.

        Raises:
            ConversationUnknownError: There is no such conversation.
            MemoryNotWritableError: No root is a folder.
            ConversationStoreError: The proposal cannot be kept.
        """
        conversation = await self.conversations.read(wish.conversation_id, owner)
        language = language_of(conversation, self.detect_language)
        wish = replace(wish, title=self._plain(title_of(wish, conversation)))
        if with_voice and not wish.gist:
            wish = replace(wish, gist=await self.phrase(wish, conversation, language))
        place = await to_thread.run_sync(self._place, wish)
        text = draft(wish, conversation, self.templates, language, self._plain)
        return await self.proposals.propose(wish.conversation_id, wish.kind, (place.root, place.path), text)

    async def confirm(self, proposal_id: str, owner: str | None = None) -> Proposal:
        """Write what was proposed.

        Raises:
            ProposalUnknownError: There is none with that id.
            ProposalSpentError: It was written before.
            MemoryPathTakenError: Something else has come to its place.
            MemoryNotWritableError: It cannot be written.
        """
        proposal = await self.proposals.proposal(proposal_id, owner)
        if proposal.written:
            raise ProposalSpentError(path=proposal.path)
        await to_thread.run_sync(self._write, proposal)
        return await self.proposals.mark_written(proposal)

    def _plain(self, text: str) -> str:
        return self.redactor.redact(text).text

    def _place(self, wish: Wish) -> Place:
        folders = {root.name: root.location for root in self.roots() if root.location.is_dir()}
        if not folders:
            raise MemoryNotWritableError(path=wish.kind, reason="no root of the memory is a folder")
        folder = folder_for(wish.kind, wish.project, read_records(self.reader().chunks()), folders)
        location = folders[folder.root]
        path = path_in(
            f"{folder.path}/{wish.day.replace('-', '')}",
            wish.title or wish.kind,
            kind=wish.kind,
            reads_as=kind_of_path,
            taken=lambda path: _is_there(location, path),
        )
        return Place(folder.root, path)

    def _write(self, proposal: Proposal) -> None:
        root = next((root for root in self.roots() if root.name == proposal.root), None)
        if root is None:
            raise MemoryNotWritableError(path=proposal.path, reason=f"there is no root {proposal.root!r}")
        write_new(root, proposal.path, proposal.text)


def _is_there(location: Path, path: str) -> bool:
    file = location / path
    return file.exists() or file.is_symlink()
