"""Conversations on a real SQLite file: kept in order, private, gone when deleted."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import replace
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
    conversation_id = run(conversations.begin(turn(1)))
    for number in (2, 3):
        run(conversations.append(conversation_id, turn(number)))
    kept = run(conversations.read(conversation_id))
    assert kept.turns == (turn(1), turn(2), turn(3))
    assert (kept.info.title, kept.info.turns) == ("domanda 1", 3)
    assert kept.history[:2] == (Message("user", "domanda 1"), Message("assistant", "risposta 1 [1]"))


def test_another_process_finds_what_was_said(conversations: SQLConversationStore, tmp_path: Path) -> None:
    conversation_id = run(conversations.begin(turn(1)))
    again = SQLConversationStore(tmp_path / "home" / "conversations.sqlite")
    assert run(again.read(conversation_id)).info.title == "domanda 1"


def test_the_list_begins_with_the_newest(conversations: SQLConversationStore) -> None:
    first, second = run(conversations.begin(turn(1))), run(conversations.begin(turn(2)))
    # Written on a clock an hour behind; what counts is when it was kept.
    run(conversations.append(first, replace(turn(3), created="2026-01-03T10:00:00.000-01:00")))
    listed = run(conversations.list(10))
    assert [info.conversation_id for info in listed] == [first, second]
    assert [info.turns for info in listed] == [2, 1]
    assert len(run(conversations.list(1))) == 1


def test_a_deleted_conversation_is_gone_with_its_turns(conversations: SQLConversationStore) -> None:
    conversation_id = run(conversations.begin(turn(1)))
    run(conversations.delete(conversation_id))
    for task in (conversations.read, conversations.delete):
        with pytest.raises(ConversationUnknownError):
            run(task(conversation_id))
    with pytest.raises(ConversationUnknownError):
        run(conversations.append(conversation_id, turn(2)))
    run(conversations.begin(turn(1)))  # its turn's id is free again


def test_an_empty_id_is_nobodys(conversations: SQLConversationStore) -> None:
    run(conversations.begin(turn(1)))
    with pytest.raises(ConversationUnknownError):
        run(conversations.read(""))


def test_many_at_once_are_all_kept(conversations: SQLConversationStore) -> None:
    async def talk() -> int:
        conversation_id = await conversations.begin(turn(1))
        turns = [replace(turn(1), turn_id=str(number)) for number in range(30)]
        await asyncio.gather(*(conversations.append(conversation_id, one) for one in turns))
        return len((await conversations.read(conversation_id)).turns)

    assert run(talk()) == 31


def test_what_was_said_is_nobody_elses(conversations: SQLConversationStore, tmp_path: Path) -> None:
    run(conversations.begin(turn(1)))
    mode = (tmp_path / "home" / "conversations.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_damaged_file_is_told(conversations: SQLConversationStore, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "conversations.sqlite").write_bytes(b"not a database, by far not one" * 100)
    with pytest.raises(ConversationStoreError, match="not a database"):
        run(conversations.list(10))


def test_an_owners_conversations_are_nobody_elses(conversations: SQLConversationStore) -> None:
    mine, unowned = run(conversations.begin(turn(1), "rafa")), run(conversations.begin(turn(2)))
    for owner in ("agente", ""):
        for task in (conversations.read(mine, owner), conversations.delete(unowned, owner)):
            with pytest.raises(ConversationUnknownError):
                run(task)
        with pytest.raises(ConversationUnknownError):
            run(conversations.append(mine, turn(3), owner))
        assert run(conversations.list(10, owner)) == ()
    assert [info.conversation_id for info in run(conversations.list(10, "rafa"))] == [mine]
    assert len(run(conversations.list(10))) == 2  # whoever works on this machine


def test_a_file_of_before_keys_is_brought_along(
    conversations: SQLConversationStore, tmp_path: Path
) -> None:
    old = run(conversations.begin(turn(1)))
    path = tmp_path / "home" / "conversations.sqlite"
    with closing(sqlite3.connect(path)) as file:
        file.executescript("ALTER TABLE conversations DROP COLUMN owner; PRAGMA user_version = 0")

    async def all_at_once() -> list[str]:
        stores = [SQLConversationStore(path) for _ in range(8)]
        return await asyncio.gather(
            *(store.begin(replace(turn(2), turn_id=str(n)), "rafa") for n, store in enumerate(stores))
        )

    assert len(set(run(all_at_once()))) == 8
    assert run(conversations.read(old)).turns == (turn(1),)
    assert len(run(conversations.list(10, "rafa"))) == 8


def test_a_file_that_vanishes_under_a_server_is_made_again(
    conversations: SQLConversationStore, tmp_path: Path
) -> None:
    run(conversations.begin(turn(1)))
    for part in (tmp_path / "home").glob("conversations.sqlite*"):
        part.unlink()
    assert run(conversations.read(run(conversations.begin(turn(1))))).turns == (turn(1),)
