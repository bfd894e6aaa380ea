"""What happens to every request: a number, a host name that is ours, a key, safe headers, no bare 500."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cervella_rag.api.keys import Keys
from cervella_rag.api.logs import bound
from cervella_rag.api.problems import failure, problem
from cervella_rag.errors import KeyRefusedError
from cervella_rag.settings import APISettings

_log = logging.getLogger(__name__)
_TOO_LARGE = HTTPStatus(413).name.lower()

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
# Swagger UI starts from an inline script and styles itself, so its page alone is allowed to.
_DOCS_POLICY = (
    _HEADERS["content-security-policy"]
    .replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")
    .replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
)
_MAX_HEAD_BYTES = 65_536
"""The server's library refuses a larger one only where it arrives in pieces."""
_NO_ANSWER = 499
"""Status in the log where the client left before there was one."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How much a client may send, and how slowly it may send and take.

    Attributes:
        max_body_bytes: Largest body, announced or sent.
        read_seconds: Longest wait for the next part of a body.
        write_seconds: Longest wait for a client to take a part of the answer.
    """

    max_body_bytes: int
    read_seconds: float
    write_seconds: float

    @classmethod
    def of(cls, settings: APISettings) -> TransferLimits:
        """Return what is configured."""
        return cls(settings.max_body_bytes, settings.read_seconds, settings.write_seconds)


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may ask.

    Attributes:
        keys: The keys.
        hosts: Host names a request may carry, in lower case.
        origins: Other servers' pages that may ask.
    """

    keys: Keys
    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, settings: APISettings) -> Guard:
        """Return what is configured."""
        hosts = frozenset(map(str.lower, settings.allowed_hosts))
        return cls(Keys(settings.keys), hosts, frozenset(settings.cors_origins))


class RequestContext:
    """Plain ASGI: a middleware class with `dispatch` doubles the time of a small request.

    The body is limited here and not by FastAPI's own limit, whose answer is not a problem document.

    Args:
        app: What comes next.
        guard: Who may ask.
        limits: How much and how slowly.
        observe: Told of every answer: its scope, its status, its seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: Guard,
        limits: TransferLimits,
        observe: Callable[[Scope, int, float], None],
    ) -> None:
        self._app = app
        self._guard = guard
        self._limits = limits
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, caller=None)
        started, status = time.perf_counter(), _NO_ANSWER

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.update(_HEADERS)
                if scope["path"].startswith("/docs"):
                    headers["content-security-policy"] = _DOCS_POLICY
                is_data = scope["path"].startswith(("/v1/", "/api/"))
                headers.setdefault("cache-control", "no-store" if is_data else "no-cache")
            # Who takes nothing must not hold a place among those who are answered.
            async with asyncio.timeout(self._limits.write_seconds):
                await send(message)

        with bound(request_id):
            try:
                await self._answer(scope, receive, send_with_headers, lambda: status != _NO_ANSWER)
            finally:
                self._observe(scope, status, time.perf_counter() - started)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, has_started: Callable[[], bool]
    ) -> None:
        try:
            if refusal := self._refusal(Request(scope)):
                await refusal(scope, receive, send)
                return
            await self._app(scope, self._limited(receive), send)
        except Exception as error:  # noqa: BLE001 - outermost door: no bare 500, no trace
            if isinstance(error, TimeoutError) and has_started():
                _log.warning("the client took nothing for too long")
                return
            _log.error("a request failed", exc_info=error)
            if not has_started():
                await failure(Request(scope), error)(scope, receive, send)

    def _refusal(self, request: Request) -> JSONResponse | None:
        headers = request.headers
        host, length = headers.get("host", ""), headers.get("content-length", "0")
        if _head_bytes(request) > _MAX_HEAD_BYTES:
            return problem(request, 431, "request_header_fields_too_large", "the headers are too large")
        if _without_port(host) not in self._guard.hosts:
            detail = f"host {host!r} is not in CERVELLA_API__ALLOWED_HOSTS"
            return problem(request, 400, "host_not_allowed", detail)
        if request.method not in _READING and not self._is_ours(headers.get("origin"), host):
            return problem(request, 403, "origin_not_allowed", "a page of another server may not ask")
        request.state.caller = self._guard.keys.name(headers)
        if self._guard.keys.needs_key(request.scope["path"]) and request.state.caller is None:
            answer = failure(request, KeyRefusedError())
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        if length.isdigit() and int(length) > self._limits.max_body_bytes:
            return problem(request, 413, _TOO_LARGE, self._limit_text)
        return None

    def _is_ours(self, origin: str | None, host: str) -> bool:
        """Tell whether a page may ask: one of ours, or of a server that is named; programs send none."""
        return origin is None or origin in self._guard.origins or urlsplit(origin).netloc == host

    @property
    def _limit_text(self) -> str:
        return f"the body is larger than {self._limits.max_body_bytes} bytes"

    def _limited(self, receive: Receive) -> Receive:
        received, is_whole = 0, False

        async def limited() -> Message:
            nonlocal received, is_whole
            if is_whole:  # what comes now is the client leaving, for which there is no hurry
                return await receive()
            try:
                async with asyncio.timeout(self._limits.read_seconds):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, "the body did not arrive", {"connection": "close"}) from error
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > self._limits.max_body_bytes:
                raise HTTPException(413, self._limit_text)
            return message

        return limited


def _head_bytes(request: Request) -> int:
    fields = sum(len(name) + len(value) for name, value in request.headers.raw)
    return fields + len(request.scope.get("raw_path") or b"") + len(request.scope["query_string"])


def _without_port(host: str) -> str:
    name, _, port = host.lower().rpartition(":")
    return name if port.isdigit() and name else host.lower()
