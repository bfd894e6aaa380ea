"""The client of a Qdrant server, made and checked once, and what its errors mean."""

from __future__ import annotations

import json
import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import grpc
import stamina
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.common.version_check import is_compatible
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from cervella_rag.errors import (
    CervellaError,
    InvalidSettingError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
)
from cervella_rag.vectors.qdrant_layout import PLAIN, Layout

_PAGE = 1000
_PATIENCE_SECONDS = 2.0

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class QdrantOptions:
    """Where the server is and how it is spoken to.

    Attributes:
        collection: Alias of the current collection; others are named after it.
        key: "" for a server that asks for none.
        grpc_port: Port to speak gRPC to instead of HTTP, or None.
        ca_file: Certificates to trust instead of the system's.
        layout: Of the collections that are made.
    """

    url: str
    collection: str
    key: str
    grpc_port: int | None
    timeout_seconds: int
    ca_file: Path | None = None
    layout: Layout = PLAIN


def connect(options: QdrantOptions) -> QdrantClient:
    """Return a client; nothing is sent yet.

    Raises:
        InvalidSettingError: The file of certificates cannot be used.
    """
    trusted = _trusted(options.ca_file) if options.ca_file else {}
    with warnings.catch_warnings():
        # Between containers and on one machine there is no TLS, and no one to listen in.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=options.url,
            # Left alone, the client would ask an address without a port at 6333, behind a proxy's name too.
            port=443 if urlsplit(options.url).scheme == "https" else 6333,
            api_key=options.key or None,
            prefer_grpc=options.grpc_port is not None,
            grpc_port=options.grpc_port or 6334,
            timeout=options.timeout_seconds,
            check_compatibility=False,  # it only warns; `Wire` refuses
            **trusted,
        )


def _trusted(ca_file: Path) -> dict[str, Any]:
    """Return what makes HTTP and gRPC trust these certificates and no others."""
    try:
        context = ssl.create_default_context(cafile=ca_file.expanduser())
        return {
            "verify": context,
            "grpc_options": {"root_certificates": ca_file.expanduser().read_bytes()},
        }
    except OSError as error:  # what OpenSSL cannot read is one too
        raise InvalidSettingError(
            variable="CERVELLA_QDRANT__CA_FILE", value=ca_file, reason=error
        ) from error


class Wire:
    """The client, made and checked once, and what its errors mean."""

    def __init__(self, options: QdrantOptions, make: Callable[[QdrantOptions], QdrantClient]) -> None:
        self._options = options
        self._make = make
        self._client: QdrantClient | None = None
        self._lock = Lock()

    @property
    def layout(self) -> Layout:
        """How collections are laid out."""
        return self._options.layout

    @property
    def client(self) -> QdrantClient:
        """The client.

        Raises:
            StoreVersionError: It and the server are more than one minor version apart.
            StoreUnavailableError: Nothing that speaks Qdrant is there.
        """
        with self._lock:
            if self._client is None:
                self._client = self._checked(self._make(self._options))
            return self._client

    def _checked(self, client: QdrantClient) -> QdrantClient:
        try:
            theirs, ours = self.call(client.info).version, version("qdrant-client")
            if not is_compatible(ours, theirs):
                raise StoreVersionError(url=self._options.url, server=theirs, client=ours)
        except CervellaError:
            client.close()
            raise
        return client

    def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the client and map what it raises."""
        try:
            return method(*args, **kwargs)
        except (ApiException, QdrantException, grpc.RpcError, ValueError, RuntimeError, OSError) as error:
            raise self._mapped(error) from error

    def ask(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what only reads, once more where a server that restarts did not answer.

        One that keeps silent for longer than `_PATIENCE_SECONDS` is not waited for twice.
        """
        for attempt in stamina.retry_context(
            on=StoreUnavailableError, attempts=3, wait_initial=0.1, timeout=_PATIENCE_SECONDS
        ):
            with attempt:
                return self.call(method, *args, **kwargs)
        raise AssertionError  # the last attempt raises

    def aliased(self, alias: str) -> str | None:
        """Return the collection that an alias names, or None where there is no such alias."""
        aliases = self.ask(self.client.get_aliases).aliases
        return next((found.collection_name for found in aliases if found.alias_name == alias), None)

    def metadata(self, collection: str) -> dict[str, Any]:
        """Return a collection's own notes."""
        return self.ask(self.client.get_collection, collection).config.metadata or {}

    def set_metadata(self, collection: str, notes: dict[str, str]) -> None:
        """Change some of a collection's notes, all at once, and leave the others."""
        self.call(self.client.update_collection, collection, metadata=notes)

    def scroll(
        self, collection: str, these: models.Filter, with_vectors: list[str] | None = None
    ) -> Iterator[models.Record]:
        """Yield every point that matches."""
        offset: Any = None
        while True:
            records, offset = self.call(
                self.client.scroll,
                collection,
                these,
                limit=_PAGE,
                offset=offset,
                with_vectors=with_vectors or False,
            )
            yield from records
            if offset is None:
                return

    def _mapped(self, error: Exception) -> CervellaError:
        url = self._options.url
        status, reason = _told(error)
        if status in _REFUSED:
            return StoreRefusedError(url=url)
        if status in _PASSING:
            return StoreUnavailableError(url=url, reason=reason)
        return StoreError(reason=f"{url}: {reason}")


_REFUSED = (401, 403, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_PASSING = (
    *(429, 502, 503, 504),
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


def _told(error: Exception) -> tuple[object, str]:
    """Return the status of a failure and its reason; 503 where nothing that speaks Qdrant answered."""
    match error:
        case UnexpectedResponse():
            return error.status_code, f"{error.status_code} {_said(error.content)}"
        case ResourceExhaustedResponse():
            return 429, str(error)
        case ResponseHandlingException():
            return 503, str(error.source)
        case json.JSONDecodeError():
            return 503, "something else than Qdrant is there"
        case grpc.RpcError():
            code = getattr(error, "code", lambda: None)()
            return code, f"{code} {getattr(error, 'details', lambda: '')()}"
        case _:
            return None, str(error)


def _said(content: bytes) -> str:
    """Return what the server gave as its reason."""
    try:
        return str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace")
