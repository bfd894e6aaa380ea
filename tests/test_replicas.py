"""Two replicas behind nginx, on one Postgres and one index server: a conversation outlives a killed one."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .nginx import command, configuration, nginx
from .ollama_double import OllamaDouble, Step, Stream, piece, saying
from .postgres import Postgres
from .qdrant_double import qdrant_double
from .served import KEYS, Served, index, started
from .test_embedders import served as in_a_thread

pytestmark = pytest.mark.timeout(300)  # processes start, are killed and start again

KEY = {"x-api-key": KEYS["rafa"]}
NAMES = ("cervella", "cervella-2")
CALM = saying("Sei ", "ore [1].")
HALTING = Stream((piece("Sei ore intere. "), Step.SILENCE))


class Stack:
    """Everything together. Both replicas serve; a test that ends one starts it again.

    Attributes:
        url: Where nginx listens.
        replicas: By their names in the compose file.
        settings: Of both.
    """

    def __init__(self, folder: Path, memory: Path, settings: dict[str, str], ollama: OllamaDouble) -> None:
        self._folder, self._memory, self._open = folder, memory, ExitStack()
        self.settings, self.ollama = settings, ollama
        self.replicas: dict[str, Served] = {}
        self.url = ""

    def start(self, *names: str) -> None:
        """Start some in the same moment, then wait for all."""
        for name in names:
            port = self.replicas[name].port if name in self.replicas else None
            replica = started(self._folder / name, self._memory, self.settings, port)
            self.replicas[name] = self._open.enter_context(replica)
        for name in names:
            self.replicas[name].wait()

    def kill(self, name: str) -> None:
        """End one as the kernel does that needs its memory."""
        self.replicas[name].process.kill()
        self.replicas[name].process.wait()

    def close(self) -> None:
        """End all."""
        self._open.close()

    def busy(self) -> str:
        """Return which replica is making an answer, as soon as one is and the voice has begun."""
        wait_for(lambda: self._busy() and self.ollama.is_generating.is_set())
        (name,) = self._busy()
        return name

    def _busy(self) -> list[str]:
        counted = {
            name: httpx2.get(f"{replica.url}/metrics", headers=KEY, timeout=60).text
            for name, replica in self.replicas.items()
        }
        return [name for name, text in counted.items() if "\ncervella_generations_running 1.0" in text]


def wait_for(is_there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Stack]:
    folder, memory = tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("memory")
    (memory / "forno.md").write_text("# Il forno\n\nIl forno a legna tiene il calore per sei ore.\n")
    with (
        postgres_server.database() as database,
        qdrant_double() as qdrant,
        in_a_thread(OllamaDouble(CALM)) as ollama,
    ):
        settings = {
            "CERVELLA_CONVERSATIONS__URL": database.get_secret_value(),
            "CERVELLA_QDRANT__URL": qdrant.url,
            "CERVELLA_LLM__VOICE": "ollama",
            "CERVELLA_LLM__OLLAMA_URL": ollama.url,
            "CERVELLA_LLM__OLLAMA_MODEL": "m",
            "CERVELLA_API__KEYS": f"rafa:{KEYS['rafa']}",
            "CERVELLA_API__CHAT_PER_MINUTE": "1000",
        }
        made = Stack(folder, memory, settings, ollama)
        try:
            index(folder / "indexer", memory, settings)
            made.start(*NAMES)
            ports = {name: replica.port for name, replica in made.replicas.items()}
            with nginx(folder / "nginx", ports) as made.url:
                yield made
        finally:
            made.close()


@pytest.fixture
def door(stack: Stack) -> Iterator[httpx2.Client]:
    """Where everybody comes in; afterwards both replicas are there again, and the voice is calm."""
    stack.ollama.is_generating.clear()
    with httpx2.Client(base_url=stack.url, headers=KEY, timeout=120) as client:
        yield client
    stack.ollama.says(CALM)
    for name, replica in stack.replicas.items():
        if replica.process.poll() is not None:
            stack.start(name)


def served_at_last(request: Callable[[], httpx2.Response]) -> Any:
    """Return what is answered, asking again as Retry-After says.

    One that is back is used two seconds after its failure; when the other is lost within them, none is.
    """
    deadline = time.monotonic() + 60
    while (answered := request()).status_code == 503:
        assert time.monotonic() < deadline
        assert answered.headers["retry-after"] == "2"
        time.sleep(0.1)
    assert answered.status_code == 200, answered.text
    return answered.json()


def ask(door: httpx2.Client, message: str, conversation_id: str | None = None) -> Any:
    asked = {"message": message} | ({"conversation_id": conversation_id} if conversation_id else {})
    answer = served_at_last(lambda: door.post("/v1/chat", json=asked))
    assert (answer["mode"], answer["degraded"]) == ("ollama", [])
    return answer


def kept(door: httpx2.Client, conversation_id: str) -> list[str]:
    turns = served_at_last(lambda: door.get(f"/v1/conversations/{conversation_id}"))["turns"]
    return [turn["question"] for turn in turns]


def reminded(stack: Stack, question: str, before: list[str]) -> list[list[str]]:
    """Return, of every time the voice was asked `question`, which of those before it were told to it."""
    told = []
    for body in stack.ollama.bodies():
        said = [message["content"] for message in body.get("messages", []) if message["role"] == "user"]
        if said and question in said[-1]:
            told.append([earlier for earlier in before if earlier in said[:-1]])
    return told


def first_word(stack: Stack, stream: Iterator[str]) -> str:
    """Read a stream up to its first word; return which replica it comes from."""
    assert "event: token" in stream
    return stack.busy()


def test_two_that_start_at_once_on_an_empty_database_make_its_tables_once(stack: Stack) -> None:
    def said() -> str:
        return "".join(replica.log.read_text() for replica in stack.replicas.values())

    wait_for(lambda: "revision none to 0001" in said())  # before anybody has asked anything
    for replica in stack.replicas.values():
        ready = httpx2.get(f"{replica.url}/health/ready", headers=KEY, timeout=60).json()
        assert ready["parts"]["conversations"]["ready"], ready
    assert said().count("revision none to 0001") == 1
    assert not re.search(r"error|warning|Traceback", said())


def test_a_conversation_goes_on_while_replicas_are_killed(stack: Stack, door: httpx2.Client) -> None:
    questions = [f"Quante ore tiene il forno, giorno {number}?" for number in range(7)]
    conversation = ask(door, questions[0])["conversation_id"]
    ask(door, questions[1], conversation)

    stack.kill("cervella")  # between turns
    ask(door, questions[2], conversation)
    ask(door, questions[3], conversation)
    stack.start("cervella")
    assert kept(door, conversation) == questions[:4]

    stack.ollama.says(HALTING)
    asked = {"message": questions[4], "conversation_id": conversation, "stream": True}
    with door.stream("POST", "/v1/chat", json=asked) as stream:
        lines = stream.iter_lines()
        lost = first_word(stack, lines)
        stack.kill(lost)  # during a turn
        with pytest.raises(httpx2.RemoteProtocolError):  # the client is told that there is no more
            list(lines)
    stack.ollama.says(CALM)
    assert kept(door, conversation) == questions[:4]
    ask(door, questions[4], conversation)
    assert reminded(stack, questions[4], questions) == [questions[:4]] * 2
    stack.start(lost)
    ask(door, questions[5], conversation)
    ask(door, questions[6], conversation)

    for replica in stack.replicas.values():
        with httpx2.Client(base_url=replica.url, headers=KEY, timeout=60) as own:
            assert kept(own, conversation) == questions


def test_a_question_that_was_sent_is_never_sent_to_another_replica(
    stack: Stack, door: httpx2.Client
) -> None:
    conversation = ask(door, "Quante ore tiene il forno a legna?")["conversation_id"]
    stack.ollama.says(HALTING)
    body = {"message": "Quante ore tiene, in tutto?", "conversation_id": conversation}
    with ThreadPoolExecutor() as elsewhere:
        waiting = elsewhere.submit(door.post, "/v1/chat", json=body)
        stack.kill(stack.busy())
        lost = waiting.result()
    assert (lost.status_code, lost.json()["code"]) == (503, "replica_unavailable")
    assert lost.headers["content-type"] == "application/problem+json"
    assert lost.headers["retry-after"] == "2"
    assert len(reminded(stack, body["message"], [])) == 1
    assert kept(door, conversation) == ["Quante ore tiene il forno a legna?"]


def test_a_word_is_passed_on_when_it_is_said(stack: Stack, door: httpx2.Client) -> None:
    stack.ollama.says(HALTING)
    asked = {"message": "Quante ore tiene il forno?", "stream": True}
    with door.stream("POST", "/v1/chat", json=asked) as stream:
        assert "event: token" in stream.iter_lines()  # and the voice says nothing more


def test_a_client_that_leaves_the_proxy_frees_the_voice(stack: Stack, door: httpx2.Client) -> None:
    stack.ollama.says(HALTING)
    stack.ollama.has_stopped.clear()
    asked = {"message": "Quante ore tiene il forno?", "stream": True}
    with door.stream("POST", "/v1/chat", json=asked) as stream:
        assert "event: token" in stream.iter_lines()
    wait_for(stack.ollama.has_stopped.is_set)


def test_a_run_of_the_index_and_its_state_are_one_replicas(stack: Stack, door: httpx2.Client) -> None:
    for _ in range(3):
        job = door.post("/v1/index").json()["job_id"]
        states = [door.get("/v1/index").json() for _ in range(4)]
        assert {state["job_id"] for state in states} == {job}
        wait_for(lambda: door.get("/v1/index").json()["state"] == "done")


def test_what_one_replica_proposes_and_is_told_another_knows(stack: Stack, door: httpx2.Client) -> None:
    first, second = (
        httpx2.Client(base_url=replica.url, headers=KEY, timeout=60) for replica in stack.replicas.values()
    )
    with first, second:
        answer = ask(first, "Quante ore tiene il forno?")
        told = second.post("/v1/feedback", json={"turn_id": answer["turn_id"], "kind": "good"})
        assert told.status_code == 201, told.text
        wish = {"kind": "lesson", "conversation_id": answer["conversation_id"]}
        proposal = first.post("/v1/proposals", json=wish).json()
        written = second.post(f"/v1/proposals/{proposal['proposal_id']}/confirm")
        assert written.status_code == 201, written.text
        again = first.post(f"/v1/proposals/{proposal['proposal_id']}/confirm")
        assert again.status_code == 409, again.text
        path, asked = written.json()["path"], {"question": "Quante ore tiene il forno?"}
        wait_for(  # one has indexed it, both find it
            lambda: all(
                path in [hit["path"] for hit in one.post("/v1/search", json=asked).json()["hits"]]
                for one in (first, second)
            )
        )


def test_without_a_replica_it_is_said_in_the_shape_of_the_path(stack: Stack, door: httpx2.Client) -> None:
    for name in NAMES:
        stack.kill(name)
    lost = door.get("/v1/conversations")
    assert (lost.status_code, lost.json()["code"]) == (503, "replica_unavailable")
    body = {"model": "cervella", "messages": [{"role": "user", "content": "Ciao"}]}
    openai = door.post("/v1/chat/completions", json=body)
    assert (openai.status_code, openai.json()["error"]["code"]) == (503, "replica_unavailable")
    stack.start(*NAMES)
    wait_for(lambda: door.get("/v1/conversations").status_code == 200)


def test_what_the_proxy_answers_itself_is_a_problem_too(door: httpx2.Client) -> None:
    large = door.post("/v1/chat", json={"message": "a" * 3_000_000})
    assert (large.status_code, large.json()["code"]) == (413, "request_entity_too_large")
    assert door.post("/v1/chat", json={"message": "a" * 1_500_000}).status_code == 413
    assert door.get("/metrics").json()["code"] == "not_found"


def test_the_shipped_configuration_is_one(tmp_path: Path) -> None:
    file = configuration(tmp_path, 8080, dict.fromkeys(NAMES, 9))
    checked = subprocess.run(command(file, "", "-t"), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
