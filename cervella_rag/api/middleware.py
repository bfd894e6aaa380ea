"""What happens to every request: a number, a host name that is ours, a key, safe headers, no bare 500."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cervella_rag.api.keys import Keys
from cervella_rag.api.problems import failure, problem
from cervella_rag.errors import KeyRefusedError

_log = logging.getLogger(__name__)
_TOO_LARGE = HTTPStatus(413).name.lower()

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
# Swagger UI starts from an inline script, so its page alone is allowed one.
_DOCS_POLICY = _HEADERS["content-security-policy"].replace(
    "script-src 'self'", "script-src 'self' 'unsafe-inline'"
)


class RequestContext:
    """Plain ASGI: a middleware class with `dispatch` doubles the time of a small request.

    The body is limited here and not by FastAPI's own limit, whose answer is not a problem document.

    Args:
        app: What comes next.
        keys: Who may ask.
        allowed_hosts: Host names a request may carry.
        max_body_bytes: Largest body, announced or sent.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Keys, allowed_hosts: Iterable[str], max_body_bytes: int
    ) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.update(_HEADERS)
                if scope["path"].startswith("/docs"):
                    headers["content-security-policy"] = _DOCS_POLICY
            await send(message)

        if refusal := self._refusal(Request(scope)):
            await refusal(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, self._limited(receive), send_with_headers)
        except Exception as error:  # noqa: BLE001 - outermost door: no bare 500, no trace
            _log.error("request %s failed", request_id, exc_info=error)
            if not has_started:
                await failure(Request(scope), error)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> JSONResponse | None:
        headers = request.headers
        host, length = headers.get("host", ""), headers.get("content-length", "0")
        if _without_port(host) not in self._hosts:
            detail = f"host {host!r} is not in CERVELLA_API__ALLOWED_HOSTS"
            return problem(request, 400, "host_not_allowed", detail)
        if not self._keys.may_pass(request.scope["path"], headers):
            answer = failure(request, KeyRefusedError())
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        if length.isdigit() and int(length) > self._max_body_bytes:
            return problem(request, 413, _TOO_LARGE, self._limit_text)
        return None

    @property
    def _limit_text(self) -> str:
        return f"the body is larger than {self._max_body_bytes} bytes"

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413, self._limit_text)
            return message

        return limited


def _without_port(host: str) -> str:
    name, _, port = host.lower().rpartition(":")
    return name if port.isdigit() and name else host.lower()
