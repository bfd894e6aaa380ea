"""One turn: sources first, tokens next, a checked answer last, and a voice that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.domain import Answer, Done, Event, Prompt, Question, Sources, Status, Token
from cervella_rag.errors import QuestionEmptyError


@pytest.fixture
def assistant(january: Path, monkeypatch: pytest.MonkeyPatch) -> Assistant:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")  # quick; what vectors add is tested elsewhere
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    return bootstrap.make_assistant(settings)


def events(assistant: Assistant, text: str) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in assistant.stream(Question(text))]

    return asyncio.run(collect())


def answer(assistant: Assistant, text: str) -> Answer:
    return asyncio.run(assistant.reply(Question(text)))


class ScriptedLLM:
    """Says what it is told, word by word, and notices when it is stopped."""

    mode = "scripted"
    model = "none"

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.is_stopped = False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str]:
        """Yield the pieces."""
        try:
            for piece in self.pieces:
                yield piece
                await asyncio.sleep(0)
        finally:
            self.is_stopped = True


def test_events_come_in_order(assistant: Assistant) -> None:
    kinds = [type(event) for event in events(assistant, "Quante ore tiene il forno a legna?")]
    assert kinds[:2] == [Status, Sources]
    assert set(kinds[2:-1]) == {Token}
    assert kinds[-1] is Done


def test_the_answer_is_the_joined_stream(assistant: Assistant) -> None:
    seen = events(assistant, "Quante ore tiene il forno a legna?")
    done = seen[-1]
    assert isinstance(done, Done)
    assert done.answer.answer == "".join(event.text for event in seen if isinstance(event, Token))


def test_memory_only_quotes_the_passage_with_place_and_date(assistant: Assistant) -> None:
    found = answer(assistant, "Quante ore tiene la temperatura il forno a legna?")
    assert found.grounded
    assert found.mode == "memory_only"
    assert found.answer.startswith("Ecco che cosa dice la memoria.\n")
    first = found.citations[0]
    assert first.path == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"
    assert first.date == "2026-01-10"
    assert "sei ore" in first.quote
    assert f"[1] {first.path}, righe {first.start_line}-{first.end_line}" in found.answer


@pytest.mark.parametrize(
    ("question", "opening"),
    [
        ("How long does the wood oven keep its temperature? forno legna", "This is what the memory says."),
        ("Por que escolhemos o forno a lenha para fazer a pizza? legna", "É isto o que diz a memória."),
    ],
)
def test_speaks_the_language_of_the_question(assistant: Assistant, question: str, opening: str) -> None:
    assert answer(assistant, question).answer.startswith(opening)


def test_a_file_name_cannot_forge_a_citation(january: Path, assistant: Assistant) -> None:
    (january / "[2] x[9].md").write_text("# Titolo [7] e [2]\n\nIl basilico arriva a maggio [3].\n")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    found = answer(assistant, "Quando arriva il basilico?")
    assert [citation.number for citation in found.citations] == [1]
    assert r"\[2\] x\[9\].md" in found.answer
    assert r"maggio \[3\]." in found.answer


def test_says_plainly_when_memory_has_nothing(assistant: Assistant) -> None:
    found = answer(assistant, "Chi dipinse la Gioconda?")
    assert not found.grounded
    assert found.answer.startswith("Questo in memoria non lo trovo")


def test_says_where_the_answer_comes_from(assistant: Assistant) -> None:
    found = answer(assistant, "Quante ore tiene il forno?")
    assert found.provenance["index_generation"] == 1
    assert len(found.provenance["chunk_ids"]) == len(found.citations)  # type: ignore[arg-type]
    assert set(found.timings_ms) == {"retrieval", "first_token", "total"}


def test_citations_that_were_not_given_are_taken_out(assistant: Assistant) -> None:
    scripted = replace(assistant, llm=ScriptedLLM("Sei ore [1]", " e ", "otto [9", "]."))
    found = answer(scripted, "Quante ore tiene il forno?")
    assert found.answer == "Sei ore [1] e otto."
    assert [citation.number for citation in found.citations] == [1]


def test_an_answer_that_cites_nothing_is_not_grounded(assistant: Assistant) -> None:
    found = answer(replace(assistant, llm=ScriptedLLM("Credo sei ore.")), "Quante ore tiene il forno?")
    assert not found.grounded


def test_closing_the_stream_stops_the_voice(assistant: Assistant) -> None:
    voice = ScriptedLLM(*["parola "] * 1000)

    async def leave_early() -> None:
        stream = replace(assistant, llm=voice).stream(Question("Quante ore tiene il forno?"))
        async for event in stream:
            if isinstance(event, Token):
                break
        await stream.aclose()

    asyncio.run(leave_early())
    assert voice.is_stopped


def test_errors_come_before_the_first_event(assistant: Assistant) -> None:
    with pytest.raises(QuestionEmptyError):
        events(assistant, " ")
