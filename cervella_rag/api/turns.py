"""A turn as the doors ask for it: counted, in its order, kept under its key, and measured."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cervella_rag.api.generation_queue import GenerationQueue
from cervella_rag.api.leaving import until_left
from cervella_rag.api.metrics import Metrics
from cervella_rag.api.parts import TheOwner
from cervella_rag.chat.assistant import Assistant
from cervella_rag.domain import Answer, Done, Event, Question, Status
from cervella_rag.errors import UpstreamError

_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Turns:
    """Turns of one request.

    Attributes:
        owner: Name of the key, whose conversations these are; None where there are no keys.
        client: Who asks among those that share a key: `x-client-id`, else where it comes from.
    """

    request: Request
    assistant: Assistant
    queue: GenerationQueue
    metrics: Metrics
    owner: str | None
    client: str

    async def stream(
        self,
        question: Question,
        conversation_id: str | None = None,
        *,
        keep: bool = True,
        client: str | None = None,
    ) -> AsyncGenerator[Event]:
        """Yield a turn's events, `Status("waiting")` first where others are before it.

        Closing the stream gives the place back. See `Assistant.stream`.

        Raises:
            QueueFullError: Too many of this key wait.
        """
        ticket = self.queue.join(self.owner or "", (client or self.client)[:_LONGEST_NAME])
        try:
            if not ticket.turn.is_set():
                yield Status("waiting", total=self.queue.waiting)
                await self.queue.wait(ticket)
            turn = self.assistant.stream(question, conversation_id, owner=self.owner, keep=keep)
            async with aclosing(turn) as events:
                async for event in events:
                    if isinstance(event, Done):
                        self.metrics.answered(event.answer, self.owner or "", ticket.waited_seconds)
                    yield event
        except UpstreamError:
            self.metrics.failed()
            raise
        finally:
            self.queue.leave(ticket)

    async def whole(
        self,
        question: Question,
        conversation_id: str | None = None,
        *,
        keep: bool = True,
        client: str | None = None,
    ) -> Answer | None:
        """Return the finished answer, or None where the client left first."""

        async def joined() -> Answer:
            events = self.stream(question, conversation_id, keep=keep, client=client)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Done):
                        return event.answer
            raise RuntimeError("a stream that raises nothing ends with Done")

        return await until_left(self.request, joined())

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place in the order for what a voice says beside answers.

        Raises:
            QueueFullError: Too many of this key wait, or it waited too long.
        """
        ticket = self.queue.join(self.owner or "", self.client[:_LONGEST_NAME])
        try:
            await self.queue.wait(ticket)
            yield
        finally:
            self.queue.leave(ticket)


async def _turns(request: Request, owner: TheOwner) -> Turns:
    state, peer = request.app.state, request.client
    client = request.headers.get("x-client-id") or (peer.host if peer else "")
    return Turns(request, state.assistant, state.queue, state.metrics, owner, client)


TheTurns = Annotated[Turns, Depends(_turns)]
