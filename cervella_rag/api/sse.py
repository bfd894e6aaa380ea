"""A turn's events as server-sent events, with a comment now and then so that nobody hangs up."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol

from anyio import CancelScope

from cervella_rag.api.schemas import AnswerModel, CitationModel
from cervella_rag.domain import Done, Event, Sources, Status, Token

_log = logging.getLogger(__name__)
_PING = b": ping\n\n"


class Frames(Protocol):
    """How a turn's events look on a wire."""

    def event(self, event: Event) -> bytes:
        """Return one event, b"" for one that is not shown."""
        ...

    def error(self, error: Exception) -> bytes:
        """Return the last event of a turn that failed."""
        ...


class OwnFrames:
    """Our own wire: `status`, `sources`, `token`, `done` or `error`.

    Args:
        describe: Exception to the error object.
    """

    def __init__(self, describe: Callable[[Exception], dict[str, Any]]) -> None:
        self._describe = describe

    def event(self, event: Event) -> bytes:
        """See `Frames`."""
        match event:
            case Status(stage, done, total):
                return _frame("status", {"stage": stage, "done": done, "total": total})
            case Sources(citations):
                sources = [CitationModel.of(citation).model_dump() for citation in citations]
                return _frame("sources", {"sources": sources})
            case Token(text):
                return _frame("token", {"text": text})
            case Done(answer):
                return _frame("done", AnswerModel.of(answer).model_dump())

    def error(self, error: Exception) -> bytes:
        """See `Frames`."""
        return _frame("error", self._describe(error))


def _frame(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\n".encode() + data_frame(data)


def data_frame(data: dict[str, Any]) -> bytes:
    """Return an object as one server-sent event without a name."""
    # Escaped to ASCII: the separators U+2028 and U+2029 end a line for some readers.
    return f"data: {json.dumps(data)}\n\n".encode()


async def stream(
    first: Event,
    rest: AsyncGenerator[Event],
    ping_seconds: float,
    frames: Frames,
) -> AsyncIterator[bytes]:
    """Yield the frames of a turn; an error becomes the last event.

    Closing this generator, as happens when the client leaves, closes the turn and so the voice.

    Args:
        first: The event that was waited for before answering 200.
        rest: The events after it.
        ping_seconds: Longest silence.
        frames: How they look.
    """
    waiting = asyncio.ensure_future(anext(rest))
    try:
        yield frames.event(first)
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=ping_seconds)
            if not done:
                yield _PING
                continue
            yield frames.event(waiting.result())
            waiting = asyncio.ensure_future(anext(rest))
    except StopAsyncIteration:
        return
    except Exception as error:  # noqa: BLE001 - the status is sent: only the stream can tell it
        _log.exception("a stream failed")
        yield frames.error(error)
    finally:
        # The server's library cancels again and again: unshielded, the voice's own farewell is cut off
        # and its connection, and so the model, goes on.
        with CancelScope(shield=True):
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await rest.aclose()
