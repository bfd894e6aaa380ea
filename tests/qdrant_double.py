"""A Qdrant server for tests: the real HTTP interface over the client's own local engine.

What the local engine leaves out is added here, as the server does it: envelopes, keys, versions, missing
and existing collections, and faults.

Reference: https://api.qdrant.tech/api-reference (1.20)
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models


class QdrantDouble:
    """State of the double; a test changes `key`, `version` and `fault` while it runs.

    Attributes:
        key: Key that is asked for, "" for none.
        fault: "slow", "html", "overloaded" or "" for none; of every path but `/`.
        failing: Beginning of a method and path that is refused for want of resources.
        deaf: Beginning of a method and path that is done and never answered, once.
        requests: Method and path of everything that was asked.
        bodies: What came with it, in the same order.
    """

    def __init__(self, key: str = "", version: str = "1.20.0") -> None:
        self.key = key
        self.version = version
        self.fault = ""
        self.deaf = ""
        self.failing = ""
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.url = ""
        self.local = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, body: bytes) -> Response:
        """Return what the server would."""
        self.requests.append(f"{method} {path}")
        self.bodies.append(body)
        if path == "/":
            return JSONResponse({"title": "qdrant - vector search engine", "version": self.version})
        if self.fault == "slow":
            time.sleep(3)
        if path == "/readyz" and not self.fault:
            return Response("all shards are ready", media_type="text/plain")
        if self.fault == "html":
            return HTMLResponse("<h1>It works!</h1>")
        if self.fault == "overloaded" or (self.failing and f"{method} {path}".startswith(self.failing)):
            return _failed(503, "Service internal error: too many requests in flight")
        with self._lock:
            answer = self._locked(method, path.strip("/").split("/"), body)
        if self.deaf and f"{method} {path}".startswith(self.deaf):
            self.deaf = ""
            time.sleep(3)
        return answer

    def _locked(self, method: str, parts: list[str], body: bytes) -> Response:
        try:
            return _succeeded(self._result(method, parts, body))
        except KeyError as missing:
            return _failed(404, f"Not found: Collection `{missing.args[0]}` doesn't exist!")
        except FileExistsError as existing:
            return _failed(409, f"Wrong input: Collection `{existing}` already exists!")
        except ValidationError as wrong:
            return _failed(400, f"Format error in JSON body: {wrong.errors()[0]['msg']}")
        except OverflowError as wrong:
            return _failed(422, f"Validation error in JSON body: {wrong}")
        except ValueError as wrong:
            return _failed(400, f"Wrong input: {wrong}")

    def _result(self, method: str, parts: list[str], body: bytes) -> Any:
        match method, *parts:
            case "GET", "aliases":
                return self.local.get_aliases()
            case "GET", "collections":
                return self.local.get_collections()
            case "POST", "collections", "aliases":
                actions = models.ChangeAliasesOperation.model_validate_json(body).actions
                return self.local.update_collection_aliases(actions)
            case _, "collections", name, *rest:
                if (method, rest) != ("PUT", []) and not self.local.collection_exists(name):
                    if method == "DELETE":
                        return False
                    raise KeyError(name)
                return self._of_collection(f"{method} {'/'.join(rest)}", name, body)
        raise KeyError("/".join(parts))

    def _of_collection(self, operation: str, name: str, body: bytes) -> Any:
        if operation == "PUT " and self.local.collection_exists(name):
            raise FileExistsError(name)
        model, call = _OPERATIONS[operation]
        return call(self.local, name, TypeAdapter(model).validate_json(body) if model else None)


def _create(local: QdrantClient, name: str, asked: models.CreateCollection) -> bool:
    for field in ("shard_number", "replication_factor", "write_consistency_factor"):
        if (given := getattr(asked, field)) is not None and given < 1:
            raise OverflowError(f"{field}: value {given} invalid, must be 1 or larger")
    for params in asked.vectors.values() if isinstance(asked.vectors, dict) else ():
        quantised = params.quantization_config
        if isinstance(quantised, models.ScalarQuantization) and not (
            0.5 <= (quantised.scalar.quantile or 1) <= 1
        ):
            raise OverflowError("quantile: value invalid, must be from 0.5 to 1.0")
    return local.create_collection(
        name, asked.vectors or {}, sparse_vectors_config=asked.sparse_vectors, metadata=asked.metadata
    )


def _query(local: QdrantClient, name: str, asked: models.QueryRequestBatch) -> Any:
    for search in asked.searches:
        prefetch = search.prefetch if isinstance(search.prefetch, list) else [search.prefetch]
        for params in (search.params, *(part.params for part in prefetch if part)):
            quantised = params.quantization if params else None
            if quantised and quantised.oversampling is not None and quantised.oversampling < 1:
                raise OverflowError("oversampling: value invalid, must be 1.0 or larger")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Local mode performs exact")  # and finds the same
        return local.query_batch_points(name, asked.searches)


def _scroll(local: QdrantClient, name: str, asked: models.ScrollRequest) -> Any:
    records, following = local.scroll(
        name,
        asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        with_payload=asked.with_payload if asked.with_payload is not None else True,
        with_vectors=asked.with_vector or False,
    )
    return {"points": records, "next_page_offset": following}


def _upsert(local: QdrantClient, name: str, asked: models.PointsList) -> Any:
    return local.upsert(name, asked.points)


def _delete(local: QdrantClient, name: str, asked: models.PointsSelector) -> Any:
    return local.delete(name, asked)


def _set_payload(local: QdrantClient, name: str, asked: models.SetPayload) -> Any:
    assert asked.filter
    return local.set_payload(name, asked.payload, asked.filter)


def _index(local: QdrantClient, name: str, asked: models.CreateFieldIndex) -> Any:
    return {"operation_id": 1, "status": "completed"}  # the local engine has none, and finds the same


_OPERATIONS: dict[str, tuple[Any, Callable[[QdrantClient, str, Any], Any]]] = {
    "GET ": (None, lambda local, name, _: local.get_collection(name)),
    "PUT ": (models.CreateCollection, _create),
    "DELETE ": (None, lambda local, name, _: local.delete_collection(name)),
    "PATCH ": (
        models.UpdateCollection,
        lambda local, name, asked: local.update_collection(name, metadata=asked.metadata),
    ),
    "PUT index": (models.CreateFieldIndex, _index),
    "PUT points": (models.PointsList, _upsert),
    "POST points/delete": (models.PointsSelector, _delete),
    "POST points/payload": (models.SetPayload, _set_payload),
    "POST points/scroll": (models.ScrollRequest, _scroll),
    "POST points/query/batch": (models.QueryRequestBatch, _query),
    "POST points/count": (
        models.CountRequest,
        lambda local, name, asked: local.count(name, asked.filter, exact=asked.exact),
    ),
}


def _succeeded(result: Any) -> Response:
    body = {"result": TypeAdapter(Any).dump_python(result, mode="json"), "status": "ok", "time": 0.001}
    return JSONResponse(body)


def _failed(status: int, error: str) -> Response:
    return JSONResponse({"status": {"error": error}, "time": 0.0}, status)


@contextmanager
def qdrant_double(
    key: str = "",
    version: str = "1.20.0",
    again: QdrantDouble | None = None,
    tls: tuple[str, str] | None = None,
) -> Iterator[QdrantDouble]:
    """Serve a double on a free port of the loopback, or one that was served before where it was.

    Args:
        key: Key that is asked for.
        version: What it says it is.
        again: A double that was served before.
        tls: Files of certificate and key, for https.
    """
    double = again or QdrantDouble(key, version)
    port = int(again.url.rpartition(":")[2]) if again else 0
    app = FastAPI()

    @app.middleware("http")
    async def answer(request: Request, _: object) -> Response:
        body = await request.body()
        if (
            double.key
            and request.url.path not in {"/", "/readyz"}
            and request.headers.get("api-key") != double.key
        ):
            return _failed(401, "Must provide an API key or an Authorization bearer token")
        path = request.url.path
        return await to_thread.run_sync(double.answer, request.method, path, body)

    certificate, private = tls or (None, None)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            log_level="critical" if tls else "error",
            lifespan="off",
            ssl_certfile=certificate,
            ssl_keyfile=private,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        double.url = f"http{'s' if tls else ''}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield double
    finally:
        server.should_exit = True
        thread.join()
