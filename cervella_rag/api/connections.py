"""Connections before there is a request: how long one may say nothing, and how many there may be.

The server's library waits for ever for a request to be whole, and for as many connections as the
machine has numbers for. What comes after the head of a request is the middleware's.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger(__name__)

_OTHER_FILES = 200
"""Of the index, of conversations, of connections to models."""


def patient_protocol(seconds: float, most: int) -> type[H11Protocol]:
    """Return the protocol of a server's connections.

    Args:
        seconds: Longest wait for a request's head to be whole.
        most: Connections at once; beyond, the one that has been idle longest is closed.
    """
    idle: dict[H11Protocol, asyncio.TimerHandle] = {}  # in the order in which they fell idle

    class PatientProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                _log.warning("more than %d connections: one is closed", most)
                _drop(next(iter(idle), self))
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Start the clock where no request is under way; a piece of a head does not stop it."""
            if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
                self._forget()
            elif self not in idle:
                idle[self] = self.loop.call_later(seconds, self._give_up)

        def _give_up(self) -> None:
            _log.info("a connection said nothing whole for %s s", seconds)
            _drop(self)

        def _forget(self) -> None:
            if timer := idle.pop(self, None):
                timer.cancel()

    return PatientProtocol


def _drop(connection: H11Protocol) -> None:
    transport: Any = connection.transport
    transport.abort()


class AnnouncedServer(uvicorn.Server):
    """Says that it serves once it does, and Ctrl-C is its own: before, a library may make an error of it.

    Args:
        config: Of the server.
        announce: Called once.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()


def drop_silent_peers(listening: socket.socket, seconds: float) -> None:
    """Let the kernel end a connection whose peer takes nothing of what was sent, where it can (Linux)."""
    if option := getattr(socket, "TCP_USER_TIMEOUT", None):
        listening.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))


def make_room(connections: int) -> None:
    """Let this process open as many files as that many connections need, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
