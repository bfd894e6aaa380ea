"""One turn: sources first, tokens next, a checked answer last, and a voice that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.chat.voices import Voices
from cervella_rag.domain import (
    Answer,
    Done,
    Event,
    Message,
    Prompt,
    Question,
    Sources,
    Spoken,
    Status,
    Token,
    VoiceEvent,
)
from cervella_rag.errors import (
    CervellaError,
    ConversationStoreError,
    ConversationUnknownError,
    PromptTooLongError,
    QuestionEmptyError,
    TemplateFileError,
    VoiceBrokenError,
)


@pytest.fixture
def assistant(january: Path, monkeypatch: pytest.MonkeyPatch) -> Assistant:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")  # quick; what vectors add is tested elsewhere
    monkeypatch.setenv("CERVELLA_LLM__VOICE", "memory_only")
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
    """Says what it is told, word by word, then fails where it is told to; notices when it is stopped."""

    model = "none"

    def __init__(self, *pieces: str, mode: str = "scripted", error: CervellaError | None = None) -> None:
        self.mode = mode
        self.pieces = pieces
        self.error = error
        self.prompts: list[Prompt] = []
        self.prepared: list[tuple[Message, ...]] = []
        self.is_stopped = False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """Yield the pieces."""
        self.prompts.append(prompt)
        try:
            for piece in self.pieces:
                yield Token(piece)
                await asyncio.sleep(0)
            if self.error:
                raise self.error
            yield Spoken(self.mode, self.model, prompt_tokens=7, completion_tokens=3)
        finally:
            self.is_stopped = True

    async def check(self) -> str:
        """Fail as the stream would."""
        if self.error:
            raise self.error
        return "ready"

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """Remember what was to be prepared."""
        self.prepared.append(tuple(history))

    async def aclose(self) -> None:
        """Do nothing."""


def speaking(assistant: Assistant, *voices: ScriptedLLM) -> Assistant:
    return replace(assistant, voices=Voices(voices, rest_seconds=60))


@pytest.mark.parametrize("echo", ["Il forno a legna tiene le ore [1].", "Quante ore tiene il forno? [1]"])
def test_a_voice_that_gives_the_question_back_is_followed_by_the_memory(
    assistant: Assistant, echo: str
) -> None:
    said = answer(speaking(assistant, ScriptedLLM(echo)), "Quante ore tiene il forno a legna?")
    assert said.mode == "scripted"
    assert "\n\nThis is what" in said.answer or "\n\nEcco che cosa dice la memoria." in said.answer
    assert "sei ore" in said.answer
    assert said.citations
    assert said.provenance["quoted_after_echo"]


@pytest.mark.parametrize(
    "text", ["Tiene la temperatura per sei ore [1].", "Sei ore [1].", "Sei, Rafa [1]."]
)
def test_a_voice_that_answers_is_left_alone(assistant: Assistant, text: str) -> None:
    said = answer(speaking(assistant, ScriptedLLM(text)), "Quante ore tiene il forno a legna?")
    assert said.answer == text
    assert not said.provenance["quoted_after_echo"]


def test_events_come_in_order(assistant: Assistant) -> None:
    kinds = [type(event) for event in events(assistant, "Quante ore tiene il forno a legna?")]
    assert kinds[:3] == [Status, Sources, Status]
    assert set(kinds[3:-1]) == {Token}
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
    scripted = speaking(assistant, ScriptedLLM("Sei ore [1]", " di ", "temperatura [9", "]."))
    found = answer(scripted, "Quante ore tiene il forno?")
    assert found.answer == "Sei ore [1] di temperatura."
    assert [citation.number for citation in found.citations] == [1]


def test_an_answer_that_cites_nothing_is_not_grounded(assistant: Assistant) -> None:
    found = answer(speaking(assistant, ScriptedLLM("Credo di no.")), "Quante ore tiene il forno?")
    assert not found.grounded


def test_closing_the_stream_stops_the_voice(assistant: Assistant) -> None:
    voice = ScriptedLLM(*["parola "] * 1000)

    async def leave_early() -> None:
        stream = speaking(assistant, voice).stream(Question("Quante ore tiene il forno?"))
        async for event in stream:
            if isinstance(event, Token):
                break
        await stream.aclose()

    asyncio.run(leave_early())
    assert voice.is_stopped


def test_errors_come_before_the_first_event(assistant: Assistant) -> None:
    with pytest.raises(QuestionEmptyError):
        events(assistant, " ")


def test_a_sentence_gets_the_citation_it_forgot(assistant: Assistant) -> None:
    voice = ScriptedLLM(
        "Il forno a legna tiene la temperatura ", "sei ore. ", "La luna è di formaggio verde."
    )
    found = answer(speaking(assistant, voice), "Quante ore tiene il forno a legna?")
    assert (
        found.answer == "Il forno a legna tiene la temperatura sei ore [1]. La luna è di formaggio verde."
    )
    assert found.provenance["citations_added"] == [1]
    assert found.grounded


def test_a_number_the_passage_does_not_have_gets_no_citation(assistant: Assistant) -> None:
    voice = ScriptedLLM("Il forno a legna tiene la temperatura 47 ore.")
    assert not answer(speaking(assistant, voice), "Quante ore tiene il forno a legna?").grounded


def test_a_voice_that_cannot_speak_is_passed_over_and_left_alone(assistant: Assistant) -> None:
    broken = ScriptedLLM(mode="first", error=VoiceBrokenError(voice="v", place="p", reason="r"))
    both = speaking(assistant, broken, ScriptedLLM("Sei ore [1].", mode="second"))
    for _ in range(2):
        found = answer(both, "Quante ore tiene il forno?")
        assert found.mode == "second"
        assert [voice["mode"] for voice in found.provenance["passed_over"]] == ["first"]  # type: ignore[attr-defined]
    assert len(broken.prompts) == 1


def test_a_voice_that_breaks_off_after_a_word_is_an_error(assistant: Assistant) -> None:
    broken = ScriptedLLM("Sei ", error=VoiceBrokenError(voice="v", place="p", reason="r"))
    other = ScriptedLLM("mai", mode="second")
    with pytest.raises(VoiceBrokenError):
        answer(speaking(assistant, broken, other), "Quante ore tiene il forno?")
    assert not other.prompts


def test_health_tells_of_every_voice_and_wakes_the_first_that_can_speak(assistant: Assistant) -> None:
    broken = ScriptedLLM(mode="first", error=VoiceBrokenError(voice="v", place="p", reason="no wire"))
    second = ScriptedLLM(mode="second")
    voices = Voices([broken, second], rest_seconds=60)
    states = asyncio.run(voices.states("en"))
    assert [(state.mode, state.ready) for state in states] == [("first", False), ("second", True)]
    assert "no wire" in states[0].detail
    asyncio.run(voices.wake())
    assert (broken.prepared, second.prepared) == ([], [()])


def test_a_conversation_goes_on_where_it_was(assistant: Assistant) -> None:
    voice = ScriptedLLM("Sei ore [1].")
    speaker = speaking(assistant, voice)
    first = asyncio.run(speaker.reply(Question("Quante ore tiene il forno?")))
    asyncio.run(speaker.reply(Question("E quanto costa?"), first.conversation_id))
    assert voice.prompts[1].history == (
        Message("user", "Quante ore tiene il forno?"),
        Message("assistant", "Sei ore [1]."),
    )
    assert first.conversation_id
    kept = asyncio.run(speaker.conversations.read(first.conversation_id))
    assert [turn.question for turn in kept.turns] == ["Quante ore tiene il forno?", "E quanto costa?"]


def test_a_process_that_stays_prepares_for_the_next_question(assistant: Assistant) -> None:
    voice = ScriptedLLM("Sei ore [1].")
    answer(replace(speaking(assistant, voice), stays=True), "Quante ore tiene il forno?")
    assert voice.prepared == [
        (Message("user", "Quante ore tiene il forno?"), Message("assistant", "Sei ore [1]."))
    ]


def test_a_client_that_brings_the_history_keeps_it(assistant: Assistant) -> None:
    asked = Question("E quanto costa?", (Message("user", "Il forno?"), Message("assistant", "Sì.")))
    assert asyncio.run(assistant.reply(asked)).conversation_id is None
    assert asyncio.run(assistant.conversations.list(10)) == ()


def test_an_unknown_conversation_is_told_before_anything_else(assistant: Assistant) -> None:
    with pytest.raises(ConversationUnknownError, match="nope"):
        asyncio.run(assistant.reply(Question("Quante ore?"), "nope"))


def test_a_question_too_long_does_not_send_a_voice_to_rest(assistant: Assistant) -> None:
    class NarrowLLM(ScriptedLLM):
        def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
            if len(prompt.question) > 100:
                raise PromptTooLongError(needed=200, window=100)
            return super().stream(prompt)

    both = speaking(assistant, NarrowLLM("Sei ore [1].", mode="first"), ScriptedLLM("Sì.", mode="second"))
    assert answer(both, "Quante ore tiene il forno? " * 10).mode == "second"
    assert answer(both, "Quante ore tiene il forno?").mode == "first"


def test_a_mistake_in_a_prompt_is_told_and_not_passed_over(assistant: Assistant) -> None:
    mistaken = ScriptedLLM(mode="first", error=TemplateFileError(path="x.j2", line=3, reason="r"))
    with pytest.raises(TemplateFileError):
        answer(speaking(assistant, mistaken, ScriptedLLM("Sì.", mode="second")), "Quante ore?")


@pytest.mark.parametrize(("turns", "kept"), [(0, 0), (1, 2), (12, 4)])
def test_a_voice_is_reminded_of_so_many_turns(assistant: Assistant, turns: int, kept: int) -> None:
    voice = ScriptedLLM("Sei ore [1].")
    speaker = replace(speaking(assistant, voice), history_turns=turns, stays=True)
    conversation_id = None
    for _ in range(3):
        asked = Question("Quante ore tiene il forno?")
        conversation_id = asyncio.run(speaker.reply(asked, conversation_id)).conversation_id
    assert len(voice.prompts[-1].history) == kept
    assert len(voice.prepared[-1]) == min(2 * turns, 6)


def test_a_turn_that_cannot_be_kept_does_not_lose_its_conversation(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = speaking(assistant, ScriptedLLM("Sei ore [1]."))
    first = asyncio.run(speaker.reply(Question("Quante ore tiene il forno?")))

    async def fail(*_: object) -> None:
        raise ConversationStoreError(path="x", reason="database is locked")

    monkeypatch.setattr(speaker.conversations, "append", fail)
    again = asyncio.run(speaker.reply(Question("E la farina?"), first.conversation_id))
    assert again.conversation_id == first.conversation_id
