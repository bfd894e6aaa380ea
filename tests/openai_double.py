"""A server that speaks OpenAI's chat protocol as vLLM and llama-server do, and fails where told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

from .embedding_double import WINDOW, embed

MODEL = "qwen3-4b"
DONE = "[DONE]"


def chunk(content: str | None = None, *, finish: str | None = None, **delta: object) -> str:
    """Return one piece of an answer as it stands behind `data:`."""
    spoken = delta if content is None else {"content": content, **delta}
    return _event([{"index": 0, "delta": spoken, "logprobs": None, "finish_reason": finish}])


def usage(prompt_tokens: int, completion_tokens: int) -> str:
    """Return the chunk that counts, which has no choices."""
    return _event([], usage={"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens})


def _event(choices: Sequence[object], **more: object) -> str:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return json.dumps({**head, "choices": choices, **more})


ROLE = chunk(role="assistant", content="")


def spoken(*words: str, finish: str = "stop") -> tuple[str, ...]:
    """Return the events of a whole answer."""
    return (ROLE, *map(chunk, words), chunk(finish=finish), usage(12, len(words)), DONE)


def failure(message: str, kind: str = "BadRequestError") -> str:
    """Return an error's body as vLLM writes it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": 1}})


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request is answered.

    Attributes:
        events: What is streamed; where there is none, `body` is sent.
        then: "end" as HTTP asks; "kill" or "hang" after the last byte; "vanish" or "stall" before it.
    """

    events: Sequence[str] = ()
    status: int = 200
    body: str = ""
    kind: str = "application/json"
    then: Literal["end", "kill", "hang", "vanish", "stall"] = "end"


@dataclass(frozen=True, slots=True)
class Request:
    """What the server was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class OpenAIDouble:
    """Listens on 127.0.0.1; the first chat gets the first reply, and the last one goes to all after it.

    Attributes:
        models: Names it lists.
        listing: What it answers for the list instead.
        embeddings: What it answers first where vectors are asked for, instead of them.
        left: Set when a client closes the connection of a reply that is silent.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies) or [Reply(spoken("Ciao."))]
        self.models = [MODEL]
        self.listing: Reply | None = None
        self.embeddings: list[Reply] = []
        self.requests: list[Request] = []
        self.left = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

        self._server = await asyncio.start_server(accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 2)  # a client that stays is a defect

    @property
    def url(self) -> str:
        """Base URL, with its `/v1`."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    @property
    def chats(self) -> list[Request]:
        """The requests for an answer."""
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(await _read(reader), reader, writer):
                pass

    def _reply(self, request: Request) -> Reply:
        if request.path == "/v1/models":
            listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
            return self.listing or Reply(body=json.dumps(listed))
        if request.path == "/v1/embeddings" and not self.embeddings:
            return _embedded(request.body)
        if request.path == "/v1/embeddings":
            return self.embeddings.pop(0)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether the connection is kept."""
        self.requests.append(request)
        reply = self._reply(request)
        if reply.then not in ("vanish", "stall"):
            await _write(reply, writer)
        if reply.then in ("hang", "stall"):
            with suppress(ConnectionError):
                await reader.read()
            self.left.set()
        return reply.then == "end"


def _embedded(body: dict[str, Any]) -> Reply:
    longest = max(len(text.split()) for text in body["input"])
    if longest > WINDOW:
        asked = f"However, you requested {longest} tokens in the input for embedding generation."
        return Reply(
            status=400, body=failure(f"This model's maximum context length is {WINDOW} tokens. {asked}")
        )
    made = [
        {"object": "embedding", "index": index, "embedding": [3 * value for value in embed(text)]}
        for index, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return Reply(body=json.dumps({"object": "list", "model": MODEL, "data": made[::-1], "usage": usage}))


async def _write(reply: Reply, writer: asyncio.StreamWriter) -> None:
    kind = "text/event-stream" if reply.events else reply.kind
    head = f"HTTP/1.1 {reply.status} X\r\nContent-Type: {kind}; charset=utf-8\r\nTransfer-Encoding: chunked"
    writer.write(f"{head}\r\n\r\n".encode())
    texts = [f"data: {event}\n\n" for event in reply.events] or [reply.body]
    for data in (text.encode() for text in texts if text):
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    writer.write(b"0\r\n\r\n" if reply.then == "end" else b"")
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(first.split(" ")[1], headers, json.loads(body or b"{}"))
