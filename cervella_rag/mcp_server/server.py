"""The server: its name, its instructions and, one function a group, its tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp.server import MCPServer

from cervella_rag import __version__
from cervella_rag.mcp_server import answering, counting, reading, starting
from cervella_rag.mcp_server.parts import ServerParts
from cervella_rag.messages import message

GROUPS: tuple[Callable[[MCPServer[None], ServerParts], None], ...] = (
    answering.register,
    starting.register,
    reading.register,
    counting.register,
)
"""Where tools come from. Another group is one more module with a `register`, and its line here."""


def make_server(parts: ServerParts) -> MCPServer[None]:
    """Return a server with every tool, not running yet."""

    @asynccontextmanager
    async def lifespan(_: MCPServer[None]) -> AsyncIterator[None]:
        yield
        await parts.assistant.aclose()

    server: MCPServer[None] = MCPServer(
        "cervella",
        title="Cervella",
        instructions=message("mcp.instructions", parts.language),
        version=__version__,
        log_level="WARNING",
        lifespan=lifespan,
        subscriptions=False,
    )
    for register in GROUPS:
        register(server, parts)
    return server
