"""Every voice goes on with a cut answer as its server lets it, and a turn stays one: checked and kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.domain import Message, Prompt, Question, Spoken, Token, Window
from cervella_rag.errors import VoiceRefusedError
from cervella_rag.llm.continuation import Asked
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
from .test_prompt import WRITER

PATIENT = Patience(5, 5)
WINDOW = Window(4096, 60, continuations=1)
ASKED = Prompt("Quante ore tiene il forno?", "it", (), (), grounded=False)


def on_ollama(double: OllamaDouble) -> OllamaLLM:
    return OllamaLLM(OllamaOptions(double.url, "m", "30m", 0.3), WRITER, WINDOW, PATIENT)


def on_openai(double: OpenAIDouble) -> OpenAICompatibleLLM:
    options = OpenAIOptions(double.url, openai.MODEL, key="k", temperature=0.3, extra={})
    return OpenAICompatibleLLM(options, WRITER, WINDOW, PATIENT)


async def listen(voice: OllamaLLM | OpenAICompatibleLLM) -> tuple[str, Spoken]:
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
