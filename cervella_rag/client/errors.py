"""What can go wrong for a caller, by what the caller can do.

ClientError
├── ServerUnreachableError    nobody listens there, or no answer came in time
├── StreamBrokenError         a stream ended before its last event
├── AnswerUnreadableError     what came is not what this client knows
└── APIError                  the server said no; its words, code and request id
    ├── KeyRefusedError       401
    ├── NotFoundError         404
    ├── InvalidRequestError   400, 409, 413, 422
    ├── RateLimitError        429; `retry_after_seconds`
    └── UnavailableError      502, 503, 504: worth another try
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_LONGEST_DETAIL = 500


class ClientError(Exception):
    """Root of every error of this client."""


class ServerUnreachableError(ClientError):
    """The server cannot be reached, or does not answer in time."""


class StreamBrokenError(ClientError):
    """A stream ended before it was done."""


class AnswerUnreadableError(ClientError):
    """The answer has not the shape that is known here: another server, or another version."""


class APIError(ClientError):
    """The server answered with an error.

    Attributes:
        status: HTTP status.
        code: Stable name of the error (docs/errors.md), "" where the answer had none.
        detail: What happened and what to do, in the server's words.
        request_id: Names the request in the server's log.
        retry_after_seconds: How long to wait, where the server says so.
    """

    def __init__(
        self,
        status: int,
        *,
        code: str = "",
        detail: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if code else f"{status}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds


class KeyRefusedError(APIError):
    """A key is missing, unknown, or there are two."""


class NotFoundError(APIError):
    """There is no such conversation, turn, proposal, project or path."""


class InvalidRequestError(APIError):
    """The request must be changed."""


class RateLimitError(APIError):
    """Too many requests for this key."""


class UnavailableError(APIError):
    """Something that the server depends on is not there now."""


_KINDS: dict[int, type[APIError]] = {
    400: InvalidRequestError, 401: KeyRefusedError, 404: NotFoundError, 409: InvalidRequestError,
    413: InvalidRequestError, 422: InvalidRequestError, 429: RateLimitError, 502: UnavailableError,
    503: UnavailableError, 504: UnavailableError,
}  # fmt: skip


def api_error(status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str]) -> APIError:
    """Return the error that a response tells; of a body that is no problem document, its beginning."""
    problem = body if isinstance(body, Mapping) else _problem(body)
    detail = problem.get("detail", "" if isinstance(body, Mapping) else body.decode("utf-8", "replace"))
    return _KINDS.get(status, APIError)(
        status,
        code=str(problem.get("code", "")),
        detail=str(detail)[:_LONGEST_DETAIL],
        request_id=str(problem.get("request_id", headers.get("x-request-id", ""))),
        retry_after_seconds=_seconds(headers.get("retry-after", "")),
    )


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _seconds(value: str) -> float | None:
    return float(value) if value.isascii() and value.isdigit() else None
