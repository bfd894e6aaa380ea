"""A voice behind OpenAI's protocol: what the real client makes of a server that speaks, fails or hangs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

import pytest

from cervella_rag.domain import Composed, Message, Prompt, Spoken, Token, VoiceEvent, Window
from cervella_rag.errors import (
    CervellaError,
    ModelMissingError,
    VoiceBrokenError,
    VoiceRefusedError,
    VoiceSilentError,
    VoiceTimeoutError,
    VoiceUnavailableError,
)
from cervella_rag.llm import openai_compatible
from cervella_rag.llm.openai_compatible import OpenAICompatibleLLM, OpenAIOptions
from cervella_rag.llm.speech import Patience
from tests.openai_double import DONE, MODEL, ROLE, OpenAIDouble, Reply, chunk, failure, spoken, usage

PROMPT = Prompt("Come ti chiami?", "it", (), (), grounded=False)
EXTRA = {"chat_template_kwargs": {"enable_thinking": False}}
PATIENT = Patience(5, 5)

MISSING = Reply(status=404, body=failure("The model `gone` does not exist.", "NotFoundError"))
NO_PATH = Reply(status=404, body='{"detail": "Not Found"}')
HTML = Reply(status=502, body="<html><h1>502 Bad Gateway</h1></html>", kind="text/html")
IN_STREAM = failure("CUDA out of memory", "InternalServerError")


class Writer:
    """Writes the same three messages whatever is asked."""

    def go_on(self, prompt: Prompt, said: str) -> str:
        """See `PromptWriter`."""
        return f"Go on after: {said[-20:]}"

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """See `PromptWriter`."""
        return Composed(self.messages(prompt, window))

    def messages(self, prompt: Prompt, window: Window) -> tuple[Message, ...]:
        """Return what is sent."""
        return (
            Message("system", "Sei Cervella."),
            Message("assistant", "Eccomi."),
            Message("user", prompt.question),
        )

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """See `PromptWriter`."""
        return ()


def make_voice(url: str, model: str = MODEL, patience: Patience = PATIENT) -> OpenAICompatibleLLM:
    options = OpenAIOptions(url, model, key="secret", temperature=0.3, extra=EXTRA)
    return OpenAICompatibleLLM(options, Writer(), Window(2048, 300), patience)


def run(task: Coroutine[Any, Any, None]) -> None:
    """Run one test's coroutine; nothing in it may hang."""

    async def limited() -> None:
        async with asyncio.timeout(10):
            await task

    asyncio.run(limited())


class Heard(NamedTuple):
    """What came of one question: the text, how it ended, or why it failed."""

    text: str
    end: Spoken | None
    error: CervellaError | None


def hear(server: OpenAIDouble, model: str = MODEL, patience: Patience = PATIENT) -> Heard:
    """Ask once and collect what comes."""
    events: list[VoiceEvent] = []
    errors: list[CervellaError] = []

    async def ask() -> None:
        async with server:
            voice = make_voice(server.url, model, patience)
            try:
                async for event in voice.stream(PROMPT):
                    events.append(event)
            except CervellaError as error:
                errors.append(error)
            finally:
                await voice.aclose()

    run(ask())
    text = "".join(event.text for event in events if isinstance(event, Token))
    end = events[-1] if events and isinstance(events[-1], Spoken) else None
    return Heard(text, end, errors[0] if errors else None)


def using(server: OpenAIDouble, test: Callable[[OpenAICompatibleLLM], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a voice that takes what the server lists first."""

    async def body() -> None:
        async with server:
            voice = make_voice(server.url, model="")
            try:
                await test(voice)
            finally:
                await voice.aclose()

    run(body())


def test_an_answer_comes_piece_by_piece_with_what_it_counted() -> None:
    heard = hear(OpenAIDouble(Reply(spoken("Sono ", "Cervella."))))
    assert heard == ("Sono Cervella.", Spoken("openai", MODEL, "stop", 12, 2), None)


def test_what_is_asked_stands_in_the_request() -> None:
    server = OpenAIDouble()
    hear(server)
    (request,) = server.chats
    assert request.headers["authorization"] == "Bearer secret"
    assert request.body == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Sei Cervella."},
            {"role": "assistant", "content": "Eccomi."},
            {"role": "user", "content": "Come ti chiami?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 300,
        "temperature": 0.3,
        **EXTRA,
    }


def test_an_answer_without_counts_counts_nothing() -> None:
    heard = hear(OpenAIDouble(Reply([ROLE, chunk("Ciao."), chunk(finish="stop"), DONE])))
    assert heard.end == Spoken("openai", MODEL, "stop")


def test_the_finish_may_come_with_the_last_word() -> None:
    heard = hear(OpenAIDouble(Reply([ROLE, chunk("Ciao."), chunk(" A dopo.", finish="stop"), DONE])))
    assert heard.text == "Ciao. A dopo."
    assert heard.end == Spoken("openai", MODEL, "stop")


def test_an_answer_that_was_cut_at_its_limit_says_so() -> None:
    heard = hear(OpenAIDouble(Reply(spoken("Sono", finish="length"))))
    assert heard.end == Spoken("openai", MODEL, "length", 12, 1)


@pytest.mark.parametrize("end", [(), (DONE,)], ids=["plain end", "done"])
def test_an_answer_without_a_finish_is_incomplete_and_names_its_model(end: tuple[str, ...]) -> None:
    heard = hear(OpenAIDouble(Reply([ROLE, chunk("Sono"), usage(12, 1), *end])), model="")
    assert heard == ("Sono", Spoken("openai", MODEL, "incomplete", 12, 1), None)


def test_thoughts_are_not_shown_whatever_field_they_come_in() -> None:
    thinking = [
        chunk(reasoning_content="Chi sono?"),
        chunk(reasoning="Mah."),
        chunk("<thi"),
        chunk("nk>No"),
    ]
    heard = hear(OpenAIDouble(Reply([ROLE, *thinking, chunk("</think>"), chunk("\n\nCiao."), DONE])))
    assert heard.text == "Ciao."


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([ROLE, chunk(reasoning_content="Mah."), chunk(finish="length"), DONE], "it only thought"),
        ([ROLE, chunk(reasoning="Mah."), chunk(finish="length"), DONE], "it only thought"),
        ([ROLE, chunk("<think>Mah"), chunk(finish="length"), DONE], "it only thought"),
        ([ROLE, chunk(finish="stop"), usage(12, 0), DONE], "it ended 'stop'"),
        ([ROLE, chunk(" \n"), DONE], "it ended 'incomplete'"),
        ([DONE], "it ended 'incomplete'"),
    ],
)
def test_an_answer_without_a_word_is_an_error_that_says_why(events: Sequence[str], reason: str) -> None:
    server = OpenAIDouble(Reply(events))
    heard = hear(server)
    assert isinstance(heard.error, VoiceSilentError)
    assert heard.error.details["reason"] == reason
    assert len(server.chats) == 1


MAY_PASS = pytest.mark.parametrize(
    "reply",
    [
        Reply(status=429, body=failure("Too many requests")),
        Reply(status=500, body=failure("boom", "InternalServerError")),
        Reply(status=503, body=failure("Loading model", "unavailable_error")),
        HTML,
        Reply([IN_STREAM]),
        Reply(["{not json"]),
        Reply(then="vanish"),
        Reply(then="kill"),
    ],
    ids=["429", "500", "503", "html", "error event", "no json", "vanished", "killed"],
)


@MAY_PASS
def test_what_may_pass_is_tried_once_more_and_then_told(reply: Reply) -> None:
    server = OpenAIDouble(reply)
    heard = hear(server)
    assert isinstance(heard.error, VoiceUnavailableError)
    assert "\n" not in heard.error.text("it")
    assert len(heard.error.text("it")) < 600
    assert len(server.chats) == 2


@MAY_PASS
def test_the_second_try_may_succeed(reply: Reply) -> None:
    heard = hear(OpenAIDouble(reply, Reply(spoken("Eccomi."))))
    assert (heard.text, heard.error) == ("Eccomi.", None)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=400, body=failure("maximum context length is 2048")), VoiceRefusedError),
        (Reply(status=401, body=failure("Invalid API key")), VoiceRefusedError),
        (Reply(status=403, body="no"), VoiceRefusedError),
        (NO_PATH, VoiceRefusedError),
        (MISSING, ModelMissingError),
    ],
)
def test_what_will_not_pass_is_not_tried_again(reply: Reply, kind: type[CervellaError]) -> None:
    server = OpenAIDouble(reply)
    assert type(hear(server).error) is kind
    assert len(server.chats) == 1


def test_a_missing_model_is_named_with_the_setting_that_chooses_it() -> None:
    text = str(hear(OpenAIDouble(MISSING), model="gone").error)
    assert "'gone'" in text
    assert "CERVELLA_LLM__OPENAI_MODEL" in text


def test_a_refusal_says_what_the_server_said() -> None:
    refused = Reply(status=400, body=failure("maximum context length is 2048"))
    assert "maximum context length is 2048" in str(hear(OpenAIDouble(refused)).error)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        async def ask() -> None:
            voice = make_voice(url)
            with pytest.raises(VoiceUnavailableError, match=url):
                await anext(voice.stream(PROMPT))
            with pytest.raises(VoiceUnavailableError, match=url):
                await voice.check()
            await voice.aclose()

        run(ask())


@pytest.mark.parametrize(
    "reply",
    [
        Reply([ROLE, chunk("Sono "), IN_STREAM, DONE]),
        Reply([ROLE, chunk("Sono ")], then="kill"),
        Reply([ROLE, chunk("Sono "), "{not json"]),
        Reply([ROLE, chunk("Sono "), "null"]),
        Reply([ROLE, chunk("Sono "), '{"choices": 3}']),
        Reply([ROLE, chunk("Sono "), '{"choices": ["x"]}']),
    ],
    ids=["error event", "killed", "no json", "null", "wrong choices", "wrong choice"],
)
def test_a_voice_that_breaks_off_is_told_and_not_tried_again(reply: Reply) -> None:
    server = OpenAIDouble(reply)
    heard = hear(server)
    assert (heard.text, heard.end) == ("Sono ", None)
    assert isinstance(heard.error, VoiceBrokenError)
    assert len(server.chats) == 1


def test_an_error_event_is_told_in_the_servers_words() -> None:
    assert "CUDA out of memory" in str(hear(OpenAIDouble(Reply([ROLE, IN_STREAM]))).error)


@pytest.mark.parametrize(
    ("reply", "patience", "setting"),
    [
        (Reply(then="stall"), Patience(0.1, 5), "CERVELLA_LLM__FIRST_TOKEN_SECONDS"),
        (Reply([ROLE], then="hang"), Patience(5, 0.1), "CERVELLA_LLM__BETWEEN_TOKENS_SECONDS"),
        (Reply([ROLE, chunk("So")], then="hang"), Patience(5, 0.1), "CERVELLA_LLM__BETWEEN_TOKENS_SECONDS"),
    ],
    ids=["before the first sign", "after the role", "after a word"],
)
def test_silence_ends_at_the_limit_and_names_its_setting(
    reply: Reply, patience: Patience, setting: str
) -> None:
    server = OpenAIDouble(reply)
    error = hear(server, patience=patience).error
    assert isinstance(error, VoiceTimeoutError)
    assert error.details["setting"] == setting
    assert len(server.chats) == 1
    assert server.left.is_set()


def test_closing_the_stream_closes_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    server = OpenAIDouble(Reply([ROLE, chunk("Sono ")], then="hang"))

    async def leave_early(voice: OpenAICompatibleLLM) -> None:
        stream = voice.stream(PROMPT)
        assert await anext(stream) == Token("Sono ")
        await stream.aclose()
        async with asyncio.timeout(0.5):
            await server.left.wait()

    using(server, leave_early)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_caller_who_gives_up_closes_the_connection() -> None:
    server = OpenAIDouble(Reply([ROLE], then="hang"))

    async def give_up(voice: OpenAICompatibleLLM) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(voice.stream(PROMPT))
        async with asyncio.timeout(0.5):
            await server.left.wait()

    using(server, give_up)


def test_without_a_model_the_first_listed_one_speaks() -> None:
    server = OpenAIDouble()
    server.models = ["first", "second"]
    hear(server, model="")
    assert [request.path for request in server.requests] == ["/v1/models", "/v1/chat/completions"]
    assert server.chats[0].body["model"] == "first"


def test_without_a_model_a_server_that_loads_another_is_followed() -> None:
    server = OpenAIDouble()

    async def ask_twice(voice: OpenAICompatibleLLM) -> None:
        for name in ("first", "second"):
            server.models = [name]
            assert [event async for event in voice.stream(PROMPT)]
            assert voice.model == await voice.check() == name

    using(server, ask_twice)
    assert [request.body["model"] for request in server.chats] == ["first", "second"]


def test_a_server_without_a_model_cannot_speak() -> None:
    server = OpenAIDouble()
    server.models = []
    assert isinstance(hear(server, model="").error, ModelMissingError)


def test_a_list_that_fails_is_tried_once_more() -> None:
    server = OpenAIDouble()
    server.listing = Reply(status=503, body=failure("Loading model"))
    assert isinstance(hear(server, model="").error, VoiceUnavailableError)
    assert len(server.requests) == 2


def checking(server: OpenAIDouble, model: str = MODEL) -> str:
    """Return what `check` tells of a server; nothing may be asked of its model."""
    told: list[str] = []

    async def check() -> None:
        async with server:
            voice = make_voice(server.url, model)
            try:
                told.append(await voice.check())
            finally:
                await voice.aclose()

    run(check())
    assert not server.chats
    return told[0]


@pytest.mark.parametrize(("model", "name"), [("", "first"), ("second", "second")])
def test_check_names_the_model_that_would_speak(model: str, name: str) -> None:
    server = OpenAIDouble()
    server.models = ["first", "second"]
    assert checking(server, model) == name


@pytest.mark.parametrize(("models", "model"), [([], ""), ([], "x"), (["first"], "x")])
def test_check_tells_of_a_model_that_is_not_there(models: list[str], model: str) -> None:
    server = OpenAIDouble()
    server.models = models
    with pytest.raises(ModelMissingError):
        checking(server, model)


@pytest.mark.parametrize(
    ("listing", "kind"),
    [
        (Reply(status=401, body=failure("Invalid API key")), VoiceRefusedError),
        (NO_PATH, VoiceRefusedError),
        (HTML, VoiceUnavailableError),
        (Reply(body="<html>a router</html>", kind="text/html"), VoiceUnavailableError),
        (Reply(body='{"data": null}'), ModelMissingError),
        (Reply(body="[]"), VoiceUnavailableError),
        (Reply(then="vanish"), VoiceUnavailableError),
        (Reply(then="stall"), VoiceUnavailableError),
    ],
)
def test_check_tells_why_it_could_not_speak(
    listing: Reply, kind: type[CervellaError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_compatible, "_CHECK_SECONDS", 0.3)
    server = OpenAIDouble()
    server.listing = listing
    with pytest.raises(kind):
        checking(server)
