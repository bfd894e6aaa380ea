"""What only a server can do wrong, and what its collections look like to other tools."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cervella_rag.domain import Point
from cervella_rag.errors import (
    CervellaError,
    IndexLockedError,
    IndexOvertakenError,
    StoreError,
    StoreNameTakenError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
)
from cervella_rag.memory.lexical import encode_document
from cervella_rag.vectors import qdrant_lease
from cervella_rag.vectors.qdrant_server import QdrantStore
from cervella_rag.vectors.qdrant_wire import QdrantOptions, connect

from .conftest import server_options
from .qdrant_double import QdrantDouble, qdrant_double
from .test_store import IDS, TEXTS, chunk, find, manifest, points, publish


@pytest.fixture
def double() -> Iterator[QdrantDouble]:
    with qdrant_double() as double:
        yield double


@pytest.fixture
def store(double: QdrantDouble, tmp_path: Path) -> QdrantStore:
    return QdrantStore(server_options(double.url), tmp_path / "lock")


def names(double: QdrantDouble) -> list[str]:
    """Names of the collections, without what makes them unique."""
    found = double.local.get_collections().collections
    return sorted(re.sub(r"_[0-9a-f]{8}$", "", collection.name) for collection in found)


def titles(store: QdrantStore) -> set[str]:
    reader = store.read()
    assert reader
    return {found.metadata.title for found in reader.chunks()}


def test_other_tools_find_their_way(store: QdrantStore, double: QdrantDouble) -> None:
    publish(store)
    # Asked as any other program would: by the alias.
    records, _ = double.local.scroll("memoria", with_vectors=False)
    payload = next(record.payload or {} for record in records if (record.payload or {})["title"] == "forno")
    assert payload["text"] == TEXTS["forno"][0]
    assert (payload["source"], payload["path"]) == ("memory/cucina/forno.md", "cucina/forno.md")
    assert payload["lines"] == "3-5"


def test_a_replaced_collection_is_removed_a_run_later(store: QdrantStore, double: QdrantDouble) -> None:
    publish(store)
    double.local.create_collection("memoria_di_altri", {})
    publish(store, 2)
    assert names(double) == ["memoria_000001", "memoria_000002", "memoria_di_altri"]
    publish(store, 3)
    assert names(double) == ["memoria_000002", "memoria_000003", "memoria_di_altri"]


def test_what_a_dead_writer_left_is_undone(
    store: QdrantStore, tmp_path: Path, double: QdrantDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store)
    dying = QdrantStore(server_options(double.url), tmp_path / "lock of another life")
    monkeypatch.setattr(qdrant_lease, "_LIFE_SECONDS", 0)
    with dying.write() as writer:
        writer.begin(dimension=2, fresh=False)
        writer.delete([IDS["lievito"]])
        moved = replace(chunk("forno", "Il forno nuovo"), path="altrove/forno.md")
        writer.upsert([Point(moved, np.array([[1.0, 0.0]], np.float32), encode_document(moved.text))])
        writer.discard = lambda: None  # type: ignore[method-assign]  # killed here
    reader = store.read()
    assert reader
    assert {found.text for found in reader.chunks()} == {text for text, _ in TEXTS.values()}
    with store.write() as writer:
        writer.begin(dimension=2, fresh=False)
        writer.delete([IDS["farina"]])
        writer.publish(manifest(2))
    after = store.read()
    assert after
    assert {found.metadata.title for found in after.chunks()} == {"forno", "lievito"}
    assert find(store, "nuovo") == []


def test_points_that_ended_are_removed_a_run_later(store: QdrantStore, double: QdrantDouble) -> None:
    publish(store)
    for generation, name in ((2, "forno"), (3, "farina")):
        with store.write() as writer:
            writer.begin(dimension=2, fresh=False)
            writer.delete([IDS[name]])
            writer.publish(manifest(generation))
    assert names(double) == ["memoria_000001"]
    assert double.local.count("memoria").count == 2  # one is live, one somebody may be reading


def begun(store: QdrantStore, *, fresh: bool = False) -> tuple[ExitStack, Any]:
    """Return a writer that has begun, and what ends it."""
    stack = ExitStack()
    writer = stack.enter_context(store.write())
    writer.begin(dimension=2, fresh=fresh)
    return stack, writer


@pytest.fixture
def elsewhere(double: QdrantDouble, tmp_path: Path) -> QdrantStore:
    """The same server, from another machine."""
    return QdrantStore(server_options(double.url), tmp_path / "lock of another machine")


def test_two_machines_do_not_write_at_once(store: QdrantStore, elsewhere: QdrantStore) -> None:
    publish(store)
    stack, writer = begun(store)
    writer.delete([IDS["forno"]])
    with elsewhere.write() as other, pytest.raises(IndexLockedError, match=f"process {os.getpid()}"):
        other.begin(dimension=2, fresh=False)
    writer.publish(manifest(2))
    stack.close()
    assert titles(elsewhere) == {"farina", "lievito"}


@pytest.mark.parametrize("fresh", [True, False])
def test_a_run_that_was_overtaken_changes_nothing(
    store: QdrantStore, elsewhere: QdrantStore, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store)
    stack, writer = begun(store, fresh=fresh)
    writer.upsert(points())
    monkeypatch.setattr(qdrant_lease, "_LIFE_SECONDS", 0)  # taken for dead
    with elsewhere.write() as other:
        other.begin(dimension=2, fresh=False)
        other.delete([IDS["forno"]])
        other.publish(manifest(2))
    with pytest.raises((IndexOvertakenError, IndexLockedError)):
        writer.publish(manifest(2))
    stack.close()
    assert titles(store) == {"farina", "lievito"}


def test_a_writer_that_lost_its_claim_stops_before_its_next_batch(
    store: QdrantStore, elsewhere: QdrantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store)
    stack, writer = begun(store)
    monkeypatch.setattr(qdrant_lease, "_LIFE_SECONDS", 0)
    other_stack, other = begun(elsewhere)
    with pytest.raises(IndexLockedError):
        writer.upsert(points())
    stack.close()
    other.delete([IDS["forno"]])
    other.publish(manifest(2))
    other_stack.close()
    assert titles(store) == {"farina", "lievito"}


def test_a_rebuild_elsewhere_is_not_swept_away(store: QdrantStore, elsewhere: QdrantStore) -> None:
    publish(store)
    stack, writer = begun(elsewhere, fresh=True)
    writer.upsert(points())
    publish(store, 2)
    with pytest.raises(IndexOvertakenError):
        writer.publish(manifest(2))
    stack.close()
    assert titles(store) == set(TEXTS)


@pytest.mark.parametrize(
    ("fresh", "lost"), [(True, "POST /collections/aliases"), (False, "PATCH /collections/")]
)
def test_a_publication_whose_answer_is_lost_stays(
    store: QdrantStore, double: QdrantDouble, fresh: bool, lost: str
) -> None:
    publish(store)
    stack, writer = begun(store, fresh=fresh)
    writer.delete([IDS["forno"]])
    writer.upsert(point for point in points() if point.chunk.chunk_id != IDS["forno"])
    double.deaf = lost
    with pytest.raises(StoreUnavailableError):
        writer.publish(manifest(2))
    stack.close()
    reader = store.read()
    assert reader
    assert reader.manifest.generation == 2
    assert titles(store) == {"farina", "lievito"}


def test_a_name_that_is_taken_is_told_before_the_work(store: QdrantStore, double: QdrantDouble) -> None:
    double.local.create_collection("memoria", {})
    with store.write() as writer, pytest.raises(StoreNameTakenError, match="CERVELLA_QDRANT__COLLECTION"):
        writer.begin(dimension=2, fresh=True)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://127.0.0.1:7000", "http://127.0.0.1:7000"),
        ("http://qdrant", "http://qdrant:6333"),
        ("https://qdrant.example", "https://qdrant.example:443"),
    ],
)
def test_an_address_without_a_port_means_the_usual_one(url: str, asked: str) -> None:
    client = connect(QdrantOptions(url, "memoria", "", None, 2))
    assert client._client.rest_uri == asked  # type: ignore[attr-defined]  # nothing else tells without a server
    client.close()


@pytest.mark.parametrize("version", ["1.18.2", "1.22.0", "2.0.0"])
def test_a_distant_version_is_refused(tmp_path: Path, version: str) -> None:
    with qdrant_double(version=version) as double:
        store = QdrantStore(server_options(double.url), tmp_path / "lock")
        with pytest.raises(StoreVersionError, match=rf"version {version}, the client 1\.20"):
            store.read()
        double.version = "1.21.4"  # updated, and asked again
        assert store.read() is None


@pytest.mark.parametrize("key", ["", "un'altra"])
def test_a_wrong_key_names_the_setting(tmp_path: Path, key: str) -> None:
    with qdrant_double(key="segreta") as double:
        store = QdrantStore(server_options(double.url, key), tmp_path / "lock")
        with pytest.raises(StoreRefusedError, match="CERVELLA_QDRANT__KEY"):
            store.read()


@pytest.mark.parametrize(
    ("fault", "expected", "said"),
    [
        ("slow", StoreUnavailableError, "timed out"),
        ("html", StoreUnavailableError, "does not answer"),
        ("overloaded", StoreUnavailableError, "503 Service internal error: too many requests"),
    ],
)
def test_faults_are_told_in_time(
    store: QdrantStore, double: QdrantDouble, fault: str, expected: type[CervellaError], said: str
) -> None:
    publish(store)
    double.fault = fault
    started = time.monotonic()
    with pytest.raises(expected, match=said):
        store.read()
    assert time.monotonic() - started < 5
    double.fault = ""
    assert store.read()


@pytest.mark.parametrize("grpc_port", [None, 1])
def test_a_server_that_is_not_there_is_told_in_time(tmp_path: Path, grpc_port: int | None) -> None:
    store = QdrantStore(server_options("http://127.0.0.1:1", grpc_port=grpc_port), tmp_path / "lock")
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1.*CERVELLA_QDRANT__URL"):
        store.read()
    assert time.monotonic() - started < 5


def test_a_writer_that_loses_the_server_leaves_the_old_generation(
    store: QdrantStore, double: QdrantDouble
) -> None:
    publish(store)
    with store.write() as writer:
        writer.begin(dimension=2, fresh=False)
        writer.delete([IDS["forno"]])
        double.fault = "overloaded"
        with pytest.raises(StoreUnavailableError):
            writer.upsert(points())
    double.fault = ""
    assert find(store, "forno") == ["forno"]


def test_a_damaged_manifest_is_repaired_by_a_rebuild(store: QdrantStore, double: QdrantDouble) -> None:
    publish(store)
    double.local.update_collection("memoria", metadata={"cervella": "{"})
    with pytest.raises(StoreError, match=r"memoria_000001.*cervella index --rebuild"):
        store.read()
    with store.write(afresh=True) as writer:
        writer.begin(dimension=2, fresh=True)
        writer.upsert(points())
        writer.publish(manifest(writer.generation))
    assert find(store, "forno") == ["forno"]


def test_grpc_is_spoken_where_a_port_is_given() -> None:
    client = connect(QdrantOptions("http://127.0.0.1:6333", "memoria", "", 6334, 2))
    assert client._client._prefer_grpc  # type: ignore[attr-defined]  # nothing else tells without a server
    client.close()
