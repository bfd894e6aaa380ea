"""A search asks the server that is already running on this machine: its model is loaded, its index open.

Who serves says so in `CERVELLA_HOME/serving`, and holds a lock on that file while it lives: what a server
that was killed has left is not believed, and nobody else's port is asked. Whatever goes wrong, the search
is done here instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cervella_rag.domain import Question, Retrieval
    from cervella_rag.settings import Settings

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_WAIT_SECONDS = 3.0
"""Longest wait for a server; a search here takes about as long."""
_MOST_BYTES = 10_000_000
_GROUPS = {"memory", "chunking", "embedder", "redaction", "retrieval", "qdrant"}
"""Settings that decide what is found; keys of other programs are told by their hash alone."""


@contextmanager
def serving(settings: Settings, host: str, port: int) -> Iterator[None]:
    """Let searches find this server while it runs; where the home cannot say so, it serves all the same."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_file(settings), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield
        return
    with os.fdopen(descriptor, "r+") as file:
        with suppress(OSError):  # a second server of the same home is not told of
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            json.dump({"host": host, "port": port, "settings": _fingerprint(settings)}, file)
            file.flush()
        yield


def ask_server(settings: Settings, question: Question, top_k: int) -> Retrieval | None:
    """Return what the running server of this home finds, or None where the search is to be done here."""
    from cervella_rag.api.schemas import SearchResponse
    from cervella_rag.api.schemas_read import retrieval_of

    if (place := _find(settings)) is None:
        return None
    try:
        body = _post(settings, place, question, top_k)
        return retrieval_of(SearchResponse.model_validate_json(body), question) if body else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _find(settings: Settings) -> tuple[str, int] | None:
    """Return where a server of this home listens that searches as these settings say."""
    try:
        with _file(settings).open("rb") as file:
            if not _is_held(file.fileno()):
                return None
            told = json.load(file)
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or told.get("settings") != _fingerprint(settings):
        return None
    host, port = told.get("host"), told.get("port")
    return (host, port) if isinstance(host, str) and isinstance(port, int) else None


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _post(settings: Settings, place: tuple[str, int], question: Question, top_k: int) -> bytes | None:
    # Of the standard library: httpx takes longer to import than the server to answer.
    from http.client import HTTPConnection, HTTPException

    filters = {name: value for name, value in _filters(question).items() if value}
    asked = {"question": question.text, "top_k": top_k, "filters": filters}
    headers = {"content-type": "application/json"}
    if settings.api.keys:
        headers["x-api-key"] = next(iter(settings.api.keys.values())).get_secret_value()
    connection = HTTPConnection(*place, timeout=_WAIT_SECONDS)
    try:
        connection.request("POST", "/v1/search", json.dumps(asked), headers)
        answer = connection.getresponse()
        return answer.read(_MOST_BYTES) if answer.status == 200 else None
    except HTTPException:
        return None
    finally:
        connection.close()


def _filters(question: Question) -> dict[str, str | None]:
    from dataclasses import asdict

    return asdict(question.filters)


def _file(settings: Settings) -> Path:
    return settings.home / "serving"


def _fingerprint(settings: Settings) -> str:
    from cervella_rag import __version__
    from cervella_rag.messages import locale_language

    said = settings.model_dump_json(include=_GROUPS)
    return hashlib.sha256(f"{__version__}\0{locale_language()}\0{said}".encode()).hexdigest()
