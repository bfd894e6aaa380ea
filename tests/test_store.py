"""What every vector store must do: the embedded engine, and a server by its client."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cervella_rag.domain import Chunk, Filters, Kind, Metadata, Point
from cervella_rag.errors import IndexLockedError, StoreError
from cervella_rag.memory.lexical import encode_document, encode_query
from cervella_rag.protocols import Manifest, Search, VectorStore
from cervella_rag.vectors.generations import EmbeddedStore

TEXTS = {
    "forno": ("Il forno a legna tiene sei ore", [1.0, 0.0]),
    "farina": ("La farina tipo 1 assorbe acqua", [0.0, 1.0]),
    "lievito": ("Il lievito va pesato", [0.6, 0.8]),
}
WINDOWS: dict[str, list[list[float]]] = {
    "forno": [[0.8, 0.6], [0.0, -1.0]],
    "farina": [],
    "lievito": [[1.0, 0.0]],
}
IDS = {name: f"00000000-0000-5000-8000-00000000000{number}" for number, name in enumerate(TEXTS)}
DATES = {"forno": "2026-01-10", "farina": "2026-01-08", "lievito": None}


def chunk(name: str, text: str) -> Chunk:
    kind = Kind.LESSON if name == "lievito" else Kind.RESEARCH
    metadata = Metadata(title=name, date=DATES[name], kind=kind, project="pizza", session="159e")
    return Chunk(IDS[name], "memory", f"cucina/{name}.md", (f"cucina/{name}.md", f"copie/{name}.md"),
                 "0" * 64, ("Cucina",), 3, 5, text, text, metadata)  # fmt: skip


def points() -> Iterator[Point]:
    for name, (text, vector) in TEXTS.items():
        parts = [vector, *WINDOWS[name]]
        yield Point(chunk(name, text), np.array(parts, np.float32), encode_document(text))


def manifest(generation: int) -> Manifest:
    return Manifest(1, generation, "test", 2, "350/50", {"memory": "/m"}, "2026-01-11T00:00:00+00:00", 3, 3)


def publish(store: VectorStore, generation: int = 1) -> None:
    with store.write() as writer:
        writer.begin(dimension=2, fresh=True)
        writer.upsert(points())
        writer.publish(manifest(generation))


def find(
    store: VectorStore, text: str, vector: tuple[float, float] | None = None, **filters: str
) -> list[str]:
    reader = store.read()
    assert reader is not None
    search = Search(encode_query(text), vector, Filters(**filters), 50, 10, 2)
    return [found.metadata.title for found, _ in reader.search(search)]


def test_is_absent_until_published(any_store: VectorStore) -> None:
    assert any_store.read() is None
    with any_store.write() as writer:
        writer.begin(dimension=2, fresh=True)
        writer.upsert(points())
        assert any_store.read() is None
    assert any_store.read() is None


def test_gives_back_what_was_put_in(any_store: VectorStore) -> None:
    publish(any_store)
    reader = any_store.read()
    assert reader is not None
    assert {found.chunk_id: found for found in reader.chunks()} == {
        point.chunk.chunk_id: point.chunk for point in points()
    }
    found = reader.vectors(list(IDS.values()))
    np.testing.assert_allclose(found[IDS["lievito"]], [[0.6, 0.8], [1.0, 0.0]], atol=1e-3)
    np.testing.assert_allclose(found[IDS["farina"]], [[0.0, 1.0]], atol=1e-6)


def test_fuses_words_and_meaning(any_store: VectorStore) -> None:
    publish(any_store)
    assert find(any_store, "farina") == ["farina"]
    assert find(any_store, "farina", (1.0, 0.0))[:2] == ["farina", "forno"]
    assert find(any_store, "Perché la FARINA?", (0.0, 1.0))[0] == "farina"


def test_scores_tell_which_list_found_a_hit(any_store: VectorStore) -> None:
    publish(any_store)
    reader = any_store.read()
    assert reader is not None
    search = Search(encode_query("lievito"), (1.0, 0.0), Filters(), 50, 10, 2)
    scores = {found.metadata.title: scores for found, scores in reader.search(search)}
    assert scores["lievito"].lexical
    assert scores["forno"].lexical is None
    assert scores["forno"].dense == pytest.approx(1.0)


def test_every_candidate_has_every_score_and_the_best_window_counts(any_store: VectorStore) -> None:
    publish(any_store)
    reader = any_store.read()
    assert reader is not None
    search = Search(encode_query("lievito"), (0.8, 0.6), Filters(), 50, 10, 2, windows=True)
    scores = {found.metadata.title: scores for found, scores in reader.search(search)}
    assert scores["forno"].window == pytest.approx(1.0, abs=1e-3)
    assert scores["lievito"].window == pytest.approx(0.8, abs=1e-3)
    assert scores["farina"].window is None
    assert scores["farina"].dense == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        ({"kind": "lesson"}, {"lievito"}),
        ({"project": "Pizza"}, {"forno", "farina", "lievito"}),
        ({"project": "pasta"}, set()),
        ({"session": "159"}, {"forno", "farina", "lievito"}),
        ({"session": "159e"}, {"forno", "farina", "lievito"}),
        ({"session": "15"}, set()),
        ({"since": "2026-01-09"}, {"forno"}),
        ({"since": "2026-01-08", "until": "2026-01-08"}, {"farina"}),
        ({"path_prefix": "copie/fo"}, {"forno"}),
    ],
)
def test_filters(any_store: VectorStore, filters: dict[str, str], titles: set[str]) -> None:
    publish(any_store)
    assert set(find(any_store, "forno farina lievito", (1.0, 1.0), **filters)) == titles


def test_a_published_generation_never_changes(any_store: VectorStore) -> None:
    publish(any_store)
    before = any_store.read()
    assert before is not None
    with any_store.write() as writer:
        writer.begin(dimension=2, fresh=False)
        writer.delete([IDS["forno"]])
        assert writer.count() == 2
        writer.publish(manifest(2))
    after = any_store.read()
    assert after is not None
    assert (len(list(before.chunks())), len(list(after.chunks()))) == (3, 2)
    assert after.manifest.generation == 2


def test_what_is_replaced_is_seen_with_its_generation(any_store: VectorStore) -> None:
    publish(any_store)
    before = any_store.read()
    moved = replace(chunk("forno", TEXTS["forno"][0]), path="altrove/forno.md")
    with any_store.write() as writer:
        writer.begin(dimension=2, fresh=False)
        writer.upsert([Point(moved, np.array([[1.0, 0.0]], np.float32), encode_document(moved.text))])
        assert before
        assert "altrove/forno.md" not in {found.path for found in before.chunks()}
        now = any_store.read()
        assert now
        assert "altrove/forno.md" not in {found.path for found in now.chunks()}
        writer.publish(manifest(2))
    after = any_store.read()
    assert after
    assert sorted(found.path for found in after.chunks()) == [
        "altrove/forno.md",
        "cucina/farina.md",
        "cucina/lievito.md",
    ]
    assert "altrove/forno.md" not in {found.path for found in before.chunks()}


def test_what_was_not_published_is_undone(any_store: VectorStore) -> None:
    publish(any_store)
    with any_store.write() as writer:
        writer.begin(dimension=2, fresh=False)
        writer.delete([IDS["forno"]])
        moved = replace(chunk("farina", "Tutt'altro"), path="altrove/farina.md")
        writer.upsert([Point(moved, np.array([[1.0, 0.0]], np.float32), encode_document(moved.text))])
    reader = any_store.read()
    assert reader
    assert {found.metadata.title for found in reader.chunks()} == set(TEXTS)
    with any_store.write() as writer:
        writer.begin(dimension=2, fresh=False)
        assert writer.count() == 3
        writer.publish(manifest(2))
    assert find(any_store, "altro") == []
    assert find(any_store, "forno") == ["forno"]


def test_a_rebuild_may_change_the_length_of_vectors(any_store: VectorStore) -> None:
    publish(any_store)
    before = any_store.read()
    assert before
    with any_store.write(afresh=True) as writer:
        writer.begin(dimension=3, fresh=True)
        writer.upsert(
            Point(point.chunk, np.array([[0.0, 0.6, 0.8]], np.float32), point.lexical) for point in points()
        )
        assert len(list(before.chunks())) == 3
        writer.publish(replace(manifest(2), dimension=3))
    assert len(list(before.chunks())) == 3  # somebody may still be reading it
    after = any_store.read()
    assert after
    vector = after.vectors([IDS["forno"]])[IDS["forno"]]
    np.testing.assert_allclose(vector, [[0.0, 0.6, 0.8]], rtol=1e-6)


def test_a_second_writer_is_told_who_writes(any_store: VectorStore) -> None:
    with (
        any_store.write(),
        pytest.raises(IndexLockedError, match=f"process {os.getpid()}"),
        any_store.write(),
    ):
        pass


def test_works_without_vectors(any_store: VectorStore) -> None:
    with any_store.write() as writer:
        writer.begin(dimension=0, fresh=True)
        writer.upsert(Point(point.chunk, None, point.lexical) for point in points())
        writer.publish(manifest(1))
    assert find(any_store, "lievito") == ["lievito"]


def test_finds_nothing_for_words_that_are_nowhere(any_store: VectorStore) -> None:
    publish(any_store)
    assert find(any_store, "astronave") == []
    assert find(any_store, "!?") == []


def test_answers_many_threads_at_once(any_store: VectorStore) -> None:
    publish(any_store)
    results: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: results.extend(find(any_store, "farina") for _ in range(20)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [["farina"]] * 160


def test_what_a_dead_writer_left_is_swept(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "index")
    publish(store)
    (tmp_path / "index" / "next-99999" / "shard").mkdir(parents=True)
    (tmp_path / "index" / "generations" / "000009").mkdir()  # moved there, but the pointer was not
    publish(store, 2)
    assert sorted(path.name for path in (tmp_path / "index" / "generations").iterdir()) == [
        "000001",
        "000002",
    ]
    assert not list((tmp_path / "index").glob("next-*"))


def test_opening_a_generation_does_not_disturb_a_writer(tmp_path: Path) -> None:
    publish(EmbeddedStore(tmp_path / "index"))
    is_over = threading.Event()
    failures: list[StoreError] = []

    def read() -> None:
        while not is_over.wait(0.02):  # opening holds the interpreter, and the writer needs it too
            try:
                EmbeddedStore(tmp_path / "index").read()
            except StoreError as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for generation in range(2, 8):
            with EmbeddedStore(tmp_path / "index").write() as writer:
                writer.begin(dimension=2, fresh=False)
                writer.publish(manifest(generation))
    finally:
        is_over.set()
        reader.join()
    assert failures == []
    assert not list((tmp_path / "index").glob("swept-*"))


@pytest.mark.parametrize("damage", ["{", "{}"])
def test_a_damaged_manifest_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    publish(EmbeddedStore(tmp_path / "index"))
    (tmp_path / "index/generations/000001/manifest.json").write_text(damage)
    with pytest.raises(StoreError, match=r"manifest\.json.*cervella index --rebuild"):
        EmbeddedStore(tmp_path / "index").read()


def test_a_generation_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    publish(EmbeddedStore(tmp_path / "index"))
    shutil.rmtree(tmp_path / "index/generations/000001/shard")
    with pytest.raises(StoreError, match="000001"):
        EmbeddedStore(tmp_path / "index").read()


@pytest.mark.parametrize("pointer", [b"", b"000007", b"\xff\xfe"])
def test_a_damaged_pointer_means_the_newest_generation(tmp_path: Path, pointer: bytes) -> None:
    publish(EmbeddedStore(tmp_path / "index"))
    (tmp_path / "index/current").write_bytes(pointer)
    reader = EmbeddedStore(tmp_path / "index").read()
    assert reader is not None
    assert reader.manifest.generation == 1
