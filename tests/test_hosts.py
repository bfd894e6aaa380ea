"""Several servers of one voice: who is asked, who is set aside, and that nothing shown is taken back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import stamina

from cervella_rag import bootstrap
from cervella_rag.chat.hosts import Hosts, Rest
from cervella_rag.doctor import examine
from cervella_rag.domain import Message, Prompt, Spoken, Token, VoiceEvent, Window
from cervella_rag.errors import (
    CervellaError,
    InvalidSettingError,
    ModelMissingError,
    PromptTooLongError,
    VoiceBrokenError,
    VoiceUnavailableError,
)
from cervella_rag.llm.ollama import OllamaLLM, OllamaOptions
from cervella_rag.llm.openai_compatible import OpenAICompatibleLLM, OpenAIOptions
from cervella_rag.llm.speech import Patience
from cervella_rag.protocols import LLM

from .ollama_double import OllamaDouble, Reply, Step, Stream, piece, refusal, saying
from .openai_double import ROLE, OpenAIDouble, chunk, failure, spoken
from .openai_double import Reply as OpenAIReply
from .test_degraded import ask, client, indexed
from .test_ollama import PlainWriter

WINDOW = Window(4096, 256)
HOLDING = Stream((piece("Sei "), Step.SILENCE))
CUT = Stream((piece("Sei "), Step.RESET))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Certificates that nobody needs are read once, and second tries come at once."""
    certificates = ssl.create_default_context()
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: certificates)
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def ollama(url: str, first_seconds: float = 5) -> LLM:
    patience = Patience(first_seconds, 5, attempts=1)
    return OllamaLLM(OllamaOptions(url, "m", "30m", 0.3), PlainWriter(), WINDOW, patience)


def openai(url: str) -> LLM:
    options = OpenAIOptions(url, "", "none", 0.3, {})
    return OpenAICompatibleLLM(options, PlainWriter(), WINDOW, Patience(0.3, 5, attempts=1))


@asynccontextmanager
async def on(*voices: LLM, clock: Clock | None = None) -> AsyncGenerator[Hosts]:
    """Yield one voice on several hosts, named 0, 1, ..."""
    named = ((str(number), voice) for number, voice in enumerate(voices))
    hosts = Hosts(named, Rest(15, 60), clock or Clock())
    try:
        async with asyncio.timeout(20):
            yield hosts
    finally:
        await hosts.aclose()


def question(text: str = "Quante ore?", *before: str) -> Prompt:
    said = (Message(("user", "assistant")[place % 2], text) for place, text in enumerate(before))
    return Prompt(text, "it", (), (), grounded=False, history=tuple(said))


async def said(hosts: Hosts, prompt: Prompt | None = None) -> tuple[str, str]:
    """Return what was said and by which host."""
    text, host = "", ""
    async with aclosing(hosts.stream(prompt or question())) as events:
        async for event in events:
            match event:
                case Token():
                    text += event.text
                case Spoken():
                    host = event.host
    return text, host


async def begun(hosts: Hosts, stack: AsyncExitStack, prompt: Prompt | None = None) -> None:
    """Ask, wait for the first word, and leave the stream open."""
    stream: AsyncGenerator[VoiceEvent] = hosts.stream(prompt or question())
    await stack.enter_async_context(aclosing(stream))
    assert isinstance(await anext(stream), Token)


def asked(*doubles: OllamaDouble) -> list[int]:
    return [len(double.bodies()) for double in doubles]


FAULTS: dict[str, Reply | None] = {
    "refused": None,
    "busy": refusal(503, "server busy, please try again.  maximum pending requests exceeded"),
    "failed": refusal(500, "llama runner process has terminated: exit status 2"),
    "missing": refusal(404, "model 'm' not found"),
    "unauthorised": refusal(401, "unauthorized"),
    "silent": Stream((Step.SILENCE,)),
    "reset": Stream((Step.RESET,)),
    "only thoughts": Stream((piece(thinking="Mah."), Step.CLOSE)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_host_that_cannot_begin_is_set_aside_and_the_next_one_speaks(fault: str) -> None:
    async def talk() -> None:
        broken = FAULTS[fault] or saying("mai")
        async with OllamaDouble(broken) as first, OllamaDouble(saying("Sei", " ore.")) as second:
            if FAULTS[fault] is None:
                await first.stop()
            async with on(ollama(first.url, first_seconds=0.3), ollama(second.url)) as hosts:
                assert await said(hosts) == ("Sei ore.", "1")
                before = asked(first)
                assert await said(hosts) == ("Sei ore.", "1")
                assert asked(first) == before  # it rests
                states = hosts.loads()
                assert [(state.answered, state.failed) for state in states] == [(0, 1), (2, 0)]
                assert [state.resting_seconds for state in states] == [15, 0]

    asyncio.run(talk())


@pytest.mark.parametrize(
    "fault",
    [
        OpenAIReply(status=503, body=failure("overloaded")),
        OpenAIReply(status=404, body=failure("The model `qwen3-4b` does not exist.")),
        OpenAIReply(then="vanish"),
        OpenAIReply(then="stall"),
        OpenAIReply((ROLE,), then="kill"),
    ],
    ids=["503", "missing", "vanish", "stall", "role then kill"],
)
def test_so_is_one_of_openai_compatible_servers(fault: OpenAIReply) -> None:
    async def talk() -> None:
        well = OpenAIReply(spoken("Sei ore."))
        async with OpenAIDouble(fault) as first, OpenAIDouble(well) as second:
            async with on(openai(first.url), openai(second.url)) as hosts:
                assert await said(hosts) == ("Sei ore.", "1")
                assert await said(hosts) == ("Sei ore.", "1")
            assert (len(first.chats), len(second.chats)) == (1, 2)

    asyncio.run(talk())


def test_after_a_word_nobody_else_is_asked() -> None:
    async def talk() -> None:
        async with (
            OllamaDouble(CUT) as first,
            OllamaDouble(saying("mai")) as second,
            on(ollama(first.url), ollama(second.url)) as hosts,
        ):
            with pytest.raises(VoiceBrokenError):
                await said(hosts)
            assert asked(first, second) == [1, 0]
            assert await said(hosts) == ("mai", "1")  # the next question goes elsewhere

    asyncio.run(talk())


def test_the_same_of_an_openai_compatible_server_killed_in_the_middle() -> None:
    async def talk() -> None:
        killed = OpenAIReply((ROLE, chunk("Sei ")), then="kill")
        async with OpenAIDouble(killed) as first, OpenAIDouble() as second:
            async with on(openai(first.url), openai(second.url)) as hosts:
                with pytest.raises(VoiceBrokenError):
                    await said(hosts)
            assert (len(first.chats), len(second.chats)) == (1, 0)

    asyncio.run(talk())


def test_the_rest_grows_to_a_bound_and_is_forgotten_with_an_answer() -> None:
    async def talk() -> None:
        clock, busy = Clock(), refusal(503, "server busy")
        script = (busy, busy, busy, busy, saying("Ciao"), busy)
        async with (
            OllamaDouble(*script) as first,
            OllamaDouble(saying("Sei")) as second,
            on(ollama(first.url), ollama(second.url), clock=clock) as hosts,
        ):
            rests = []
            for _ in script:
                text, _ = await said(hosts)
                rests.append((text, hosts.loads()[0].resting_seconds))
                clock.now += hosts.loads()[0].resting_seconds
            grown = [("Sei", 15), ("Sei", 30), ("Sei", 60), ("Sei", 60)]
            assert rests == [*grown, ("Ciao", 0), ("Sei", 15)]

    asyncio.run(talk())


def test_what_fails_together_is_one_failure() -> None:
    async def talk() -> None:
        async with (
            OllamaDouble(Stream((Step.SILENCE,))) as first,
            OllamaDouble(saying("Sei")) as second,
            on(ollama(first.url, first_seconds=0.3), ollama(second.url)) as hosts,
        ):
            await asyncio.gather(*(said(hosts) for _ in range(6)))
            state = hosts.loads()[0]
            assert state.failed > 1
            assert state.resting_seconds == 15

    asyncio.run(talk())


def test_one_that_has_rested_is_tried_by_one_question_at_a_time() -> None:
    async def talk() -> None:
        clock = Clock()
        script = (refusal(503, "server busy"), Stream((Step.SILENCE,)))
        async with (
            OllamaDouble(*script) as first,
            OllamaDouble(saying("Sei"), HOLDING) as second,
            on(ollama(first.url), ollama(second.url), clock=clock) as hosts,
        ):
            await said(hosts)
            clock.now += 15
            trying = asyncio.create_task(said(hosts))
            await asyncio.wait_for(first.is_generating.wait(), 5)
            async with AsyncExitStack() as stack:
                for _ in range(3):
                    await begun(hosts, stack)
                assert [load.running for load in hosts.loads()] == [1, 3]
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)
            assert [load.running for load in hosts.loads()] == [0, 0]

    asyncio.run(talk())


def test_load_goes_to_the_least_busy() -> None:
    async def talk() -> None:
        async with AsyncExitStack() as stack:
            doubles = [await stack.enter_async_context(OllamaDouble(HOLDING)) for _ in range(3)]
            hosts = await stack.enter_async_context(on(*(ollama(double.url) for double in doubles)))
            for _ in range(7):
                await begun(hosts, stack)
            assert asked(*doubles) == [3, 2, 2]
            assert [load.running for load in hosts.loads()] == [3, 2, 2]

    asyncio.run(talk())


def test_a_conversation_stays_where_its_prompt_is_warm() -> None:
    async def talk() -> None:
        async with (
            OllamaDouble(HOLDING, saying("Sei")) as first,
            OllamaDouble(saying("Sei")) as second,
            on(ollama(first.url), ollama(second.url)) as hosts,
        ):
            async with AsyncExitStack() as stack:
                await begun(hosts, stack)
                assert (await said(hosts, question("Uno?")))[1] == "1"  # the first one was busy
            assert (await said(hosts, question("Due?", "Uno?", "Sei")))[1] == "1"
            assert (await said(hosts, question("Tre?", "Uno?", "Sei", "Due?", "Sei")))[1] == "1"
            assert (await said(hosts, question("Altro?")))[1] == "0"
            async with AsyncExitStack() as stack:  # and is not waited for while another host is free
                second._scripts["/api/chat"].append(HOLDING)
                second._scripts["/api/chat"].popleft()
                await begun(hosts, stack, question("Quattro?", "Tre?", "Sei"))
                assert (await said(hosts, question("Cinque?", "Tre?", "Sei")))[1] == "0"

    asyncio.run(talk())


def test_where_all_rest_one_is_asked_all_the_same() -> None:
    async def talk() -> None:
        clock, missing = Clock(), refusal(404, "model 'm' not found")
        first = OllamaDouble(refusal(503, "server busy"))
        second = OllamaDouble(missing, saying("Sei"))
        async with first, second, on(ollama(first.url), ollama(second.url), clock=clock) as hosts:
            with pytest.raises(ModelMissingError):
                await said(hosts)
            clock.now += 1
            with pytest.raises(VoiceUnavailableError):  # the first has nearly rested; one is enough
                await said(hosts)
            assert asked(first, second) == [2, 1]
            clock.now += 15
            assert await said(hosts) == ("Sei", "1")

    asyncio.run(talk())


def test_a_question_too_long_is_no_fault_of_a_host() -> None:
    async def talk() -> None:
        class Narrow(PlainWriter):
            def compose(self, prompt: Prompt, window: Window) -> Any:
                raise PromptTooLongError(needed=9000, window=4096)

        voice = OllamaLLM(
            OllamaOptions("http://127.0.0.1:1", "m", "1m", 0), Narrow(), WINDOW, Patience(1, 1)
        )
        async with on(voice, voice) as hosts:
            with pytest.raises(PromptTooLongError):
                await said(hosts)
            assert [(load.failed, load.running) for load in hosts.loads()] == [(0, 0), (0, 0)]

    asyncio.run(talk())


def test_one_host_that_is_well_is_enough_to_be_ready() -> None:
    async def talk() -> None:
        async with OllamaDouble() as first, OllamaDouble() as second:
            second.models = {}
            async with on(ollama(first.url), ollama(second.url)) as hosts:
                assert await hosts.check() == "m"
                states = await hosts.states("en")
                assert [(state.host, state.ready) for state in states] == [("0", True), ("1", False)]
                assert "ollama pull m" in states[1].detail
                first.models = {}
                with pytest.raises(ModelMissingError):
                    await hosts.check()

    asyncio.run(talk())


def serve(monkeypatch: pytest.MonkeyPatch, january: Path, **settings: str) -> None:
    common = {"MEMORY__ROOTS": str(january), "EMBEDDER__NAME": "none", "LLM__OLLAMA_MODEL": "m"}
    for name, value in {**common, **settings}.items():
        monkeypatch.setenv(f"CERVELLA_{name}", value)


def measures(text: str) -> dict[str, float]:
    """Return the measures of the hosts."""
    rows = (line.rpartition(" ") for line in text.splitlines() if line.startswith("cervella_host_"))
    return {name: float(value) for name, _, value in rows}


def test_a_host_killed_under_a_served_conversation(monkeypatch: pytest.MonkeyPatch, january: Path) -> None:
    async def talk() -> None:
        answer = saying("Sei", " ore", " [1].")
        async with OllamaDouble(answer) as first, OllamaDouble(answer) as second:
            serve(monkeypatch, january, LLM__OLLAMA_URL=f"{first.url}, {second.url}/")
            async with client(indexed()) as door:
                told = await ask(door)
                assert (told["mode"], told["provenance"]["host"]) == ("ollama", first.url)
                await first.stop()
                told = await ask(door, told["conversation_id"])
                assert (told["mode"], told["degraded"]) == ("ollama", [])
                assert (told["provenance"]["host"], told["provenance"]["passed_over"]) == (second.url, [])
                ready = (await door.get("/health/ready")).json()
                assert ready["status"] == "ready"
                hosts = {host["host"]: host for host in ready["voices"][0]["hosts"]}
                assert {name: host["ready"] for name, host in hosts.items()} == {
                    first.url: False,
                    second.url: True,
                }
                assert 0 < hosts[first.url]["resting_seconds"] <= 15
                shown = measures((await door.get("/metrics")).text)
                label = f'{{host="{first.url}",mode="ollama"}}'
                assert shown[f"cervella_host_answers_total{label}"] == 1
                assert shown[f"cervella_host_failures_total{label}"] == 1
                assert shown[f"cervella_host_resting_seconds{label}"] > 0
                await second.stop()
                told = await ask(door, told["conversation_id"])
                assert (told["mode"], told["degraded"]) == ("memory_only", ["voice"])

    asyncio.run(talk())


def test_doctor_names_each_host_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, january: Path
) -> None:
    async def talk() -> None:
        async with OllamaDouble() as first, OllamaDouble() as second:
            guarded = second.url.replace("//", "//rafa:segreta@")
            serve(monkeypatch, january, LLM__OLLAMA_URL=f"{first.url},{guarded},http://127.0.0.1:1")
            checks = {name: (well, detail) for name, well, detail in await asyncio.to_thread(examine)}
            well, detail = checks["voice"]
            assert well
            assert f"{first.url}: m" in detail
            assert f"{second.url}: m" in detail
            assert "http://127.0.0.1:1: " in detail
            assert "segreta" not in detail

    asyncio.run(talk())


def test_several_openai_compatible_servers_are_one_setting(
    monkeypatch: pytest.MonkeyPatch, january: Path
) -> None:
    async def talk() -> None:
        well = OpenAIReply(spoken("Sei ore [1]."))
        async with OpenAIDouble(OpenAIReply(then="vanish")) as first, OpenAIDouble(well) as second:
            url = f"{first.url},{second.url}"
            serve(monkeypatch, january, LLM__OPENAI_URL=url, LLM__VOICE="openai")
            app = bootstrap.make_app(indexed())
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as door:
                told = await ask(door)
                assert (told["mode"], told["provenance"]["host"]) == ("openai", second.url)
            await app.state.assistant.aclose()

    asyncio.run(talk())


def test_addresses_are_checked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_LLM__OLLAMA_URL", "http://a:1/, http://b:2,http://a:1")
    assert bootstrap.load_settings().llm.ollama_urls == ("http://a:1", "http://b:2")
    assert bootstrap.load_settings().llm.openai_urls == ()
    for wrong in ("http://a:1,b:2", ",", "http://a:1;http://b:2"):
        monkeypatch.setenv("CERVELLA_LLM__OLLAMA_URL", wrong)
        with pytest.raises(InvalidSettingError, match="OLLAMA_URL"):
            bootstrap.load_settings()


def test_errors_of_a_host_are_ours() -> None:
    async def talk() -> None:
        async with on(ollama("http://127.0.0.1:1"), ollama("http://127.0.0.1:2")) as hosts:
            with pytest.raises(CervellaError, match=r"127\.0\.0\.1:2"):
                await said(hosts)

    asyncio.run(talk())
