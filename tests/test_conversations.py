"""Conversations on a real SQLite file: kept in order, private, gone when deleted."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cervella_rag.chat.conversations import SQLConversationStore
from cervella_rag.domain import Message, Turn
from cervella_rag.errors import ConversationStoreError, ConversationUnknownError

T = TypeVar("T")


@pytest.fixture
def conversations(tmp_path: Path) -> SQLConversationStore:
    return SQLConversationStore(tmp_path / "home" / "conversations.sqlite")


def run(task: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(task)


def turn(number: int) -> Turn:
    return Turn(
        turn_id=f"turn-{number}",
        question=f"domanda {number}",
        answer=f"risposta {number} [1]",
        mode="ollama",
        model="qwen3",
        grounded=True,
        finish_reason="stop",
        citations=({"number": 1, "path": "a.md", "headings": ["A"]},),
        created=f"2026-01-0{number}T10:00:00.000+00:00",
    )


def test_turns_come_back_as_they_were_in_order(conversations: SQLConversationStore) -> None:
    conversation_id = run(conversations.create("La  prima\ndomanda"))
    for number in (1, 2, 3):
        run(conversations.append(conversation_id, turn(number)))
    kept = run(conversations.read(conversation_id))
    assert kept.turns == (turn(1), turn(2), turn(3))
    assert (kept.info.title, kept.info.turns) == ("La prima domanda", 3)
    assert kept.history[:2] == (Message("user", "domanda 1"), Message("assistant", "risposta 1 [1]"))


def test_another_process_finds_what_was_said(conversations: SQLConversationStore, tmp_path: Path) -> None:
    conversation_id = run(conversations.create("ciao"))
    again = SQLConversationStore(tmp_path / "home" / "conversations.sqlite")
    assert run(again.read(conversation_id)).info.title == "ciao"


def test_the_list_begins_with_the_newest(conversations: SQLConversationStore) -> None:
    first, second = run(conversations.create("prima")), run(conversations.create("seconda"))
    late = Turn(**{**vars_of(turn(1)), "created": "2099-01-01T10:00:00.000+00:00"})
    run(conversations.append(first, late))
    listed = run(conversations.list(10))
    assert [info.conversation_id for info in listed] == [first, second]
    assert [info.turns for info in listed] == [1, 0]
    assert len(run(conversations.list(1))) == 1


def vars_of(value: Turn) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def test_a_deleted_conversation_is_gone_with_its_turns(conversations: SQLConversationStore) -> None:
    conversation_id = run(conversations.create("ciao"))
    run(conversations.append(conversation_id, turn(1)))
    run(conversations.delete(conversation_id))
    for task in (conversations.read, conversations.delete):
        with pytest.raises(ConversationUnknownError):
            run(task(conversation_id))
    with pytest.raises(ConversationUnknownError):
        run(conversations.append(conversation_id, turn(2)))
    other = run(conversations.create("altra"))
    run(conversations.append(other, turn(1)))  # its turn's id is free again


def test_many_at_once_are_all_kept(conversations: SQLConversationStore) -> None:
    async def talk() -> int:
        conversation_id = await conversations.create("ciao")
        turns = [Turn(**{**vars_of(turn(1)), "turn_id": str(number)}) for number in range(30)]
        await asyncio.gather(*(conversations.append(conversation_id, one) for one in turns))
        return len((await conversations.read(conversation_id)).turns)

    assert run(talk()) == 30


def test_what_was_said_is_nobody_elses(conversations: SQLConversationStore, tmp_path: Path) -> None:
    run(conversations.create("ciao"))
    mode = (tmp_path / "home" / "conversations.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_damaged_file_is_told(conversations: SQLConversationStore, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "conversations.sqlite").write_bytes(b"not a database, by far not one" * 100)
    with pytest.raises(ConversationStoreError, match="not a database"):
        run(conversations.list(10))
