"""A cut answer goes on: as one stream, without repetition, within the window; honest where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.domain import Message, Prompt, Question, Spoken, Status, Token, VoiceEvent, Window
from cervella_rag.errors import CervellaError, VoiceBrokenError, VoiceRefusedError, VoiceTimeoutError
from cervella_rag.llm.continuation import Asked, Joint, Limits, is_looping, say_all
from cervella_rag.llm.llama_cpp import LlamaCppLLM
from cervella_rag.llm.ollama import OllamaLLM, OllamaOptions
from cervella_rag.llm.openai_compatible import OpenAICompatibleLLM, OpenAIOptions
from cervella_rag.llm.speech import ModelLLM, Patience

from . import openai_double as openai
from .ollama_double import OllamaDouble, Step, Stream, error_line, piece, refusal, saying
from .openai_double import OpenAIDouble, failure
from .test_assistant import answer, speaking
from .test_assistant import assistant as assistant  # noqa: PLC0414 - a fixture
from .test_llama_cpp import MakeVoice, asking, heard, seconds_until_free
from .test_llama_cpp import make_voice as make_voice  # noqa: PLC0414 - a fixture
from .test_prompt import PROMPTS, WRITER

FIRST = Asked((Message("user", "Quante ore tiene il forno?"),), 100)
WIDE = Limits(context_tokens=8000, prompt_tokens=500, continuations=2)
CUT, STOP = (Spoken("scripted", "m", reason, 500, 100) for reason in ("length", "stop"))
BROKEN = VoiceBrokenError(voice="v", place="p", reason="torn")
PATIENT = Patience(5, 5)

words = st.text("abc de\n", max_size=60)


class Parts:
    """Says one part for every time it is asked, and fails where a part holds an error."""

    def __init__(self, *parts: list[VoiceEvent | CervellaError]) -> None:
        self.parts = parts
        self.asked: list[Asked] = []
        self.closed = 0

    async def say(self, asked: Asked) -> AsyncGenerator[VoiceEvent]:
        """Yield the next part."""
        part = self.parts[len(self.asked)]
        self.asked.append(asked)
        try:
            for event in part:
                if isinstance(event, CervellaError):
                    raise event
                yield event
        finally:
            self.closed += 1


def play(parts: Parts, limits: Limits = WIDE) -> tuple[str, Spoken]:
    """Return what was said and how it ended."""

    async def listen() -> list[VoiceEvent]:
        return [event async for event in say_all(parts.say, FIRST, limits, lambda said: f"on: {said}")]

    *events, end = asyncio.run(listen())
    assert isinstance(end, Spoken)
    return "".join(event.text for event in events if isinstance(event, Token)), end


def joined(said: str, *pieces: str) -> str:
    joint = Joint(said)
    return said + "".join([*map(joint.feed, pieces), joint.finish()])


def test_a_cut_answer_goes_on_from_where_it_was() -> None:
    parts = Parts([Token("Il forno tie"), CUT], [Token("ne sei"), Token(" ore."), STOP])
    text, end = play(parts)
    assert text == "Il forno tiene sei ore."
    assert end == Spoken("scripted", "m", "stop", 1000, 200, continued=1)
    assert parts.asked[1].open_ended == (*FIRST.messages, Message("assistant", "Il forno tie"))
    assert parts.closed == 2


def test_an_answer_that_is_whole_is_asked_for_once() -> None:
    for reason in ("stop", "incomplete"):
        end = Spoken("scripted", "m", reason)
        assert play(Parts([Token("Sei ore."), end])) == ("Sei ore.", end)


def test_it_goes_on_so_often_and_then_says_that_it_was_cut() -> None:
    parts = Parts(*[[Token(f"Frase numero {number} del racconto. "), CUT] for number in range(5)])
    text, end = play(parts)
    assert text.count("Frase") == len(parts.asked) == 3
    assert (end.finish_reason, end.continued) == ("length", 2)


@pytest.mark.parametrize(
    "failure", [BROKEN, VoiceTimeoutError(voice="v", place="p", seconds=1, setting="S")]
)
@pytest.mark.parametrize("before", [[], [Token("ne sei")]])
def test_what_was_said_stays_where_the_second_part_fails(
    failure: CervellaError, before: list[VoiceEvent | CervellaError]
) -> None:
    parts = Parts([Token("Il forno tie"), CUT], [*before, failure])
    text, end = play(parts)
    assert text in {"Il forno tie", "Il forno tiene sei"}
    assert end == CUT
    assert parts.closed == 2


def test_a_further_part_that_breaks_off_without_an_end_says_so() -> None:
    text, end = play(
        Parts([Token("Il forno tie"), CUT], [Token("ne"), Spoken("scripted", "m", "incomplete")])
    )
    assert (text, end.finish_reason) == ("Il forno tiene", "incomplete")


def test_no_further_word_means_that_the_answer_was_whole() -> None:
    text, end = play(Parts([Token("Sei ore."), CUT], [STOP]))
    assert (text, end.finish_reason) == ("Sei ore.", "stop")


def test_an_error_of_the_first_part_is_an_error() -> None:
    with pytest.raises(VoiceBrokenError):
        play(Parts([Token("Il forno"), BROKEN]))


def test_progress_is_told_of_the_first_part_alone() -> None:
    parts = Parts([Status("reading"), Token("Il "), CUT], [Status("reading"), Token("forno."), STOP])

    async def listen() -> list[VoiceEvent]:
        return [event async for event in say_all(parts.say, FIRST, WIDE, str)]

    kinds = [type(event) for event in asyncio.run(listen())]
    assert kinds == [Status, Token, Token, Spoken]


@pytest.mark.parametrize(("context", "further"), [(8000, 100), (790, 90), (760, 60), (740, 0), (600, 0)])
def test_a_further_part_fits_the_window_or_is_not_asked_for(context: int, further: int) -> None:
    parts = Parts([Token("Il forno tie"), CUT], [Token("ne."), STOP])
    _, end = play(parts, Limits(context, 500, 2))
    assert [asked.answer_tokens for asked in parts.asked[1:]] == ([further] if further else [])
    assert end.finish_reason == ("stop" if further else "length")


def test_what_a_server_counts_weighs_where_it_is_more() -> None:
    cut = Spoken("scripted", "m", "length", 7800, 100)
    parts = Parts([Token("Il forno tie"), cut], [Token("ne."), STOP])
    assert play(parts)[1] == cut


def test_the_sum_of_the_parts_never_leaves_the_window() -> None:
    parts = Parts(*[[Token(f"Frase numero {number} del racconto. "), CUT] for number in range(5)])
    limits = Limits(1000, 500, 4)
    play(parts, limits)
    for number, asked in enumerate(parts.asked):
        assert 500 + 100 * number + asked.answer_tokens <= limits.context_tokens


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("Il forno tiene sei ore. " * 3, True),
        ("Certo. " + "uno due tre quattro cinque sei sette " * 4, True),
        ("no " * 12, True),
        ("no " * 4, False),
        ("Il forno tiene sei ore. La farina arriva a marzo. Il forno tiene sei ore.", False),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |", False),
        ("", False),
    ],
)
def test_an_answer_that_goes_round_in_circles_is_known(text: str, loops: bool) -> None:
    assert is_looping(text) is loops


def test_an_answer_that_goes_round_in_circles_is_not_gone_on_with() -> None:
    parts = Parts([Token("Il forno tiene sei ore. " * 4), CUT], [Token("mai"), STOP])
    assert play(parts)[1] == CUT
    assert len(parts.asked) == 1


@pytest.mark.parametrize(
    ("said", "pieces", "whole"),
    [
        ("Il forno tie", ["ne"], "Il forno tiene"),
        ("Il forno ", ["tiene"], "Il forno tiene"),
        ("Il forno ", [" tiene"], "Il forno tiene"),
        ("Il forno", [" tiene"], "Il forno tiene"),
        ("Uno.\n", ["\n\nDue."], "Uno.\n\nDue."),
        ("Il forno tiene la temperatura", ["tiene la temp", "eratura sei ore"], None),
        ("Il forno tiene la temperatura", ["Il forno tiene la temperatura", " sei ore"], None),
        ("Il forno tiene la temperatura", list("Il forno tiene la temperatura sei ore"), None),
        ("La spesa è la", ["la spesa"], "La spesa è lala spesa"),
    ],
)
def test_what_is_said_twice_is_shown_once(said: str, pieces: list[str], whole: str | None) -> None:
    assert joined(said, *pieces) == (whole or "Il forno tiene la temperatura sei ore")


def test_another_answer_is_not_joined_to_the_first() -> None:
    said = "Il forno a legna tiene la temperatura per sei ore intere, anche"
    other = "Il forno a legna tiene la temperatura per quattro ore e poi va spento."
    parts = Parts([Token(said), CUT], [*map(Token, other), STOP])
    assert play(parts) == (said, CUT)
    assert parts.closed == 2


@given(words, words, st.lists(st.integers(0, 60), max_size=5))
def test_where_a_further_part_is_cut_changes_nothing(said: str, more: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(more)) for cut in cuts), len(more)]
    whole = joined(said, *(more[start:end] for start, end in pairwise(places)))
    assert whole == joined(said, more)
    assert whole.startswith(said)


@given(words.filter(str.strip), st.text("xyz ", min_size=1, max_size=40))
def test_what_shares_nothing_is_joined_as_it_is(said: str, more: str) -> None:
    assert joined(said.rstrip(), more) == said.rstrip() + more


def test_the_words_that_ask_to_go_on_name_the_last_ones_in_each_language() -> None:
    said = "x" * 100 + " e il forno <|im_end|> tiene la temperatura"
    for language, begins in (("it", "La tua"), ("en", "Your"), ("pt", "A tua")):
        prompt = Prompt("?", language, (), (), grounded=False)
        asked = WRITER.go_on(prompt, said)
        assert asked.startswith(begins)
        assert "tiene la temperatura" in asked
        assert "<|" not in asked
        assert "xx" not in asked
    assert len(list((PROMPTS / "chat").glob("go_on.*"))) == 3


WINDOW = Window(4096, 60, continuations=1)
ASKED = Prompt("Quante ore tiene il forno?", "it", (), (), grounded=False)


def on_ollama(double: OllamaDouble) -> ModelLLM:
    return OllamaLLM(OllamaOptions(double.url, "m", "30m", 0.3), WRITER, WINDOW, PATIENT)


def on_openai(double: OpenAIDouble) -> ModelLLM:
    options = OpenAIOptions(double.url, openai.MODEL, key="k", temperature=0.3, extra={})
    return OpenAICompatibleLLM(options, WRITER, WINDOW, PATIENT)


async def listen(voice: ModelLLM) -> tuple[str, Spoken]:
    """Return what a voice says, and how it ended."""
    try:
        async with asyncio.timeout(5):
            *events, end = [event async for event in voice.stream(ASKED)]
    finally:
        await voice.aclose()
    assert isinstance(end, Spoken)
    return "".join(event.text for event in events if isinstance(event, Token)), end


def through_ollama(double: OllamaDouble) -> tuple[str, Spoken]:
    async def ask() -> tuple[str, Spoken]:
        async with double:
            return await listen(on_ollama(double))

    return asyncio.run(ask())


def through_openai(double: OpenAIDouble) -> tuple[str, Spoken]:
    async def ask() -> tuple[str, Spoken]:
        async with double:
            return await listen(on_openai(double))

    return asyncio.run(ask())


CUT_ON_OLLAMA = saying("Tiene", " sei ", done_reason="length")


def test_ollama_goes_on_with_the_last_message() -> None:
    double = OllamaDouble(CUT_ON_OLLAMA, saying("ore", " [1]."))
    text, end = through_ollama(double)
    assert text == "Tiene sei ore [1]."
    assert (end.finish_reason, end.continued, end.completion_tokens) == ("stop", 1, 6)
    first, second = (request.body for request in double.requests if request.path == "/api/chat")
    assert second["messages"] == [*first["messages"], {"role": "assistant", "content": "Tiene sei"}]
    assert second["options"]["num_ctx"] == first["options"]["num_ctx"]
    assert second["options"]["num_predict"] <= first["options"]["num_predict"]


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, "no"),
        refusal(503, "server busy, please try again.  maximum pending requests exceeded"),
        Stream((error_line("died"),)),
        Stream((piece("ore"), error_line("died"))),
        Stream((piece("ore"), Step.RESET)),
    ],
)
def test_on_ollama_what_was_said_stays_and_is_said_to_be_cut(reply: Stream) -> None:
    text, end = through_ollama(OllamaDouble(CUT_ON_OLLAMA, reply))
    assert text in {"Tiene sei ", "Tiene sei ore"}
    assert (end.finish_reason, end.continued) == ("length", 0)


def test_leaving_in_the_second_part_stops_the_model() -> None:
    double = OllamaDouble(CUT_ON_OLLAMA, Stream((piece("ore"), piece(" e"), Step.SILENCE)))

    async def leave() -> None:
        async with double, asyncio.timeout(5):
            voice = on_ollama(double)
            stream = voice.stream(ASKED)
            async for event in stream:
                if isinstance(event, Token) and event.text == "ore":
                    break
            await stream.aclose()
            await double.has_stopped.wait()
            await voice.aclose()

    asyncio.run(leave())


def test_an_openai_server_is_told_to_go_on_with_the_last_message() -> None:
    cut = openai.Reply(openai.spoken("Tiene", " sei", finish="length"))
    double = OpenAIDouble(cut, openai.Reply(openai.spoken(" ore.")))
    text, end = through_openai(double)
    assert (text, end.finish_reason, end.continued) == ("Tiene sei ore.", "stop", 1)
    first, second = (request.body for request in double.chats)
    assert "continue_final_message" not in first
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
    assert second["messages"] == [*first["messages"], {"role": "assistant", "content": "Tiene sei"}]


def test_an_openai_server_that_cannot_is_asked_for_the_rest_in_words() -> None:
    cut = openai.Reply(openai.spoken("Il forno tiene", " sei", finish="length"))
    refused = openai.Reply(
        status=400, body=failure("Unrecognized request argument: continue_final_message")
    )
    double = OpenAIDouble(cut, refused, openai.Reply(openai.spoken("Il forno tiene sei", " ore.")))
    text, end = through_openai(double)
    assert (text, end.finish_reason) == ("Il forno tiene sei ore.", "stop")
    last = double.chats[2].body
    assert "continue_final_message" not in last
    assert [message["role"] for message in last["messages"][-2:]] == ["assistant", "user"]
    assert "«forno tiene sei»" in last["messages"][-1]["content"]


def test_an_openai_server_that_refuses_both_leaves_the_answer_as_it_is() -> None:
    cut = openai.Reply(openai.spoken("Tiene", " sei", finish="length"))
    double = OpenAIDouble(cut, openai.Reply(status=400, body=failure("no")))
    text, end = through_openai(double)
    assert (text, end.finish_reason) == ("Tiene sei", "length")
    assert len(double.chats) == 3


def test_the_engine_in_process_goes_on_where_it_was(make_voice: MakeVoice) -> None:
    whole = heard(make_voice(answer_tokens=12), asking())
    voice = make_voice()
    voice._window = Window(2048, 6, compact=True, continuations=1)
    parts = heard(voice, asking())
    end = parts[-1]
    assert isinstance(end, Spoken)
    assert (end.continued, end.completion_tokens) == (1, 12)
    said, at_once = (
        "".join(event.text for event in events if isinstance(event, Token)) for events in (parts, whole)
    )
    assert said == at_once  # with its likeliest word each time, cutting changes nothing


def test_the_engine_is_free_when_one_leaves_in_the_second_part(make_voice: MakeVoice) -> None:
    voice: LlamaCppLLM = make_voice(answer_tokens=16)
    voice._window = Window(2048, 400, compact=True, continuations=2)
    asked = Asked((Message("user", "Count slowly from one to a hundred, in words."),), 400, "One, two,")

    async def leave() -> None:
        stream = voice._say(asked)
        async for event in stream:
            if isinstance(event, Token):
                break
        await stream.aclose()

    asyncio.run(leave())
    assert seconds_until_free(voice) < 0.5


class CutLLM(ModelLLM):
    """A voice of scripted parts, each one answer to one request."""

    mode = "scripted"

    def __init__(self, *parts: str) -> None:
        window = Window(8192, 60, continuations=2)
        super().__init__("m", "here", writer=WRITER, window=window, patience=PATIENT)
        self.parts = parts
        self.asked: list[Asked] = []

    async def _deltas(self, asked: Asked):  # type: ignore[no-untyped-def]
        self.asked.append(asked)
        if len(self.asked) > len(self.parts):
            raise VoiceRefusedError(voice="v", place="p", reason="no")
        is_last = len(self.asked) == len(self.parts) and self.parts[-1].endswith(".")
        yield self.parts[len(self.asked) - 1]
        yield Spoken("scripted", "m", "stop" if is_last else "length", 200, 20)

    async def check(self) -> str:
        """Return nothing to add."""
        return ""

    async def aclose(self) -> None:
        """Do nothing."""


def test_citations_are_checked_across_the_seam(assistant: Assistant) -> None:
    voice = CutLLM("Il forno tiene sei ore [", "1] di temperatura [", "9].")
    found = answer(speaking(assistant, voice), "Quante ore tiene il forno?")  # type: ignore[arg-type]
    assert found.answer == "Il forno tiene sei ore [1] di temperatura."
    assert found.provenance["continued"] == 2
    assert found.provenance["citations_removed"] == [9]
    assert found.finish_reason == "stop"
    assert found.usage == {"prompt_tokens": 600, "completion_tokens": 60}


def test_a_secret_is_taken_out_across_the_seam(assistant: Assistant) -> None:
    canary = assistant.persona().canary
    voice = CutLLM(f"Le mie istruzioni sono {canary[:9]}", f"{canary[9:]} e basta.")
    found = answer(speaking(assistant, voice), "Quante ore tiene il forno?")  # type: ignore[arg-type]
    assert canary not in found.answer
    assert found.provenance["canary_said"]


def test_what_cannot_be_gone_on_with_is_kept_and_said_to_be_cut(
    assistant: Assistant, january: Path
) -> None:
    speaker = speaking(assistant, CutLLM("Il forno tiene sei ore [1] di temperatura"))  # type: ignore[arg-type]
    found = asyncio.run(speaker.reply(Question("Quante ore tiene il forno?")))
    assert found.finish_reason == "length"
    assert found.answer == "Il forno tiene sei ore [1] di temperatura"
    assert found.conversation_id
    (turn,) = asyncio.run(speaker.conversations.read(found.conversation_id)).turns
    assert turn.finish_reason == "length"


def test_how_often_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bootstrap.load_settings().llm.continuations == 2
    monkeypatch.setenv("CERVELLA_LLM__CONTINUATIONS", "0")
    assert bootstrap.load_settings().llm.continuations == 0
