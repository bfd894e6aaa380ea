"""What changes in a folder is found a moment later, however it was changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cervella_rag.domain import IndexReport, Root
from cervella_rag.errors import CervellaError, EmbedderError
from cervella_rag.indexing.watcher import watch_roots
from cervella_rag.memory.sources import name_roots
from cervella_rag.settings import Settings
from cervella_rag.vectors.generations import EmbeddedStore

from .conftest import HashEmbedder, make_indexer

SOON_SECONDS = 1.0
PATIENCE_SECONDS = 20.0


class Watched:
    """A folder that is watched, and what its watcher told."""

    def __init__(self, store: EmbeddedStore, roots: tuple[Root, ...], settings: Settings) -> None:
        self.store = store
        self.roots = roots
        self.indexer = make_indexer(store, HashEmbedder(), settings)
        self.reports: list[IndexReport] = []
        self.errors: list[CervellaError] = []
        self.failure: CervellaError | None = None

    def run(self) -> IndexReport:
        """Run the indexer, or fail where the test says so."""
        if self.failure:
            raise self.failure
        return self.indexer.run(self.roots)

    def texts(self) -> str:
        """Everything that can be found now."""
        reader = self.store.read()
        return "\n".join(chunk.text for chunk in reader.chunks() if not chunk.retired) if reader else ""

    def wait_for(self, text: str) -> float:
        """Return the seconds until a text can be found."""
        started = time.monotonic()
        while text not in self.texts():
            assert time.monotonic() - started < PATIENCE_SECONDS, f"{text!r} never came"
            time.sleep(0.02)
        return time.monotonic() - started


@contextmanager
def watching(watched: Watched) -> Iterator[Watched]:
    stop = threading.Event()
    thread = threading.Thread(
        target=watch_roots,
        args=(watched.roots, watched.run),
        kwargs={"stop": stop, "tell": watched.reports.append, "fail": watched.errors.append},
    )
    thread.start()
    try:
        while not (watched.reports or watched.errors):
            time.sleep(0.01)
        yield watched
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def watched(january: Path, store: EmbeddedStore, settings: Settings) -> Iterator[Watched]:
    with watching(Watched(store, name_roots([january]), settings)) as watched:
        yield watched


def note(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(f"# {name}\n\n{text}\n")
    return file


def test_a_change_is_found_within_a_second(watched: Watched, january: Path) -> None:
    waits = []
    for number in range(3):
        note(january, f"nuovo{number}.md", f"Basilico numero {number}.")
        waits.append(watched.wait_for(f"Basilico numero {number}."))
    assert sorted(waits)[1] < SOON_SECONDS


def test_a_file_saved_by_renaming_is_found(watched: Watched, january: Path) -> None:
    file = note(january, "nota.md", "Prima stesura.")
    watched.wait_for("Prima stesura.")
    note(january, ".nota.md.swp", "Seconda stesura.").replace(file)
    watched.wait_for("Seconda stesura.")
    assert "Prima stesura." not in watched.texts()


def test_a_burst_is_few_runs(watched: Watched, january: Path) -> None:
    before = len(watched.reports)
    for number in range(150):
        note(january, f"raffica{number}.md", f"Colpo {number}.")
    watched.wait_for("Colpo 149.")
    assert len(watched.reports) - before <= 5
    assert not watched.indexer.verify(watched.roots).differences


def test_a_checkout_is_followed(watched: Watched, january: Path) -> None:
    for file in sorted(january.rglob("*.md"))[:3]:
        file.unlink()
    folder = january / "altra" / "cartella"
    folder.mkdir(parents=True)
    note(folder, "ramo.md", "Un altro ramo.")
    watched.wait_for("Un altro ramo.")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while watched.indexer.verify(watched.roots).differences:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_failed_is_tried_again(watched: Watched, january: Path) -> None:
    watched.failure = EmbedderError(embedder="hash", reason="away")
    note(january, "durante.md", "Scritto mentre mancava.")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not watched.errors:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    watched.failure = None
    watched.wait_for("Scritto mentre mancava.")
    assert len(watched.errors) == 1


def test_what_changes_nothing_is_not_told(watched: Watched, january: Path) -> None:
    before = len(watched.reports)
    (january / "immagine.png").write_bytes(b"\x89PNG")
    (january / ".git").mkdir()
    (january / ".git" / "index").write_bytes(b"x")
    note(january, "fine.md", "Ultima riga.")
    watched.wait_for("Ultima riga.")
    assert len(watched.reports) == before + 1
