"""The HTTP door: the application over shared parts, and the process that serves it."""

from __future__ import annotations

import ctypes
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cervella_rag.bootstrap.conversations import make_database
from cervella_rag.bootstrap.index import (
    find_roots,
    make_embedder,
    make_exact,
    make_indexer,
    make_retriever,
    make_store,
)
from cervella_rag.bootstrap.neighbour import LOOPBACK, serving
from cervella_rag.bootstrap.rooms import furnish
from cervella_rag.bootstrap.voices import make_assistant
from cervella_rag.errors import ExtraMissingError, HostRefusedError, PortTakenError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cervella_rag.api.tracing import Tracing
    from cervella_rag.domain import IndexReport
    from cervella_rag.protocols import VectorStore
    from cervella_rag.settings import Settings

_M_ARENA_MAX = -8
"""Of glibc's malloc.h."""
_SWITCH_SECONDS = 0.001
"""How long a search may compute while streams wait to be written; Python's own is five times that."""


def make_app(settings: Settings) -> FastAPI:
    """Return the HTTP application."""
    from cervella_rag.api.app import create_app
    from cervella_rag.api.jobs import IndexJobs

    embedder, store = make_embedder(settings), make_store(settings)
    exact = make_exact(settings, store)
    retriever = make_retriever(settings, embedder, store, exact)
    indexer = make_indexer(settings, embedder, store)
    jobs = IndexJobs(lambda progress: indexer.run(find_roots(settings, store=store), progress=progress))
    if settings.memory.watch:
        jobs.watch(lambda run, stop: _watch_in_server(settings, store, run, stop))
    database = make_database(settings, stays=True)
    assistant = make_assistant(settings, retriever, stays=True, database=database)
    tracing = _make_tracing(settings)
    app = create_app(settings.api, retriever, assistant, jobs, exact, embedder=embedder, tracing=tracing)
    furnish(app, settings, store, database)
    return app


def _make_tracing(settings: Settings) -> Tracing | None:
    if settings.log.otlp_url is None:
        return None
    try:
        from cervella_rag.api.tracing import Tracing
    except ImportError as error:
        raise ExtraMissingError(part="OpenTelemetry", extra="otel") from error
    return Tracing(settings.log.otlp_url)


def _watch_in_server(
    settings: Settings, store: VectorStore, run: Callable[[], IndexReport], stop: threading.Event
) -> None:
    import logging

    from cervella_rag.indexing.watcher import watch_roots

    log = logging.getLogger("cervella_rag.watch")
    watch_roots(
        find_roots(settings, store=store),
        run,
        stop=stop,
        tell=lambda report: log.info("generation %d, %d files", report.generation, report.documents),
        fail=lambda error: log.warning("%s", error),
    )


def serve(settings: Settings, *, host: str, port: int, announce: Callable[[str, int], None]) -> None:
    """Serve until told to stop.

    Raises:
        HostRefusedError: The address is not this machine's loopback, and there are no keys.
        PortTakenError: Another program listens there.
    """
    import ipaddress

    import uvicorn

    from cervella_rag.api.connections import (
        AnnouncedServer,
        drop_silent_peers,
        make_room,
        patient_protocol,
    )
    from cervella_rag.api.logs import configure as configure_logs

    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if not (address and address.is_loopback) and not settings.api.keys:
        raise HostRefusedError(host=host)
    listening = listen(host, port)
    drop_silent_peers(listening, settings.api.write_seconds)
    make_room(settings.api.max_connections)
    configure_logs(settings.log)
    shown = f"[{host}]" if ":" in host else host
    is_any = address is not None and address.is_unspecified  # which is no name that anybody calls
    hosts = [*settings.api.allowed_hosts, *([] if is_any else [shown])]
    api = settings.api.model_copy(update={"allowed_hosts": hosts})
    app = make_app(settings.model_copy(update={"api": api}))
    config = uvicorn.Config(
        app,
        http=patient_protocol(api.read_seconds, api.max_connections),
        ws="none",
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    _share_memory()
    near = host if address is None or not address.is_unspecified else LOOPBACK[address.version]
    with serving(settings, near, port):
        AnnouncedServer(config, lambda: announce(shown, port)).run(sockets=[listening])


def _share_memory() -> None:
    """Let all threads take memory from one pool: one each keeps what its thread has freed, 15 MB in all.

    Where the C library is not glibc there is nothing to set.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded, so that a taken one is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise PortTakenError(host=host, port=port, reason=error.strerror, other=port % 65535 + 1) from error
    return listening
