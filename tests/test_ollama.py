"""The voice on Ollama, through its own client, before a server that does all that a server can do wrong."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import stamina
from ollama import AsyncClient

from cervella_rag.chat.prompt import PromptWriter as RealWriter
from cervella_rag.domain import Composed, Message, Prompt, Spoken, Token, Window
from cervella_rag.errors import (
    CervellaError,
    ModelMissingError,
    PromptTooLongError,
    VoiceBrokenError,
    VoiceRefusedError,
    VoiceSilentError,
    VoiceTimeoutError,
    VoiceUnavailableError,
)
from cervella_rag.llm.ollama import OllamaLLM, OllamaOptions
from cervella_rag.llm.speech import Patience
from cervella_rag.persona.live import PersonaFile
from cervella_rag.protocols import PromptWriter
from cervella_rag.resources import resource
from cervella_rag.templates import Templates
from tests.ollama_double import (
    ZERO,
    OllamaDouble,
    Reply,
    Step,
    Stream,
    Whole,
    end,
    error_line,
    go_json,
    piece,
    refusal,
    saying,
)

LIMIT_SECONDS = 5
NOTICED_SECONDS = 0.5
PROMPT = Prompt("Quante ore tiene il forno?", "it", (), (), grounded=False)
WINDOW = Window(4096, 256)
PATIENT = Patience(LIMIT_SECONDS, LIMIT_SECONDS)

FIRST = piece("Sei ")
TOO_LONG = "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"
RUNNER = go_json(
    {"error": {"code": 400, "message": TOO_LONG, "type": "exceed_context_size_error"}}
).decode()
BUSY = refusal(503, "server busy, please try again.  maximum pending requests exceeded")
HTML = b"<html>\n<head><title>502 Bad Gateway</title></head>\n</html>"
CUT_LINE = b'{"model":"m","message":{"role":"assistant","con'
NO_MESSAGE = b'{"model":"m","created_at":"2026-08-21T10:00:00Z","done":false}\n'


@pytest.fixture(scope="module")
def certificates() -> ssl.SSLContext:
    """What every client reads anew, and none here needs."""
    return ssl.create_default_context()


@pytest.fixture(autouse=True)
def quick(certificates: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Retries are as many as in production and come at once."""
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: certificates)
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@dataclass
class PlainWriter:
    """Writes the question alone, or what it is given."""

    written: tuple[Message, ...] = ()

    def go_on(self, prompt: Prompt, said: str) -> str:
        """See `PromptWriter`."""
        return f"Go on after: {said[-20:]}"

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """See `PromptWriter`."""
        return Composed(self.messages(prompt, window))

    def messages(self, prompt: Prompt, window: Window) -> tuple[Message, ...]:
        """Return what is sent."""
        return self.written or (Message("user", prompt.question),)

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """See `PromptWriter`."""
        return ()


@asynccontextmanager
async def voice(
    url: str, patience: Patience = PATIENT, model: str = "m", writer: PromptWriter | None = None
) -> AsyncIterator[OllamaLLM]:
    options = OllamaOptions(url, model, "30m", 0.3)
    llm = OllamaLLM(options, writer or PlainWriter(), WINDOW, patience)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield llm
    finally:
        await llm.aclose()


@dataclass
class Heard:
    """What came of one question."""

    text: str = ""
    ends: list[Spoken] = field(default_factory=list)
    error: CervellaError | None = None


async def ask(llm: OllamaLLM) -> Heard:
    heard = Heard()
    try:
        async for event in llm.stream(PROMPT):
            if isinstance(event, Token):
                heard.text += event.text
            elif isinstance(event, Spoken):
                heard.ends.append(event)
    except CervellaError as error:
        heard.error = error
    return heard


def hear(double: OllamaDouble, patience: Patience = PATIENT) -> Heard:
    """Ask once."""

    async def once() -> Heard:
        async with double, voice(double.url, patience) as llm:
            return await ask(llm)

    return asyncio.run(once())


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_an_answer_comes_piece_by_piece_with_its_counts() -> None:
    heard = hear(OllamaDouble(saying("Sei", " ore", " [1].")))
    assert heard == Heard("Sei ore [1].", [Spoken("ollama", "m", "stop", 26, 3)])


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        pytest.param(
            (go_json({**FIRST}) + b"\n" + go_json(end()) + b"\n",), "Sei ", id="two lines in one chunk"
        ),
        pytest.param(
            (*(bytes([byte]) for byte in go_json(piece("perché")) + b"\n"), end()),
            "perché",
            id="byte by byte",
        ),
        pytest.param((piece("a<b> & c\u2028"), end()), "a<b> & c\u2028", id="Go's escapes"),
        pytest.param((FIRST, end(content="ore.")), "Sei ore.", id="a held tail in the last line"),
        pytest.param((FIRST, end(), piece("mai"), end("length")), "Sei ", id="lines after the last"),
        pytest.param((FIRST, end(), error_line("mai")), "Sei ", id="an error after the last line"),
        pytest.param((FIRST, end(), Step.CLOSE), "Sei ", id="killed after the last line"),
        pytest.param((FIRST, end(), Step.SILENCE), "Sei ", id="silence after the last line"),
        pytest.param((piece(thinking="Mah."), FIRST, end()), "Sei ", id="thinking first"),
        pytest.param(
            (*map(piece, ("<thi", "nk>Mah", ".</th", "ink>\n\nSei", " ")), end()),
            "Sei ",
            id="thinking inside the text",
        ),
    ],
)
def test_an_answer_is_whole_however_it_comes(steps: Any, text: str) -> None:
    heard = hear(OllamaDouble(Stream(steps)))
    assert (heard.text, heard.error) == (text, None)
    assert [spoken.finish_reason for spoken in heard.ends] == ["stop"]


@pytest.mark.parametrize(
    ("reply", "finish_reason"),
    [
        pytest.param(saying("Sei ", done_reason="length"), "length", id="length"),
        pytest.param(Stream((FIRST,)), "incomplete", id="ends without done"),
        pytest.param(Stream((FIRST, piece() | {"done": True})), "incomplete", id="done without a reason"),
        pytest.param(Stream((FIRST,), is_chunked=False), "incomplete", id="EOF behind an HTTP/1.0 proxy"),
    ],
)
def test_an_answer_that_was_cut_says_so(reply: Reply, finish_reason: str) -> None:
    heard = hear(OllamaDouble(reply))
    assert (heard.text, heard.error) == ("Sei ", None)
    assert [spoken.finish_reason for spoken in heard.ends] == [finish_reason]


FAILS_AND_MAY_WORK_AGAIN = [
    pytest.param(BUSY, "server busy, please try again. maximum pending", id="503"),
    pytest.param(
        refusal(500, "llama-server process has terminated: exit status 1: x"), "exit status 1", id="500"
    ),
    pytest.param(Whole(500, b"null"), "", id="500 null"),
    pytest.param(Whole(500, b'["x"]'), "", id="500 list"),
    pytest.param(Whole(502, HTML, "text/html"), "502 Bad Gateway", id="502 HTML"),
    pytest.param(
        Whole(200, b"no gzip at all", headers=("Content-Encoding: gzip",)),
        "",
        id="no gzip though it says so",
    ),
    pytest.param(Stream((Step.CLOSE,)), "disconnected", id="closed before any answer"),
    pytest.param(Stream((Step.RESET,)), "", id="reset before any answer"),
    pytest.param(Stream((CUT_LINE, Step.CLOSE)), "closed", id="killed inside the first line"),
    pytest.param(Stream((CUT_LINE, Step.RESET)), "", id="reset inside the first line"),
    pytest.param(Stream((CUT_LINE,), is_chunked=False), "", id="EOF inside the first line, HTTP/1.0"),
    pytest.param(Stream((CUT_LINE, b"\n", end())), "", id="cut first line"),
    pytest.param(Stream((b"\n", end())), "", id="blank first line"),
    pytest.param(Stream((b"data: x\n", end())), "", id="first line not JSON"),
    pytest.param(Stream((b"null\n", end())), "", id="first line no object"),
    pytest.param(Stream((NO_MESSAGE, end())), "", id="first line without message"),
    pytest.param(Stream((piece("\u0085"), end())), "", id="U+0085 in the first line"),
    pytest.param(Stream((error_line("x y"),)), "x y", id="error as the first line, before 0.12.6"),
]


@pytest.mark.parametrize(("reply", "reason"), FAILS_AND_MAY_WORK_AGAIN)
def test_what_fails_before_the_first_line_is_tried_twice(reply: Reply, reason: str) -> None:
    double = OllamaDouble(reply)
    heard = hear(double)
    assert isinstance(heard.error, VoiceUnavailableError)
    assert reason in str(heard.error.details["reason"])
    assert heard.error.details["reason"]
    assert heard.text == ""
    assert len(double.bodies()) == 2


def test_a_redirection_without_an_end_is_given_up() -> None:
    heard = hear(OllamaDouble(Whole(307, b"", headers=("Location: /api/chat",))))
    assert isinstance(heard.error, VoiceUnavailableError)


@pytest.mark.parametrize(("reply", "reason"), FAILS_AND_MAY_WORK_AGAIN)
def test_the_second_try_may_succeed(reply: Reply, reason: str) -> None:
    double = OllamaDouble(reply, saying("Sei ", "ore."))
    assert hear(double).text == "Sei ore."
    first, second = double.bodies()
    assert first == second


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(refusal(400, '"m" does not support chat'), '"m" does not support chat', id="400"),
        pytest.param(refusal(400, RUNNER), TOO_LONG, id="400, the runner's JSON as text"),
        pytest.param(Whole(403, b"", ""), "403", id="403 empty"),
        pytest.param(Whole(404, b"404 page not found", "text/plain"), "404 page not found", id="404 text"),
    ],
)
def test_what_is_refused_is_not_tried_again(reply: Reply, reason: str) -> None:
    double = OllamaDouble(reply)
    heard = hear(double)
    assert isinstance(heard.error, VoiceRefusedError)
    assert reason in str(heard.error.details["reason"])
    assert "{" not in str(heard.error)
    assert len(double.bodies()) == 1


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        pytest.param(
            (error_line("an error was encountered while running the model: unexpected EOF"),),
            "while running the model: unexpected EOF",
            id="error line",
        ),
        pytest.param((error_line(RUNNER),), TOO_LONG, id="error line that is JSON"),
        pytest.param((error_line("500"),), "", id="error line that is a number"),
        pytest.param((error_line({"message": "x"}),), "", id="error line that is an object"),
        pytest.param((Step.CLOSE,), "closed", id="killed between lines"),
        pytest.param((CUT_LINE, Step.CLOSE), "closed", id="killed inside a line"),
        pytest.param((Step.RESET,), "", id="reset between lines"),
        pytest.param((CUT_LINE, Step.RESET), "", id="reset inside a line"),
        pytest.param((b"\n", end()), "", id="blank line"),
        pytest.param((b"data: x\n", end()), "", id="not JSON"),
        pytest.param((CUT_LINE, b"\n", end()), "", id="cut line"),
        pytest.param((NO_MESSAGE, end()), "", id="no message"),
        pytest.param((piece("a\u0085b"), end()), "", id="U+0085"),
    ],
)
@pytest.mark.parametrize("first", [FIRST, piece(thinking="Mah.")], ids=["text", "thinking"])
def test_what_fails_after_the_first_line_is_not_tried_again(first: Any, steps: Any, reason: str) -> None:
    double = OllamaDouble(Stream((first, *steps)))
    heard = hear(double)
    assert isinstance(heard.error, VoiceBrokenError)
    assert reason in str(heard.error.details["reason"])
    assert heard.error.details["reason"]
    assert heard.text == first["message"]["content"]
    assert len(double.bodies()) == 1


def test_the_end_inside_a_line_behind_an_old_proxy_is_a_break() -> None:
    heard = hear(OllamaDouble(Stream((FIRST, CUT_LINE), is_chunked=False)))
    assert isinstance(heard.error, VoiceBrokenError)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        pytest.param((), "it ended 'incomplete'", id="empty body"),
        pytest.param((ZERO + b"\n",), "it ended 'incomplete'", id="zero object"),
        pytest.param((end(),), "it ended 'stop'", id="the last line alone"),
        pytest.param((piece(" \n"), end()), "it ended 'stop'", id="blanks alone"),
        pytest.param((piece(thinking="Mah."), end("length")), "it only thought", id="thinking alone"),
        pytest.param(
            (piece("<think>Mah."), end("length")), "it only thought", id="thinking inside the text"
        ),
    ],
)
def test_an_end_without_a_word_is_an_error(steps: Any, reason: str) -> None:
    double = OllamaDouble(Stream(steps))
    heard = hear(double)
    assert isinstance(heard.error, VoiceSilentError)
    assert reason in str(heard.error.details["reason"])
    assert len(double.bodies()) == 1


@pytest.mark.parametrize(
    ("steps", "text", "patience", "setting"),
    [
        pytest.param((), "", Patience(0.1, 9), "FIRST_TOKEN_SECONDS", id="before the first line"),
        pytest.param((FIRST,), "Sei ", Patience(9, 0.1), "BETWEEN_TOKENS_SECONDS", id="after a line"),
        pytest.param(
            (FIRST, CUT_LINE), "Sei ", Patience(9, 0.1), "BETWEEN_TOKENS_SECONDS", id="inside a line"
        ),
        pytest.param(
            (piece(thinking="Mah."),), "", Patience(9, 0.1), "BETWEEN_TOKENS_SECONDS", id="while it thinks"
        ),
    ],
)
def test_silence_is_ended_and_frees_the_model(
    steps: Any, text: str, patience: Patience, setting: str
) -> None:
    double = OllamaDouble(Stream((*steps, Step.SILENCE)))

    async def run() -> Heard:
        async with double, voice(double.url, patience) as llm:
            heard = await ask(llm)
            async with asyncio.timeout(NOTICED_SECONDS):
                await double.has_stopped.wait()
            return heard

    heard = asyncio.run(run())
    assert isinstance(heard.error, VoiceTimeoutError)
    assert heard.error.details["setting"] == f"CERVELLA_LLM__{setting}"
    assert heard.text == text
    assert len(double.bodies()) == 1


def test_nobody_listens() -> None:
    async def run() -> Heard:
        async with voice(f"http://127.0.0.1:{free_port()}") as llm:
            return await ask(llm)

    assert isinstance(asyncio.run(run()).error, VoiceUnavailableError)


# The only way to be silent on loopback is a full queue, which other kernels answer with a refusal.
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue is not silent")
def test_a_machine_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cervella_rag.llm.ollama._CONNECT_SECONDS", 0.1)

    async def run() -> Heard:
        with ExitStack() as stack:
            full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            async with voice("http://127.0.0.1:{1}".format(*full.getsockname())) as llm:
                return await ask(llm)

    heard = asyncio.run(run())
    assert isinstance(heard.error, VoiceUnavailableError)
    assert heard.error.details["reason"] == "ConnectTimeout"


def test_a_server_that_went_away_between_two_questions_is_unavailable() -> None:
    async def run() -> Heard:
        async with OllamaDouble() as double, voice(double.url) as llm:
            assert (await ask(llm)).text == "Ciao."
            await double.stop()
            return await ask(llm)

    assert isinstance(asyncio.run(run()).error, VoiceUnavailableError)


def test_a_server_that_is_killed_while_it_loads_is_unavailable() -> None:
    async def run() -> Heard:
        async with OllamaDouble(Stream((Step.SILENCE,))) as double, voice(double.url) as llm:
            asked = asyncio.create_task(ask(llm))
            await double.is_generating.wait()
            await double.stop()
            return await asked

    assert isinstance(asyncio.run(run()).error, VoiceUnavailableError)


def test_a_model_that_is_not_there_comes_with_the_command_that_gets_it() -> None:
    double = OllamaDouble()
    double.models = {"other:latest": ("completion",)}
    heard = hear(double)
    assert isinstance(heard.error, ModelMissingError)
    assert "ollama pull m" in str(heard.error)
    assert double.bodies() == []


@pytest.mark.parametrize(
    "text",
    ["model 'm' not found", 'model "m" not found, try pulling it first'],
    ids=["gone", "weights gone"],
)
def test_a_model_that_goes_away_is_missing(text: str) -> None:
    double = OllamaDouble(refusal(404, text))
    heard = hear(double)
    assert isinstance(heard.error, ModelMissingError)
    assert "ollama pull m" in str(heard.error)
    assert len(double.bodies()) == 1


@pytest.mark.parametrize(
    ("show", "error", "tries"),
    [
        pytest.param(refusal(500, "x"), VoiceUnavailableError, 2, id="500"),
        pytest.param(Whole(500, b"null"), VoiceUnavailableError, 2, id="500 null"),
        pytest.param(Whole(502, HTML, "text/html"), VoiceUnavailableError, 2, id="502 HTML"),
        pytest.param(Whole(200, b"", "text/plain"), VoiceUnavailableError, 2, id="empty"),
        pytest.param(Whole(200, b"{}"), VoiceUnavailableError, 2, id="without model_info"),
        pytest.param(Stream((Step.CLOSE,)), VoiceUnavailableError, 2, id="closed"),
        pytest.param(Stream((Step.RESET,)), VoiceUnavailableError, 2, id="reset"),
        pytest.param(Stream((b"{", Step.CLOSE)), VoiceUnavailableError, 2, id="killed inside"),
        pytest.param(Whole(403, b"", ""), VoiceRefusedError, 1, id="403 empty"),
        pytest.param(refusal(400, "invalid model name"), VoiceRefusedError, 1, id="400"),
        pytest.param(Stream((Step.SILENCE,)), VoiceTimeoutError, 1, id="silence"),
    ],
)
def test_a_server_that_cannot_say_what_the_model_can(
    show: Reply, error: type[CervellaError], tries: int
) -> None:
    double = OllamaDouble(show=show)
    assert isinstance(hear(double, Patience(0.3, 0.3)).error, error)
    assert len(double.bodies("/api/show")) == tries
    assert double.bodies() == []


def test_every_question_is_asked_with_the_same_options() -> None:
    double = OllamaDouble()

    async def run() -> None:
        async with double, voice(double.url) as llm:
            for _ in range(2):
                await ask(llm)
            llm.prepare()
            await llm.check()

    asyncio.run(run())
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": "Quante ore tiene il forno?"}],
        "stream": True,
        "tools": [],
        "options": {"num_ctx": 4096, "num_predict": 256, "temperature": 0.3},
        "keep_alive": "30m",
    }
    assert double.bodies() == [asked, asked]
    assert [request.path for request in double.requests] == [
        "/api/show", "/api/chat", "/api/chat", "/api/tags",
    ]  # fmt: skip


def test_a_model_that_can_think_is_told_not_to() -> None:
    double = OllamaDouble(can=("completion", "thinking"))
    assert hear(double).text == "Ciao."
    assert [body["think"] for body in double.bodies()] == [False]


def test_a_profile_lets_a_model_think_and_names_what_ends_its_answers() -> None:
    double = OllamaDouble(
        Stream((piece(thinking="Mah."), piece("<think>Sì."), piece("</think>Sei."), end())),
        can=("completion", "thinking"),
    )

    async def run() -> Heard:
        async with double:
            options = OllamaOptions(double.url, "m", "30m", 0.3, stop=("[INST]",), thinks=True)
            llm = OllamaLLM(options, PlainWriter(), WINDOW, PATIENT)
            try:
                return await ask(llm)
            finally:
                await llm.aclose()

    assert asyncio.run(run()).text == "Sei."
    [body] = double.bodies()
    assert body["think"] is True
    assert body["options"]["stop"] == ["[INST]"]


def test_a_model_that_thinks_although_told_not_to_shows_only_its_answer() -> None:
    reply = Stream((piece(thinking="Mah."), piece(thinking="Sì."), piece("Sei."), end()))
    assert hear(OllamaDouble(reply, can=("completion", "thinking"))).text == "Sei."


def test_an_old_server_that_does_not_tell_what_a_model_can_is_not_told_to_think() -> None:
    double = OllamaDouble(show=Whole(200, b'{"model_info":{}}'))
    assert hear(double).text == "Ciao."
    assert "think" not in double.bodies()[0]


def test_messages_are_sent_in_order_with_their_roles() -> None:
    double = OllamaDouble()
    written = (
        Message("system", "Sei <Cervella> & co."),
        Message("user", "Ciao"),
        Message("assistant", "Sì"),
    )

    async def run() -> None:
        async with double, voice(double.url, writer=PlainWriter(written)) as llm:
            await ask(llm)

    asyncio.run(run())
    assert double.bodies()[0]["messages"] == [
        {"role": message.role, "content": message.content} for message in written
    ]


ENDLESS = Stream(itertools.repeat(piece("ancora ")))
PAUSES = Stream((FIRST, Step.SILENCE))


@pytest.mark.parametrize("reply", [ENDLESS, PAUSES], ids=["while it speaks", "while it is silent"])
def test_closing_the_stream_stops_the_model(reply: Reply) -> None:
    async def run() -> None:
        async with OllamaDouble(reply, saying("Sì.")) as double, voice(double.url) as llm:
            async with aclosing(llm.stream(PROMPT)) as events:
                await anext(events)
            async with asyncio.timeout(NOTICED_SECONDS):
                await double.has_stopped.wait()
            assert (await ask(llm)).text == "Sì."

    asyncio.run(run())


@pytest.mark.parametrize(
    "reply",
    [ENDLESS, PAUSES, Stream((Step.SILENCE,))],
    ids=["while it speaks", "while it is silent", "before its first line"],
)
def test_cancelling_the_task_stops_the_model(reply: Reply) -> None:
    async def run() -> None:
        async with OllamaDouble(reply, saying("Sì.")) as double, voice(double.url) as llm:
            asked = asyncio.create_task(ask(llm))
            await double.is_generating.wait()
            asked.cancel()
            async with asyncio.timeout(NOTICED_SECONDS):
                await double.has_stopped.wait()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert (await ask(llm)).text == "Sì."

    asyncio.run(run())


def test_cancelling_after_a_word_stops_the_model() -> None:
    async def run() -> None:
        async with OllamaDouble(PAUSES) as double, voice(double.url) as llm:
            has_spoken = asyncio.Event()

            async def listen() -> None:
                async for _ in llm.stream(PROMPT):
                    has_spoken.set()

            listening = asyncio.create_task(listen())
            await has_spoken.wait()
            listening.cancel()
            async with asyncio.timeout(NOTICED_SECONDS):
                await double.has_stopped.wait()
            with pytest.raises(asyncio.CancelledError):
                await listening

    asyncio.run(run())


def test_several_questions_at_once_are_each_answered() -> None:
    async def run() -> None:
        async with OllamaDouble(saying("Sei ", "ore.")) as double, voice(double.url) as llm:
            heard = await asyncio.gather(*(ask(llm) for _ in range(20)))
            assert {one.text for one in heard} == {"Sei ore."}

    asyncio.run(run())


def check(double: OllamaDouble, model: str = "m") -> str:
    async def run() -> str:
        async with double, voice(double.url, model=model) as llm:
            return await llm.check()

    return asyncio.run(run())


@pytest.mark.parametrize("model", ["m", "m:latest"])
def test_a_model_that_is_there_is_ready_and_is_not_loaded(model: str) -> None:
    double = OllamaDouble()
    assert check(double, model) == model
    assert [request.path for request in double.requests] == ["/api/tags"]


@pytest.mark.parametrize("models", [{}, {"m:4b": ()}, {"mm:latest": ()}])
def test_health_names_the_model_that_is_missing(models: dict[str, Sequence[str]]) -> None:
    double = OllamaDouble()
    double.models = models
    with pytest.raises(ModelMissingError, match=r"ollama pull m$"):
        check(double)


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        pytest.param(refusal(500, "x"), VoiceUnavailableError, id="500"),
        pytest.param(Whole(500, b'["x"]'), VoiceUnavailableError, id="500 list"),
        pytest.param(Whole(502, HTML, "text/html"), VoiceUnavailableError, id="502 HTML"),
        pytest.param(Whole(200, b""), VoiceUnavailableError, id="empty"),
        pytest.param(Whole(200, b"[]"), VoiceUnavailableError, id="a list"),
        pytest.param(Whole(200, HTML, "text/html"), VoiceUnavailableError, id="a page"),
        pytest.param(
            Whole(302, b"", headers=("Location: /api/tags",)), VoiceUnavailableError, id="redirected"
        ),
        pytest.param(Stream((Step.CLOSE,)), VoiceUnavailableError, id="closed"),
        pytest.param(Stream((Step.RESET,)), VoiceUnavailableError, id="reset"),
        pytest.param(Stream((b'{"mod', Step.CLOSE)), VoiceUnavailableError, id="killed inside"),
        pytest.param(Stream((Step.SILENCE,)), VoiceUnavailableError, id="silence"),
        pytest.param(Whole(403, b"", ""), VoiceRefusedError, id="403 empty"),
        pytest.param(Whole(404, b"404 page not found", "text/plain"), VoiceRefusedError, id="404 text"),
    ],
)
def test_health_tells_what_a_server_does_wrong(
    tags: Reply, error: type[CervellaError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cervella_rag.llm.ollama._CHECK_SECONDS", 0.3)
    with pytest.raises(error):
        check(OllamaDouble(tags=tags))


def test_health_tells_that_nobody_listens() -> None:
    async def run() -> str:
        async with voice(f"http://127.0.0.1:{free_port()}") as llm:
            return await llm.check()

    with pytest.raises(VoiceUnavailableError):
        asyncio.run(run())


def test_a_prompt_that_does_not_fit_is_not_sent() -> None:
    templates = Templates(resource("prompts"))
    persona = PersonaFile(resource("prompts") / "personas" / "cervella.yaml", "Rafa")
    writer = RealWriter(persona, templates, memory_tokens=400)

    async def run() -> None:
        async with OllamaDouble() as double, voice(double.url, writer=writer) as llm:
            with pytest.raises(PromptTooLongError):
                await anext(llm.stream(replace(PROMPT, question="parola " * 5000)))
            assert double.requests == []
            assert (await ask(llm)).text == "Ciao."

    asyncio.run(run())


def test_the_double_answers_like_ollama_where_the_voice_does_not_ask() -> None:
    async def run() -> list[tuple[int, str, str]]:
        double = OllamaDouble(can=("completion", "thinking"))
        async with asyncio.timeout(LIMIT_SECONDS), double, httpx.AsyncClient(base_url=double.url) as client:
            answers = [
                await client.get("/"),
                await client.get("/api/version"),
                await client.get("/api/nothing"),
                await client.get("/api/chat"),
                await client.post("/api/chat"),
                await client.post(
                    "/api/chat", json={"model": "m", "options": {"num_ctx": "1"}, "messages": [{}]}
                ),
                await client.post("/api/chat", json={"model": "m", "keep_alive": "5", "messages": []}),
                await client.post("/api/show", json={"model": "x"}),
            ]
            return [(answer.status_code, answer.headers["content-type"], answer.text) for answer in answers]

    text, json = "text/plain", "application/json; charset=utf-8"
    assert asyncio.run(run()) == [
        (200, "text/plain; charset=utf-8", "Ollama is running"),
        (200, json, '{"version":"0.33.0"}'),
        (404, text, "404 page not found"),
        (405, text, "405 method not allowed"),
        (400, json, '{"error":"missing request body"}'),
        (500, json, '{"error":"option \\"num_ctx\\" must be of type integer"}'),
        (400, json, '{"error":"time: missing unit in duration \\"5\\""}'),
        (404, json, '{"error":"model \'x:latest\' not found"}'),
    ]


def test_the_double_answers_in_one_piece_too() -> None:
    async def run() -> None:
        double = OllamaDouble(saying("Sei ", "ore."), Stream(()), can=("completion", "thinking"))
        async with asyncio.timeout(LIMIT_SECONDS), double:
            client = AsyncClient(double.url, trust_env=False)
            loaded = await client.chat("m", [])
            assert (loaded.message.content, loaded.done, loaded.done_reason) == ("", True, "load")
            said = await client.chat("m", [{"role": "user", "content": "Ciao"}])
            assert (said.message.content, said.message.thinking) == ("Sei ore.", "Vediamo.")
            assert (said.done_reason, said.eval_count) == ("stop", 3)
            nothing = await client.chat("m", [{"role": "user", "content": "Ciao"}], think=False)
            assert (nothing.message.content, nothing.done) == ("", False)
            await client.close()  # type: ignore[no-untyped-call]  # the client leaves it so

    asyncio.run(run())
