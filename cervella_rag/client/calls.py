"""What each operation asks and how its answer is read: once, for the sync and the async client alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from cervella_rag.client import shapes
from cervella_rag.client.errors import AnswerUnreadableError, api_error

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request; `read` makes its value of the decoded body."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> T:
        """Return the value of a response.

        Raises:
            APIError: The server said no.
            AnswerUnreadableError: It said something else than expected.
        """
        if not 200 <= status < 300:
            raise api_error(status, body, headers)
        return checked(self.read, body)


def checked(read: Callable[[Any], T], body: bytes) -> T:
    """Return the value of a JSON text.

    Raises:
        AnswerUnreadableError: It is none, or of another shape.
    """
    try:
        return read(json.loads(body) if body else None)
    except (ValueError, ValidationError, KeyError, TypeError) as error:
        raise AnswerUnreadableError(f"the server's answer cannot be read: {error}") from error


def search(
    question: str,
    top_k: int,
    filters: shapes.Filters | None,
    history: Sequence[shapes.Message],
) -> Call[shapes.SearchResult]:
    """Find passages."""
    body = {"question": question, "top_k": top_k, **_asked(filters, history)}
    return Call("POST", "/v1/search", shapes.SearchResult.model_validate, body)


def chat(
    message: str,
    conversation_id: str | None,
    filters: shapes.Filters | None,
    history: Sequence[shapes.Message],
    *,
    stream: bool = False,
) -> Call[shapes.Answer]:
    """Answer a message."""
    body: dict[str, Any] = {"message": message, "stream": stream, **_asked(filters, history)}
    if conversation_id is not None:
        body["conversation_id"] = conversation_id
    return Call("POST", "/v1/chat", shapes.Answer.model_validate, body)


def conversations(limit: int) -> Call[tuple[shapes.ConversationCard, ...]]:
    """List the newest conversations."""

    def read(body: Any) -> tuple[shapes.ConversationCard, ...]:
        return tuple(map(shapes.ConversationCard.model_validate, body["conversations"]))

    return Call("GET", "/v1/conversations", read, query={"limit": limit})


def conversation(conversation_id: str) -> Call[shapes.Conversation]:
    """Return one with its turns."""
    return Call("GET", _in("/v1/conversations", conversation_id), shapes.Conversation.model_validate)


def forget(conversation_id: str) -> Call[None]:
    """Remove one."""
    return Call("DELETE", _in("/v1/conversations", conversation_id), _nothing)


def brief(project: str | None, max_tokens: int) -> Call[shapes.Brief]:
    """Tell where to start from."""
    query = {"max_tokens": max_tokens, **({"project": project} if project else {})}
    return Call("GET", "/v1/brief", shapes.Brief.model_validate, query=query)


def start_index() -> Call[str]:
    """Start re-indexing."""
    return Call("POST", "/v1/index", lambda body: str(body["job_id"]))


def index() -> Call[shapes.IndexJob]:
    """Tell how re-indexing goes."""
    return Call("GET", "/v1/index", shapes.IndexJob.model_validate)


def stats() -> Call[shapes.Stats]:
    """Count what the index holds."""
    return Call("GET", "/v1/stats", shapes.Stats.model_validate)


def propose(
    kind: str, conversation_id: str, title: str | None, text: str | None, options: Mapping[str, str | None]
) -> Call[shapes.Proposal]:
    """Propose a file for the memory."""
    given = {"title": title, "text": text, **options}
    told = {name: value for name, value in given.items() if value is not None}
    body = {"kind": kind, "conversation_id": conversation_id, **told}
    return Call("POST", "/v1/proposals", shapes.Proposal.model_validate, body)


def confirm(proposal_id: str) -> Call[shapes.Written]:
    """Write it."""
    path = _in("/v1/proposals", proposal_id) + "/confirm"
    return Call("POST", path, shapes.Written.model_validate)


def feedback(turn_id: str, kind: str, note: str) -> Call[shapes.Feedback]:
    """Keep what was thought of an answer."""
    body = {"turn_id": turn_id, "kind": kind, "note": note}
    return Call("POST", "/v1/feedback", shapes.Feedback.model_validate, body)


def headers(key: str | None, language: str) -> dict[str, str]:
    """Return what goes with every request."""
    return {"accept-language": language, **({"authorization": f"Bearer {key}"} if key else {})}


def _asked(filters: shapes.Filters | None, history: Iterable[shapes.Message]) -> dict[str, Any]:
    said = [message.model_dump() for message in history]
    given = filters.model_dump(exclude_none=True) if filters else {}
    return {**({"filters": given} if given else {}), **({"history": said} if said else {})}


def _in(folder: str, name: str) -> str:
    return f"{folder}/{quote(name, safe='')}"


def _nothing(_: Any) -> None:
    return None
