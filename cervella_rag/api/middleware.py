"""What happens to every request: a number to find it by, a host name that is ours, safe headers."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cervella_rag.api.problems import problem

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
    """Plain ASGI: a middleware class with `dispatch` doubles the time of a small request."""

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.update(_HEADERS)
                if scope["path"].startswith("/docs"):
                    headers["content-security-policy"] = _DOCS_POLICY
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if _without_port(host) in self._hosts:
            await self._app(scope, receive, send_with_headers)
        else:
            refusal = problem(400, "host_not_allowed", f"host {host!r} is not allowed", request_id)
            await refusal(scope, receive, send_with_headers)


def _without_port(host: str) -> str:
    name, _, port = host.lower().rpartition(":")
    return name if port.isdigit() and name else host.lower()
