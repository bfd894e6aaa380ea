"""The same client for code that does something else meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Self, TypeVar

import httpx

from cervella_rag.client import calls, shapes
from cervella_rag.client.errors import ServerUnreachableError, api_error
from cervella_rag.client.events import EventReader

T = TypeVar("T")


class AsyncClient:
    """Talks to a served Cervella, without blocking.

    Args:
        url: Where it is served.
        key: One of its `CERVELLA_API__KEYS`, where it has any.
        language: Of its errors and of the brief: "it" or "en".
        timeout_seconds: Longest silence; a large model may think that long before its first word.
        transport: How requests travel, for tests and proxies; HTTP without one.

    Raises, from every method:
        ServerUnreachableError: Nobody answers.
        APIError: The server said no; see `errors`.
        AnswerUnreadableError: Another server answers.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        language: str = "en",
        timeout_seconds: float = 300.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=calls.headers(key, language),
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 10.0)),
            transport=transport,
            trust_env=False,  # a proxy of the system has no business between two programs of one machine
        )

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._http.aclose()

    async def search(
        self,
        question: str,
        *,
        top_k: int = 10,
        filters: shapes.Filters | None = None,
        history: Sequence[shapes.Message] = (),
    ) -> shapes.SearchResult:
        """Find passages; no model is asked."""
        return await self._do(calls.search(question, top_k, filters, history))

    async def chat(
        self,
        message: str,
        *,
        conversation_id: str | None = None,
        filters: shapes.Filters | None = None,
        history: Sequence[shapes.Message] = (),
    ) -> shapes.Answer:
        """Return one whole answer; go on with its `conversation_id`, or bring the history yourself."""
        return await self._do(calls.chat(message, conversation_id, filters, history))

    @asynccontextmanager
    async def stream(
        self,
        message: str,
        *,
        conversation_id: str | None = None,
        filters: shapes.Filters | None = None,
        history: Sequence[shapes.Message] = (),
    ) -> AsyncIterator[AsyncIterator[shapes.Event]]:
        """Stream an answer: `async with client.stream("...") as events`; leaving the block stops the voice.

        The events are statuses, the sources, the tokens and, last, the finished answer.

        Raises:
            StreamBrokenError: It ended early.
        """
        call = calls.chat(message, conversation_id, filters, history, stream=True)
        try:
            async with self._http.stream(call.method, call.path, json=call.body) as response:
                if not response.is_success:
                    raise api_error(response.status_code, await response.aread(), response.headers)
                yield _events(response)
        except httpx.TransportError as error:
            raise _unreachable(error) from error

    async def conversations(self, limit: int = 100) -> tuple[shapes.ConversationCard, ...]:
        """List the newest conversations, newest first."""
        return await self._do(calls.conversations(limit))

    async def conversation(self, conversation_id: str) -> shapes.Conversation:
        """Return a conversation with its turns."""
        return await self._do(calls.conversation(conversation_id))

    async def forget(self, conversation_id: str) -> None:
        """Remove a conversation with its turns."""
        await self._do(calls.forget(conversation_id))

    async def brief(self, project: str | None = None, *, max_tokens: int = 1000) -> shapes.Brief:
        """Tell where to start from, in the whole memory or in one project."""
        return await self._do(calls.brief(project, max_tokens))

    async def start_index(self) -> str:
        """Have the index brought to the state of the folders; return the job's id."""
        return await self._do(calls.start_index())

    async def index(self) -> shapes.IndexJob:
        """Tell how the last re-index goes."""
        return await self._do(calls.index())

    async def stats(self) -> shapes.Stats:
        """Count what the index holds."""
        return await self._do(calls.stats())

    async def propose(
        self,
        kind: Literal["decision", "lesson", "handoff"],
        conversation_id: str,
        *,
        title: str | None = None,
        text: str | None = None,
        project: str | None = None,
        session: str | None = None,
    ) -> shapes.Proposal:
        """Propose a file for the memory, from a conversation; nothing is written."""
        options = {"project": project, "session": session}
        return await self._do(calls.propose(kind, conversation_id, title, text, options))

    async def confirm(self, proposal_id: str) -> shapes.Written:
        """Write what was proposed, and have it indexed."""
        return await self._do(calls.confirm(proposal_id))

    async def feedback(
        self, turn_id: str, kind: Literal["not_cervella", "wrong_source", "good"], note: str = ""
    ) -> shapes.Feedback:
        """Keep what was thought of an answer."""
        return await self._do(calls.feedback(turn_id, kind, note))

    async def _do(self, call: calls.Call[T]) -> T:
        try:
            response = await self._http.request(
                call.method, call.path, json=call.body, params=dict(call.query)
            )
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return call.answer(response.status_code, response.content, response.headers)


async def _events(response: httpx.Response) -> AsyncIterator[shapes.Event]:
    reader = EventReader()
    async for line in response.aiter_lines():
        if event := reader.feed(line):
            yield event
    reader.finish()


def _unreachable(error: httpx.TransportError) -> ServerUnreachableError:
    return ServerUnreachableError(f"the server does not answer: {error or type(error).__name__}")
