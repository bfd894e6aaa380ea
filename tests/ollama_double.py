"""A double of an Ollama server, true to its protocol on the wire: HTTP/1.1 by hand, faults by script.

What it says and when is Ollama 0.33's, read in its source. It writes raw bytes, because most of what
goes wrong between a client and a server no HTTP library would let a server do.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Self

from .embedding_double import WINDOW, embed

_NDJSON, _JSON, _TEXT = "application/x-ndjson", "application/json; charset=utf-8", "text/plain"
_METHODS = {
    **dict.fromkeys(("/", "/api/version", "/api/tags"), "GET"),
    **dict.fromkeys(("/api/show", "/api/chat", "/api/embed"), "POST"),
}
_DURATION = re.compile(r"-?(0|(\d+(\.\d*)?(ns|us|ms|s|m|h))+)")
_INTEGERS = {"num_ctx", "num_predict", "seed", "top_k"}
_DETAILS = {"details": {"format": "gguf", "family": "qwen3", "families": ["qwen3"], "parameter_size": "4B"}}
ZERO = b'{"model":"","created_at":"0001-01-01T00:00:00Z","message":{"role":"","content":""},"done":false}'
"""What Ollama answers in one piece where a model ended at once and said nothing."""
Step = Enum("Step", ["SILENCE", "CLOSE", "RESET"])
"""What a stream does that is no line: say nothing more, break off, be reset."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer in one piece; Ollama's errors before a first line are such."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer in lines, the head with the first of them.

    Attributes:
        steps: A dictionary is a line of Ollama's, to which model and time are added; bytes are one
            chunk as it is, for what Ollama would not write or writes without them.
        is_chunked: False as a proxy of HTTP/1.0 passes it on: the end of the connection is the end.
    """

    steps: Iterable[dict[str, Any] | bytes | Step]
    is_chunked: bool = True


Reply = Whole | Stream


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; `body` is its JSON, the bytes where it is none, None where there are none."""

    method: str
    path: str
    body: Any


def go_json(value: object) -> bytes:
    """Return JSON as Go writes it: five characters escaped, U+0085 raw."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def refusal(status: int, text: object) -> Whole:
    """Return an error as Ollama answers it before anything else."""
    return Whole(status, go_json({"error": text}))


def error_line(text: object) -> bytes:
    """Return an error as it comes after a line, when the status is already sent."""
    return go_json({"error": text}) + b"\n"


def piece(content: str = "", thinking: str = "") -> dict[str, Any]:
    """Return a line of an answer; what is empty and may be left out is."""
    thought = {"thinking": thinking} if thinking else {}
    return {"message": {"role": "assistant", "content": content} | thought, "done": False}


def end(done_reason: str = "stop", content: str = "") -> dict[str, Any]:
    """Return the last line, with its counts."""
    times = {"total_duration": 88358345, "load_duration": 1334875, "prompt_eval_duration": 42546000}
    counts = {"prompt_eval_count": 26, "eval_count": 3, "eval_duration": 45812345}
    return piece(content) | {"done": True, "done_reason": done_reason} | times | counts


def saying(*contents: str, done_reason: str = "stop") -> Stream:
    """Return an answer without a fault."""
    return Stream((*map(piece, contents), end(done_reason)))


class OllamaDouble:
    """Listens on a port of its own while it is entered.

    What it is made with stands for what the model or the wire does, so a request that Ollama refuses
    takes none of it: `chat` is one answer a request, the last for all that follow; `others` are
    answers of /api/tags and /api/show.

    Attributes:
        models: Names, always with a tag, and what each can do; at first one, `m`.
        requests: All that came, in order.
        is_generating: Set when an answer of a model has begun, before its first byte.
        has_stopped: Set when a client left before its answer was over.
    """

    def __init__(self, *chat: Reply, can: Sequence[str] = ("completion",), **others: Reply) -> None:
        self.models = {"m:latest": can}
        self._scripts = {f"/api/{name}": deque([reply]) for name, reply in others.items()}
        self._scripts["/api/chat"] = deque(chat or [saying("Ciao", ".")])
        self.requests: list[Request] = []
        self.is_generating, self.has_stopped = asyncio.Event(), asyncio.Event()
        self._connections: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen; on the port that it had, where it comes back."""
        self._connections.clear()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Be killed: connections are closed without an end, and nobody listens any more."""
        self._server.close()
        for _, writer in self._connections:
            writer.transport.abort()
        await asyncio.gather(*(task for task, _ in self._connections))

    def says(self, *chat: Reply) -> None:
        """Answer from now on as if it had been made with these."""
        self._scripts["/api/chat"] = deque(chat)

    def bodies(self, path: str = "/api/chat") -> list[Any]:
        """Return what was asked of a path."""
        return [request.body for request in self.requests if request.path == path]

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append((asyncio.create_task(self._serve(reader, writer)), writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        coming = asyncio.create_task(_read(reader))
        while request := await coming:
            self.requests.append(request)
            # As in Go's server: while a request is answered, the end of what comes is a client that left.
            coming = asyncio.create_task(_read(reader))
            answering = asyncio.create_task(self._answer(request, writer))
            await asyncio.wait({coming, answering}, return_when=asyncio.FIRST_COMPLETED)
            answering.cancel()
            (failure,) = await asyncio.gather(answering, return_exceptions=True)
            if isinstance(failure, asyncio.CancelledError | ConnectionError):
                self.has_stopped.set()
            elif failure:
                raise failure
        writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        reply, asked = self._reply(request), request.body if isinstance(request.body, dict) else {}
        if isinstance(reply, Stream) and asked.get("stream") is False:
            reply = _joined(reply, asked["model"])
        if isinstance(reply, Whole):
            writer.write(_whole(reply))
            return await writer.drain()
        if request.path == "/api/chat":
            self.is_generating.set()
        framing = "Transfer-Encoding: chunked" if reply.is_chunked else "Connection: close"
        head = _head(200, f"Content-Type: {_NDJSON}", framing, version="1.1" if reply.is_chunked else "1.0")
        for step in reply.steps:
            if step is Step.SILENCE:
                await asyncio.Event().wait()
            if isinstance(step, Step):
                return _drop(writer, is_reset=step is Step.RESET)
            data = step if isinstance(step, bytes) else _line(step, asked["model"])
            writer.write(head + (b"%x\r\n%b\r\n" % (len(data), data) if reply.is_chunked else data))
            head = b""
            await writer.drain()
            await asyncio.sleep(0)  # the client reads this before there is more
        if not reply.is_chunked:
            return _drop(writer)
        writer.write(_whole(Whole(200, b"", _NDJSON)) if head else b"0\r\n\r\n")
        return await writer.drain()

    def _reply(self, request: Request) -> Reply:
        """Return the answer, after the checks that Ollama does first, in its order."""
        method, body = _METHODS.get(request.path), request.body
        if request.method != method:
            wrong = Whole(405, b"405 method not allowed", _TEXT, (f"Allow: {method}",))
            return wrong if method else Whole(404, b"404 page not found", _TEXT)
        refused = self._refused_or_loaded(request.path, body) if method == "POST" else None
        return refused or self._scripted(request) or self._plain(request)

    def _refused_or_loaded(self, path: str, body: Any) -> Whole | None:
        if not isinstance(body, dict):
            return refusal(400, "missing request body" if body is None else "unexpected EOF")
        if not (name := body.get("model")):
            return refusal(400, "model is required")
        if _full(name) not in self.models:
            if path == "/api/embed":
                return refusal(404, f'model "{name}" not found, try pulling it first')
            return refusal(404, f"model '{_full(name) if path == '/api/show' else name}' not found")
        return self._refused_or_loaded_by_chat(name, body) if path == "/api/chat" else None

    def _refused_or_loaded_by_chat(self, name: str, body: dict[str, Any]) -> Whole | None:
        keep_alive = body.get("keep_alive")
        if isinstance(keep_alive, str) and not _DURATION.fullmatch(keep_alive):
            return refusal(400, f'time: missing unit in duration "{keep_alive}"')
        if not body.get("messages"):
            reason = "unload" if keep_alive in {0, "0"} else "load"
            return Whole(200, _line(piece() | {"done": True, "done_reason": reason}, name).rstrip())
        if body.get("think") and not self._thinks(name):
            return refusal(400, f'"{name}" does not support thinking')
        for option, value in sorted(body.get("options", {}).items()):
            if option in _INTEGERS and not isinstance(value, int | float):
                return refusal(500, f'option "{option}" must be of type integer')
        return None

    def _thinks(self, name: str) -> bool:
        return "thinking" in self.models[_full(name)]

    def _scripted(self, request: Request) -> Reply | None:
        script = self._scripts.get(request.path)
        if not script:
            return None
        reply = script.popleft() if len(script) > 1 else script[0]
        if request.path != "/api/chat" or isinstance(reply, Whole):
            return reply
        thinks = self._thinks(request.body["model"]) and request.body.get("think") is not False
        thought = [piece(thinking="Vediamo.")] if thinks else []
        return Stream(itertools.chain(thought, reply.steps), reply.is_chunked)

    def _plain(self, request: Request) -> Whole:
        match request.path:
            case "/":
                return Whole(200, b"Ollama is running", f"{_TEXT}; charset=utf-8")
            case "/api/version":
                return Whole(200, go_json({"version": "0.33.0"}))
            case "/api/tags":
                card = {"modified_at": "2026-08-21T10:00:00.1+02:00", "digest": "0" * 64, **_DETAILS}
                models = [{"name": name, "model": name, **card} for name in self.models]
                return Whole(200, go_json({"models": models}))
            case "/api/embed":
                return _embedded(request.body)
        about = {"general.architecture": "qwen3", "qwen3.context_length": 262144}
        can = self.models[_full(request.body["model"])]
        return Whole(200, go_json(_DETAILS | {"model_info": about, "capabilities": can}))


def _embedded(body: dict[str, Any]) -> Whole:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if body.get("truncate") is False and any(len(text.split()) > WINDOW for text in texts):
        return refusal(400, "the input length exceeds the context length")
    vectors = [embed(" ".join(text.split()[:WINDOW])) for text in texts]
    counts = {"total_duration": 9, "load_duration": 1, "prompt_eval_count": sum(map(len, texts))}
    return Whole(200, go_json({"model": body["model"], "embeddings": vectors, **counts}))


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request, or None where the client has left."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
        raw = await reader.readexactly(int(length[1])) if length else b""
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = head.split(" ", 2)
    try:
        return Request(method, path, json.loads(raw))
    except ValueError:
        return Request(method, path, raw or None)


def _head(status: int, *fields: str, version: str = "1.1") -> bytes:
    date = f"{datetime.now(UTC):Date: %a, %d %b %Y %H:%M:%S GMT}"
    first = f"HTTP/{version} {status} {HTTPStatus(status).phrase}"
    return "\r\n".join([first, *fields, date, "", ""]).encode()


def _whole(reply: Whole) -> bytes:
    fields = f"Content-Type: {reply.content_type}", *reply.headers, f"Content-Length: {len(reply.body)}"
    return _head(reply.status, *fields) + reply.body


def _drop(writer: asyncio.StreamWriter, *, is_reset: bool = False) -> None:
    if is_reset:
        linger = struct.pack("ii", 1, 0)  # for no time, so the kernel sends RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


def _line(step: dict[str, Any], model: str) -> bytes:
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}".rstrip("0").rstrip(".") + "Z"
    return go_json({"model": model, "created_at": created} | step) + b"\n"


def _joined(reply: Stream, model: str) -> Whole:
    """Return a stream as one object, for a client that does not want it in lines."""
    lines = [step for step in reply.steps if isinstance(step, dict)]
    if not lines:
        return Whole(200, ZERO)
    texts = ("".join(line["message"].get(key, "") for line in lines) for key in ("content", "thinking"))
    return Whole(200, _line(lines[-1] | {"message": piece(*texts)["message"]}, model).rstrip())


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"
