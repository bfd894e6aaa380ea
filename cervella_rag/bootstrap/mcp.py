"""The door for agents: the tools' parts put together, and the two ways to reach them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cervella_rag.bootstrap.brief import make_brief_writer
from cervella_rag.bootstrap.index import (
    find_roots,
    make_exact,
    make_redactor,
    make_retriever,
    make_store,
)
from cervella_rag.bootstrap.tools import make_question
from cervella_rag.bootstrap.voices import make_assistant
from cervella_rag.messages import locale_language

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from cervella_rag.memory.reading import LineReader
    from cervella_rag.protocols import VectorStore
    from cervella_rag.settings import Settings

HOST = "127.0.0.1"


def make_line_reader(settings: Settings, store: VectorStore) -> LineReader:
    """Return what reads lines of the memory's files."""
    from cervella_rag.memory.reading import LineReader
    from cervella_rag.memory.sources import SourceReader

    return LineReader(
        roots=lambda: find_roots(settings, store=store),
        sources=SourceReader(settings.memory, own_data=settings.home),
        redactor=make_redactor(settings),
    )


def make_mcp_server(settings: Settings) -> MCPServer[None]:
    """Return the server with its tools."""
    from cervella_rag.mcp_server.parts import ServerParts
    from cervella_rag.mcp_server.server import make_server

    store = make_store(settings)
    exact = make_exact(settings, store)
    retriever = make_retriever(settings, store=store, exact=exact)
    return make_server(
        ServerParts(
            retriever=retriever,
            assistant=make_assistant(settings, retriever, stays=True),
            brief_writer=make_brief_writer(),
            lines=make_line_reader(settings, store),
            exact=exact,
            question=make_question,
            language=locale_language(),
        )
    )


def serve_mcp(settings: Settings) -> None:
    """Speak the protocol on stdin and stdout until the other side hangs up."""
    import anyio

    anyio.run(make_mcp_server(settings).run_stdio_async)


def serve_mcp_over_http(settings: Settings, port: int, announce: Callable[[str, int], None]) -> None:
    """Speak it over streamable HTTP, on this machine only, behind the same keys as the API.

    Raises:
        PortTakenError: Another program listens there.
    """
    import uvicorn

    from cervella_rag.api.connections import drop_silent_peers, patient_protocol
    from cervella_rag.api.middleware import Guard, RequestContext, TransferLimits
    from cervella_rag.bootstrap.server import listen

    listening = listen(HOST, port)
    drop_silent_peers(listening, settings.api.write_seconds)
    app = RequestContext(
        make_mcp_server(settings).streamable_http_app(host=HOST),
        guard=Guard.of(settings.api),
        limits=TransferLimits.of(settings.api),
        observe=lambda *_: None,
    )
    config = uvicorn.Config(
        app,
        http=patient_protocol(settings.api.read_seconds, settings.api.max_connections),
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    announce(HOST, port)
    uvicorn.Server(config).run(sockets=[listening])
