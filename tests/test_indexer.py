"""The index is the folders' image: what a change adds, keeps, moves, retires."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Chunk
from cervella_rag.errors import (
    EmbedderError,
    IndexLockedError,
    IndexMismatchError,
    MemoryEmptyError,
    StoreError,
)
from cervella_rag.indexing.indexer import Indexer
from cervella_rag.memory.sources import name_roots
from cervella_rag.protocols import StoreReader, Vectors
from cervella_rag.settings import Settings
from cervella_rag.vectors.generations import EmbeddedStore

from .conftest import HashEmbedder, Index, make_indexer

DECISION = "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"


def reader(store: EmbeddedStore) -> StoreReader:
    found = store.read()
    assert found is not None
    return found


def chunks(store: EmbeddedStore, path: str) -> list[Chunk]:
    return [chunk for chunk in reader(store).chunks() if path in chunk.paths]


def test_indexes_every_file_with_its_vectors(index: Index, january: Path, store: EmbeddedStore) -> None:
    report = index(january)
    assert (report.added, report.documents, report.generation) == (8, 8, 1)
    assert report.embedded == report.chunks == len(list(reader(store).chunks()))
    ids = [chunk.chunk_id for chunk in reader(store).chunks()]
    assert set(reader(store).vectors(ids)) == set(ids)


def test_exact_copies_are_one_document_with_many_paths(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    (chunk,) = chunks(store, "idee/copia_impasti.md")
    assert chunk.paths == ("idee/copia_impasti.md", "archivio/2026-01/sessioni/SESSIONE_141_IMPASTI.md")


def test_a_second_run_changes_and_embeds_nothing(index: Index, january: Path) -> None:
    index(january)
    report = index(january)
    assert (report.unchanged, report.embedded, report.generation) == (8, 0, 1)


def test_an_edit_embeds_only_the_chunks_it_changed(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    note = january / "nota.md"
    note.write_text("# Uno\n\n" + "Parola. " * 120 + "\n\n# Due\n\nCoda.\n")
    index(january)
    note.write_text(note.read_text().replace("Coda.", "Coda nuova."))
    report = index(january)
    assert (report.changed, report.unchanged, report.embedded) == (1, 8, 1)
    assert "Coda nuova." in " ".join(chunk.text for chunk in chunks(store, "nota.md"))


def test_an_edit_above_moves_lines_without_embedding(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    path = january / DECISION
    path.write_text("\n\n" + path.read_text())
    report = index(january)
    assert (report.changed, report.embedded) == (1, 0)
    assert chunks(store, DECISION)[0].start_line == 3


def test_a_moved_file_keeps_its_vectors(index: Index, january: Path, store: EmbeddedStore) -> None:
    index(january)
    (january / "archivio/decisioni").mkdir()
    shutil.move(january / DECISION, january / "archivio/decisioni")
    report = index(january)
    assert (report.moved, report.retired, report.embedded) == (1, 0, 0)
    assert chunks(store, DECISION) == []
    assert chunks(store, "archivio/decisioni/20260110_SCELTA_DEL_FORNO.md")


def test_a_deleted_file_is_retired_and_stays(index: Index, january: Path, store: EmbeddedStore) -> None:
    index(january)
    (january / DECISION).unlink()
    report = index(january)
    assert (report.retired, report.documents, report.embedded) == (1, 7, 0)
    assert all(chunk.retired for chunk in chunks(store, DECISION))
    assert index(january).retired == 0


def test_a_retired_file_that_returns_is_live_again(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    text = (january / DECISION).read_text()
    (january / DECISION).unlink()
    index(january)
    (january / DECISION).write_text(text)
    report = index(january)
    assert (report.added, report.embedded) == (1, 0)
    assert not any(chunk.retired for chunk in chunks(store, DECISION))


def test_a_rebuild_carries_retired_documents_over(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    (january / DECISION).unlink()
    index(january)
    report = index(january, rebuild=True)
    assert report.embedded == report.chunks
    assert all(chunk.retired for chunk in chunks(store, DECISION))


def test_a_file_that_cannot_be_read_any_more_keeps_what_is_known(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    (january / DECISION).write_bytes(b"\0")
    report = index(january)
    assert ([refused.path for refused in report.refused], report.retired) == ([DECISION], 0)
    assert not any(chunk.retired for chunk in chunks(store, DECISION))


def test_a_rebuild_keeps_what_is_known_of_a_file_that_cannot_be_read(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    (january / DECISION).write_bytes(b"\0")
    assert index(january, rebuild=True).documents == 8
    assert chunks(store, DECISION)


def test_a_retired_version_and_its_successor_may_share_a_passage(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    shared = "# Comune\n\n" + "Una frase che resta. " * 45 + "\n\n# Diverso\n\n"
    (january / "a.md").write_text(shared + "uno" + " parola" * 60)
    (january / "b.md").write_text(shared + "uno" + " parola" * 60)
    index(january)
    (january / "a.md").write_text(shared + "due" + " parola" * 60)
    (january / "b.md").unlink()
    for rebuild in (False, True):
        index(january, rebuild=rebuild)
        live = [chunk for chunk in chunks(store, "a.md") if not chunk.retired]
        old = [chunk for chunk in chunks(store, "b.md") if chunk.retired]
        assert min(chunk.start_line for chunk in live) == 1
        assert len(live) == len(old) == 2


def test_a_root_does_not_decide_about_the_files_of_another(
    index: Index, tmp_path: Path, store: EmbeddedStore
) -> None:
    for name in ("uno", "due"):
        (tmp_path / name).mkdir()
        for file in ("note.md", "altro.md"):
            (tmp_path / name / file).write_text(f"# Nota di {name} {file}\n")
    folders = (tmp_path / "uno", tmp_path / "due")
    index(*folders)
    (tmp_path / "uno/note.md").unlink()
    (tmp_path / "due/note.md").write_bytes(b"\0")
    assert index(*folders).retired == 1
    assert {(c.root, bool(c.retired)) for c in chunks(store, "note.md")} == {("uno", True), ("due", False)}


def test_an_emptied_file_is_retired(index: Index, january: Path) -> None:
    index(january)
    (january / DECISION).write_text("")
    assert index(january).retired == 1


def test_deleting_one_of_two_copies_is_told(index: Index, january: Path) -> None:
    index(january)
    (january / "idee/copia_impasti.md").unlink()
    report = index(january)
    assert (report.removed, report.retired, report.documents) == (1, 0, 7)


def test_another_folder_of_the_same_name_is_another_root(index: Index, tmp_path: Path) -> None:
    for parent in ("p1", "p2"):
        (tmp_path / parent / "notes").mkdir(parents=True)
        (tmp_path / parent / "notes/a.md").write_text(f"# Nota di {parent}\n")
    settings = bootstrap.load_settings()
    index(*[root.location for root in bootstrap.find_roots(settings, [tmp_path / "p1/notes"])])
    roots = bootstrap.find_roots(settings, [tmp_path / "p2/notes", tmp_path / "p1/notes"])
    assert [root.name for root in roots] == ["notes-2", "notes"]


def test_the_programs_own_data_is_not_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nota.md").write_text("# Nota\n")
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    settings = bootstrap.load_settings()
    indexer = bootstrap.make_indexer(settings)
    for _ in range(2):
        report = indexer.run(bootstrap.find_roots(settings, [tmp_path]))
    assert (report.documents, report.unchanged) == (1, 1)


def test_a_rule_added_later_takes_files_out(index: Index, january: Path, store: EmbeddedStore) -> None:
    index(january)
    (january / "stato").rename(january / "secrets")
    (january / DECISION).rename(january / "memoria/decisioni/forno.secret.md")
    report = index(january)
    assert report.retired == 2  # the old places are gone; what they held was public until now
    assert not any("secret" in path for chunk in reader(store).chunks() for path in chunk.paths)


def test_a_root_that_is_left_out_leaves_the_index(
    index: Index, january: Path, march: Path, store: EmbeddedStore
) -> None:
    index(january, march)
    report = index(march)
    assert report.removed == 8
    assert {chunk.root for chunk in reader(store).chunks()} == {"march"}


def test_a_folder_that_is_suddenly_empty_changes_nothing(
    index: Index, january: Path, store: EmbeddedStore
) -> None:
    index(january)
    shutil.rmtree(january)
    january.mkdir()
    with pytest.raises(MemoryEmptyError, match="january"):
        index(january)
    assert reader(store).manifest.documents == 8


def test_a_dry_run_writes_nothing(index: Index, january: Path, store: EmbeddedStore) -> None:
    report = index(january, dry_run=True)
    assert (report.added, report.generation) == (8, 0)
    assert store.read() is None


def test_another_embedder_asks_for_a_rebuild(
    index: Index, january: Path, store: EmbeddedStore, settings: Settings
) -> None:
    index(january)
    lexical = make_indexer(store, None, settings)
    with pytest.raises(IndexMismatchError, match=r"hash-64.*none.*cervella index --rebuild"):
        lexical.run(name_roots([january]))
    assert lexical.run(name_roots([january]), rebuild=True).embedded == 0
    assert reader(store).manifest.embedder == "none"


def test_two_writers_never_write_together(
    index: Index, january: Path, store: EmbeddedStore, tmp_path: Path
) -> None:
    with (
        EmbeddedStore(tmp_path / "home" / "index").write(),
        pytest.raises(IndexLockedError, match="process"),
    ):
        index(january)
    assert index(january).added == 8


def test_a_rebuild_repairs_a_damaged_index(
    index: Index, january: Path, store: EmbeddedStore, tmp_path: Path
) -> None:
    index(january)
    shutil.rmtree(tmp_path / "home/index/generations/000001/shard/segments")
    (tmp_path / "home/index/generations/000001/manifest.json").unlink()
    damaged = EmbeddedStore(tmp_path / "home/index")
    with pytest.raises(StoreError, match="cervella index --rebuild"):
        make_indexer(damaged, HashEmbedder(), bootstrap.load_settings()).run(name_roots([january]))
    report = make_indexer(damaged, HashEmbedder(), bootstrap.load_settings()).run(
        name_roots([january]), rebuild=True
    )
    assert (report.added, report.generation) == (8, 2)


class BreakingEmbedder(HashEmbedder):
    """Fails after its first batch."""

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        if self.embedded:
            raise EmbedderError(embedder=self.name, reason="out of memory")
        return super().embed_documents(texts)


def test_an_embedder_that_fails_midway_leaves_the_index_whole(
    index: Index, january: Path, store: EmbeddedStore, settings: Settings, tmp_path: Path
) -> None:
    index(january)
    for number in range(70):
        (january / f"nota_{number}.md").write_text(f"# Nota {number}\n\nTesto {number}.\n")
    broken: Indexer = make_indexer(store, BreakingEmbedder(), settings)
    with pytest.raises(EmbedderError):
        broken.run(name_roots([january]))
    assert reader(store).manifest.documents == 8
    assert not list((tmp_path / "home" / "index").glob("next-*"))
    assert index(january).added == 70
