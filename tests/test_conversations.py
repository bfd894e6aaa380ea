"""Conversations on a real SQLite file and a real Postgres: kept in order, private, gone when deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from cervella_rag.chat.conversations import SQLConversationStore
from cervella_rag.chat.database import Database, Place
from cervella_rag.domain import Message, Turn, Usage
from cervella_rag.errors import ConversationUnknownError

T = TypeVar("T")


@pytest.fixture
def conversations(any_place: Place) -> SQLConversationStore:
    return SQLConversationStore(any_place)


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


def test_another_process_finds_what_was_said(conversations: SQLConversationStore, any_place: Place) -> None:
    conversation_id = run(conversations.begin(turn(1)))
    again = SQLConversationStore(any_place)
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


@pytest.mark.parametrize("conversation_id", ["", "\0", "a" * 10_000, "' OR 1=1 --"])
def test_an_odd_id_is_nobodys(conversations: SQLConversationStore, conversation_id: str) -> None:
    run(conversations.begin(turn(1)))
    with pytest.raises(ConversationUnknownError):
        run(conversations.read(conversation_id))


def test_a_turn_with_any_sign_is_kept(conversations: SQLConversationStore) -> None:
    odd = replace(turn(1), question="a\0b 🍞 \u202e", answer="c\0", finish_reason="x" * 300, citations=())
    odd = replace(odd, citations=({"quote": "d\0", "headings": ["è"]},))
    (kept,) = run(conversations.read(run(conversations.begin(odd, "r" * 300)))).turns
    assert kept.question.replace("\ufffd", "\0") == odd.question
    assert replace(kept, question="", answer="") == replace(odd, question="", answer="")


def test_conversations_of_one_moment_are_listed_newest_first(conversations: SQLConversationStore) -> None:
    async def begin() -> list[str]:
        turns = [replace(turn(1), turn_id=str(number)) for number in range(12)]
        return [await conversations.begin(one) for one in turns]

    begun = run(begin())
    assert [info.conversation_id for info in run(conversations.list(12))] == begun[::-1]


def test_what_was_counted_is_summed(conversations: SQLConversationStore) -> None:
    run(conversations.begin(replace(turn(1), prompt_tokens=2_000_000_000, completion_tokens=1)))
    run(conversations.begin(replace(turn(2), prompt_tokens=2_000_000_000)))
    assert run(conversations.usage()) == (Usage("ollama", "qwen3", 2, 2, 4_000_000_000, 1),)


def test_many_at_once_are_all_kept(conversations: SQLConversationStore) -> None:
    async def talk() -> int:
        conversation_id = await conversations.begin(turn(1))
        turns = [replace(turn(1), turn_id=str(number)) for number in range(30)]
        await asyncio.gather(*(conversations.append(conversation_id, one) for one in turns))
        return len((await conversations.read(conversation_id)).turns)

    assert run(talk()) == 31


def test_two_hundred_that_end_in_one_moment_are_all_kept(any_place: Place) -> None:
    async def talk() -> int:
        store = SQLConversationStore(Database(any_place, stays=True))
        turns = (replace(turn(1), turn_id=str(number)) for number in range(200))
        await asyncio.gather(*(store.begin(one) for one in turns))
        kept = len(await store.list(1000))
        await store.aclose()
        return kept

    assert run(talk()) == 200


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
