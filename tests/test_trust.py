"""The index is provably the folders' image: compared, forgotten for good, never emptied by mistake."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cervella_rag.domain import Verification
from cervella_rag.errors import (
    EmbedderError,
    IndexAbsentError,
    MemoryEmptyError,
    MemoryVanishedError,
    PathPresentError,
    PathUnknownError,
    StoreUnavailableError,
)
from cervella_rag.indexing.indexer import Indexer
from cervella_rag.memory.sources import name_roots
from cervella_rag.protocols import Vectors, VectorStore
from cervella_rag.settings import Settings
from cervella_rag.vectors.qdrant_server import QdrantStore

from .conftest import HashEmbedder, make_indexer, server_options
from .qdrant_double import qdrant_double

DECISION = "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"


@pytest.fixture
def indexer(any_store: VectorStore, embedder: HashEmbedder, settings: Settings) -> Indexer:
    return make_indexer(any_store, embedder, settings)


def problems(verification: Verification) -> dict[str, str]:
    return {difference.path: difference.problem for difference in verification.differences}


def many(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02}.md").write_text(f"# Nota {number}\n\nLa nota numero {number}.\n")
    return folder


def test_after_index_there_is_no_difference(indexer: Indexer, january: Path) -> None:
    roots = name_roots([january])
    report = indexer.run(roots)
    verified = indexer.verify(roots)
    assert verified == Verification((), report.documents, 0)


def test_every_difference_is_named(indexer: Indexer, tmp_path: Path) -> None:
    roots = name_roots([many(tmp_path / "note", 6)])
    indexer.run(roots)
    folder = tmp_path / "note"
    (folder / "00.md").write_text("# Nota 0\n\nRiscritta.\n")
    (folder / "01.md").unlink()
    (folder / "nuova.md").write_text("# Nuova\n\nMai vista.\n")
    shutil.copy(folder / "02.md", folder / "copia.md")
    assert problems(indexer.verify(roots)) == {
        "00.md": "changed",
        "01.md": "gone",
        "copia.md": "elsewhere",
        "nuova.md": "missing",
    }


def test_a_retired_file_that_is_back_is_a_difference(indexer: Indexer, tmp_path: Path) -> None:
    roots = name_roots([many(tmp_path / "note", 3)])
    indexer.run(roots)
    text = (tmp_path / "note/00.md").read_text()
    (tmp_path / "note/00.md").unlink()
    indexer.run(roots)
    assert indexer.verify(roots) == Verification((), 2, 1)
    (tmp_path / "note/00.md").write_text(text)
    assert problems(indexer.verify(roots)) == {"00.md": "retired"}


def test_a_lost_chunk_is_a_difference(indexer: Indexer, any_store: VectorStore, january: Path) -> None:
    sections = (f"## Parte {number}\n\n{'Parole e parole. ' * 60}\n" for number in range(4))
    (january / "lungo.md").write_text("# Lungo\n\n" + "\n".join(sections))
    roots = name_roots([january])
    indexer.run(roots)
    reader = any_store.read()
    assert reader
    lost = [chunk for chunk in reader.chunks() if chunk.path == "lungo.md"][1]
    with any_store.write() as writer:
        writer.begin(dimension=64, fresh=False)
        writer.delete([lost.chunk_id])
        writer.publish(replace(reader.manifest, generation=writer.generation))
    assert problems(indexer.verify(roots)) == {lost.path: "broken"}
    indexer.run(roots, rebuild=True)
    assert not indexer.verify(roots).differences


def test_a_file_that_cannot_be_read_is_no_difference(indexer: Indexer, january: Path) -> None:
    roots = name_roots([january])
    indexer.run(roots)
    (january / DECISION).write_bytes(b"\xff\xfe no text any more")
    assert not indexer.verify(roots).differences


def test_nothing_can_be_verified_without_an_index(indexer: Indexer, january: Path) -> None:
    with pytest.raises(IndexAbsentError):
        indexer.verify(name_roots([january]))


def test_a_forgotten_file_is_gone_for_good(
    indexer: Indexer, any_store: VectorStore, january: Path, tmp_path: Path
) -> None:
    roots = name_roots([january])
    indexer.run(roots)
    (january / DECISION).unlink()
    indexer.run(roots)
    assert indexer.forget(DECISION) > 0
    reader = any_store.read()
    assert reader
    assert DECISION not in {chunk.path for chunk in reader.chunks()}
    assert not indexer.verify(roots).differences
    assert indexer.verify(roots).retired == 0
    indexer.run(roots, rebuild=True)
    assert indexer.verify(roots).retired == 0
    for generation in (tmp_path / "index" / "generations").glob("*"):
        assert generation.name >= f"{reader.manifest.generation:06d}"


def test_only_what_is_gone_is_forgotten(indexer: Indexer, january: Path) -> None:
    indexer.run(name_roots([january]))
    with pytest.raises(PathPresentError, match="CERVELLA_MEMORY__SKIP"):
        indexer.forget(DECISION)
    with pytest.raises(PathUnknownError, match=r"mai\.md"):
        indexer.forget("mai.md")


def test_a_folder_that_lost_most_of_its_files_is_not_believed(indexer: Indexer, tmp_path: Path) -> None:
    folder = many(tmp_path / "note", 20)
    roots = name_roots([folder])
    indexer.run(roots)
    for number in range(11):
        (folder / f"{number:02}.md").unlink()
    with pytest.raises(MemoryVanishedError, match=r"11 of 20.*--accept-deletions"):
        indexer.run(roots)
    report = indexer.run(roots, accept_deletions=True)
    assert (report.retired, report.documents) == (11, 9)


def test_an_emptied_folder_is_believed_only_when_told_to(indexer: Indexer, tmp_path: Path) -> None:
    folder = many(tmp_path / "note", 3)
    roots = name_roots([folder])
    indexer.run(roots)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(MemoryEmptyError, match="--accept-deletions"):
        indexer.run(roots)
    report = indexer.run(roots, accept_deletions=True)
    assert (report.retired, report.documents) == (3, 0)
    assert indexer.verify(roots) == Verification((), 0, 3)


def test_a_folder_that_was_rearranged_is_no_loss(
    indexer: Indexer, tmp_path: Path, embedder: HashEmbedder
) -> None:
    folder = many(tmp_path / "note", 20)
    roots = name_roots([folder])
    indexer.run(roots)
    before = len(embedder.embedded)
    (folder / "archivio").mkdir()
    for file in list(folder.glob("*.md")):
        file.rename(folder / "archivio" / f"2026_{file.name}")
    report = indexer.run(roots)
    assert (report.moved, report.retired, report.embedded) == (20, 0, 0)
    assert len(embedder.embedded) == before
    assert not indexer.verify(roots).differences


class FailingEmbedder(HashEmbedder):
    """Fails in the middle of its work, as a server does that is restarted."""

    def __init__(self, good_batches: int) -> None:
        super().__init__()
        self.good_batches = good_batches

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        self.good_batches -= 1
        if self.good_batches < 0:
            raise EmbedderError(embedder=self.name, reason="connection reset")
        return super().embed_documents(texts)


@pytest.mark.parametrize("rebuild", [True, False])
def test_an_embedder_that_fails_in_the_middle_loses_nothing(
    any_store: VectorStore, tmp_path: Path, settings: Settings, rebuild: bool
) -> None:
    folder = many(tmp_path / "note", 5)
    roots, good = name_roots([folder]), make_indexer(any_store, HashEmbedder(), settings)
    good.run(roots)
    for number in range(100):
        (folder / f"nuova{number}.md").write_text(f"# Nuova {number}\n\nLa nuova numero {number}.\n")
    with pytest.raises(EmbedderError, match="connection reset"):
        make_indexer(any_store, FailingEmbedder(1), settings).run(roots, rebuild=rebuild)
    reader = any_store.read()
    assert reader
    assert len(list(reader.chunks())) == 5
    good.run(roots)
    assert good.verify(roots) == Verification((), 105, 0)


@pytest.mark.parametrize("asked", ["PUT /collections/", "POST /collections/", "PATCH /collections/"])
def test_a_server_that_fails_in_the_middle_loses_nothing(
    tmp_path: Path, settings: Settings, asked: str
) -> None:
    folder = many(tmp_path / "note", 5)
    with qdrant_double() as double:
        store = QdrantStore(server_options(double.url), tmp_path / "lock")
        indexer, roots = make_indexer(store, HashEmbedder(), settings), name_roots([folder])
        indexer.run(roots)
        (folder / "00.md").write_text("# Nota 0\n\nRiscritta.\n")
        (folder / "01.md").unlink()
        double.failing = asked
        with pytest.raises(StoreUnavailableError):
            indexer.run(roots)
        double.failing = ""
        reader = store.read()
        assert reader
        assert sorted(chunk.path for chunk in reader.chunks()) == [f"{n:02}.md" for n in range(5)]
        indexer.run(roots)
        assert indexer.verify(roots) == Verification((), 4, 1)
