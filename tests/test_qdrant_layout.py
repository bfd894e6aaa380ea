"""What a Qdrant cluster is told of a collection, and that it is told over TLS, HTTP and gRPC alike."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from qdrant_client import grpc as wire
from qdrant_client import models
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.grpc.points_service_pb2_grpc import PointsServicer, add_PointsServicer_to_server
from qdrant_client.grpc.qdrant_pb2_grpc import QdrantServicer, add_QdrantServicer_to_server

from cervella_rag import bootstrap
from cervella_rag.domain import Filters
from cervella_rag.errors import InvalidSettingError, StoreUnavailableError
from cervella_rag.memory.lexical import encode_query
from cervella_rag.protocols import Search
from cervella_rag.vectors.qdrant_layout import Layout
from cervella_rag.vectors.qdrant_reader import Reader
from cervella_rag.vectors.qdrant_server import QdrantStore, Writer
from cervella_rag.vectors.qdrant_wire import QdrantOptions, Wire, connect

from .conftest import server_options
from .qdrant_double import QdrantDouble, qdrant_double
from .test_store import find, manifest, publish

CLUSTER = Layout(6, 3, 2, quantisation="int8", oversampling=3.0, on_disk=True)


def store_of(double: QdrantDouble, lock: Path, layout: Layout) -> QdrantStore:
    return QdrantStore(replace(server_options(double.url), layout=layout), lock)


def search(text: str) -> Search:
    return Search(encode_query(text), (1.0, 0.0), Filters(), 50, 10, 2, windows=True)


def made(double: QdrantDouble) -> models.CreateCollection:
    """Return what the last collection was asked to be."""
    bodies = [
        body
        for asked, body in zip(double.requests, double.bodies, strict=True)
        if asked.startswith("PUT /collections/memoria_") and asked.count("/") == 2
    ]
    return models.CreateCollection.model_validate_json(bodies[-1])


def searched(double: QdrantDouble) -> list[models.QueryRequest]:
    """Return what the last search asked for."""
    asked = zip(double.requests, double.bodies, strict=True)
    body = [body for request, body in asked if request.endswith("/points/query/batch")][-1]
    return models.QueryRequestBatch.model_validate_json(body).searches


def test_a_collection_is_made_as_it_is_configured(tmp_path: Path) -> None:
    with qdrant_double() as double:
        store = store_of(double, tmp_path / "lock", CLUSTER)
        publish(store)
        asked = made(double)
        assert (asked.shard_number, asked.replication_factor) == (6, 3)
        assert asked.write_consistency_factor == 2
        assert isinstance(asked.vectors, dict)
        dense, windows = asked.vectors["dense"], asked.vectors["windows"]
        assert isinstance(dense.quantization_config, models.ScalarQuantization)
        scalar = dense.quantization_config.scalar
        assert (scalar.type, scalar.always_ram) == (models.ScalarType.INT8, True)
        assert (dense.on_disk, windows.on_disk) == (True, True)
        assert windows.quantization_config is None  # it is never searched
        assert find(store, "forno")[0] == "forno"


def test_quantised_vectors_find_and_whole_ones_score(tmp_path: Path) -> None:
    with qdrant_double() as double:
        store = store_of(double, tmp_path / "lock", Layout(quantisation="binary", oversampling=4.0))
        publish(store)
        assert isinstance(made(double).vectors, dict)
        quantised = made(double).vectors["dense"].quantization_config  # type: ignore[index]
        assert isinstance(quantised, models.BinaryQuantization)
        reader = store.read()
        assert reader
        reader.search(search("forno"))
        for request in searched(double):
            assert isinstance(request.prefetch, list)
            prefetch = {part.using: part.params for part in request.prefetch}
            found = prefetch["dense"] and prefetch["dense"].quantization
            assert found
            assert (found.rescore, found.oversampling) == (True, 4.0)
            assert prefetch["lexical"] is None
            if request.using == "dense":
                assert request.params
                assert request.params.quantization
                assert request.params.quantization.ignore


def test_without_a_word_of_it_the_server_chooses(tmp_path: Path) -> None:
    with qdrant_double() as double:
        store = store_of(double, tmp_path / "lock", Layout())
        publish(store)
        asked = made(double)
        assert isinstance(asked.vectors, dict)
        assert asked.shard_number is asked.replication_factor is asked.write_consistency_factor is None
        assert all(
            params.quantization_config is None and params.on_disk is None
            for params in asked.vectors.values()
        )
        reader = store.read()
        assert reader
        reader.search(search("forno"))
        assert all(request.params is None for request in searched(double))


def test_what_a_server_refuses_the_settings_refuse_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SHARDS": "0", "OVERSAMPLING": "0.5", "WRITE_CONSISTENCY": "2"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(f"CERVELLA_QDRANT__{name}", value)
            with pytest.raises(InvalidSettingError, match="CERVELLA_QDRANT"):
                bootstrap.load_settings()
    monkeypatch.setenv("CERVELLA_QDRANT__REPLICAS", "3")
    monkeypatch.setenv("CERVELLA_QDRANT__WRITE_CONSISTENCY", "2")
    assert bootstrap.load_settings().qdrant.write_consistency == 2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of one's own."""
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Files of the authority, of the server's certificate and of its key."""
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "certificate.pem", "key.pem"))
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(ca)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return ca, certificate, key


def test_https_with_a_ca_of_ones_own(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, certificate, key = files
    with qdrant_double(key="segreta", tls=(str(certificate), str(key))) as double:
        given = {
            "URL": double.url,
            "KEY": "segreta",
            "CA_FILE": str(ca),
            "COLLECTION": "memoria",
            "SHARDS": "2",
            "QUANTISATION": "int8",
        }
        for name, value in given.items():
            monkeypatch.setenv(f"CERVELLA_QDRANT__{name}", value)
        store = bootstrap.make_store(bootstrap.load_settings())
        publish(store)
        assert find(store, "forno")[0] == "forno"
        assert made(double).shard_number == 2
        monkeypatch.delenv("CERVELLA_QDRANT__CA_FILE")
        with pytest.raises(StoreUnavailableError, match=r"(?i)certificate"):
            bootstrap.make_store(bootstrap.load_settings()).read()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_none_is_told(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(InvalidSettingError, match="CERVELLA_QDRANT__CA_FILE"):
        connect(replace(server_options("https://127.0.0.1:1"), ca_file=file))


class Recorder(QdrantServicer, CollectionsServicer, PointsServicer):
    """Takes down what comes over gRPC, and with which key."""

    def __init__(self) -> None:
        self.keys: set[Any] = set()
        self.created: list[Any] = []
        self.searched: list[Any] = []

    def HealthCheck(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Say which version this is."""
        return wire.HealthCheckReply(title="qdrant", version="1.20.0")

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the protocol's
        """Take a collection down."""
        self.keys.add(dict(context.invocation_metadata()).get("api-key"))
        self.created.append(request)
        return wire.CollectionOperationResponse(result=True)

    def CreateFieldIndex(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Say that it is done."""
        return wire.PointsOperationResponse(
            result=wire.UpdateResult(operation_id=1, status=wire.UpdateStatus.Completed)
        )

    def QueryBatch(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Find nothing."""
        self.searched.append(request)
        return wire.QueryBatchResponse(result=[wire.BatchResult() for _ in request.query_points])


def _add(add: Any, recorder: Recorder, server: Any) -> None:
    add(recorder, server)  # generated code has no types


@contextmanager
def grpc_server(certificate: Path, key: Path) -> Iterator[tuple[Recorder, int]]:
    """Serve a recorder over TLS; yield it and its port."""
    recorder, server = Recorder(), grpc.server(ThreadPoolExecutor(2))
    for add in (
        add_QdrantServicer_to_server,
        add_CollectionsServicer_to_server,
        add_PointsServicer_to_server,
    ):
        _add(add, recorder, server)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield recorder, port
    finally:
        server.stop(None).wait()


def test_grpc_carries_the_same_over_tls_with_the_key(files: tuple[Path, Path, Path]) -> None:
    ca, certificate, key = files
    with grpc_server(certificate, key) as (recorder, port):
        url = "https://127.0.0.1:1"  # nothing is said over HTTP
        options = QdrantOptions(url, "memoria", "segreta", port, 5, ca_file=ca, layout=CLUSTER)
        over = Wire(options, connect)
        assert over.client.info().version == "1.20.0"
        Writer(over, "memoria", lambda: None)._create(2)
        Reader(over, "memoria_1", manifest(1)).search(search("forno"))
        over.client.close()
    [asked] = recorder.created
    assert recorder.keys == {"segreta"}
    assert (asked.shard_number, asked.replication_factor, asked.write_consistency_factor) == (6, 3, 2)
    dense = asked.vectors_config.params_map.map["dense"]
    assert dense.quantization_config.scalar.always_ram
    assert dense.on_disk
    [batch] = recorder.searched
    parts = {part.using: part.params for part in batch.query_points[0].prefetch}
    assert parts["dense"].quantization.oversampling == 3.0
