"""Hostile memories through the real indexer: nothing crashes, hangs, leaks in or goes unaccounted for.

`CERVELLA_TEST_HOSTILE=10000` makes the memory larger.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Chunk, IndexReport, Scan
from cervella_rag.indexing.indexer import Indexer
from cervella_rag.memory.chunker import RAW_TOKENS
from cervella_rag.memory.cleaning import clean
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.settings import SKIP_RULES, MemorySettings
from cervella_rag.tokens import estimate_tokens
from cervella_rag.vectors.generations import EmbeddedStore

from .conftest import HashEmbedder, Index, make_indexer
from .hostile_files import MARKER, fill, reopen

COUNT = int(os.environ.get("CERVELLA_TEST_HOSTILE", "300"))

pytestmark = pytest.mark.timeout(60 + COUNT // 5)


@dataclass(frozen=True)
class Hostile:
    """A hostile memory that was indexed."""

    folder: Path
    indexer: Indexer
    report: IndexReport
    chunks: tuple[Chunk, ...]

    @property
    def indexed(self) -> set[str]:
        """The files that are in the index."""
        return {path for chunk in self.chunks for path in chunk.paths}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    base = tmp_path_factory.mktemp("hostile")
    folder = base / "memory"
    fill(folder, base / "outside", COUNT)
    with pytest.MonkeyPatch.context() as patch:  # it is made before `clean_environment`
        for name in [name for name in os.environ if name.startswith("CERVELLA_")]:
            patch.delenv(name)
        patch.chdir(base)
        settings = bootstrap.load_settings()
    store = EmbeddedStore(base / "index")
    indexer = make_indexer(store, HashEmbedder(), settings)
    report = indexer.run(name_roots([folder]))
    yield Hostile(folder, indexer, report, live(store))
    reopen(folder)
    shutil.rmtree(base)


def live(store: EmbeddedStore) -> tuple[Chunk, ...]:
    reader = store.read()
    assert reader is not None
    return tuple(chunk for chunk in reader.chunks() if not chunk.retired)


def shown(path: Path, folder: Path) -> str:
    raw = os.fsencode(path.relative_to(folder)).replace(b"\\", b"\\\\")
    return raw.decode("utf-8", "backslashreplace")


def entries(folder: Path) -> dict[str, Path]:
    """Everything below `folder` that is no folder, by the name it is shown under."""
    return {
        shown(Path(place, name), folder): Path(place, name)
        for place, folders, files in os.walk(folder)
        for name in [*files, *(name for name in folders if Path(place, name).is_symlink())]
    }


def lines_of(file: Path) -> list[str]:
    text = file.read_bytes().decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def test_every_file_is_indexed_or_skipped_or_refused_exactly_once(hostile: Hostile) -> None:
    found = Counter(hostile.indexed)
    found.update(skip.path for skip in hostile.report.skipped)
    found.update(refused.path for refused in hostile.report.refused)
    closed = tuple(path for path in found if path.endswith("/"))
    paths = entries(hostile.folder)
    assert {path for path in paths if found[path] != 1 and not path.startswith(closed)} == set()
    assert {path for path in found if path not in paths and path not in closed} == set()
    assert len(paths) >= COUNT or os.geteuid()  # of a closed folder only root sees the files
    assert hostile.report.documents == len(hostile.indexed)


def test_every_rule_has_a_name_and_every_refusal_a_reason(hostile: Hostile) -> None:
    known = {*SKIP_RULES, "not_text", "empty", "symlink_inside"}
    assert {skip.rule for skip in hostile.report.skipped} <= known
    reasons = " ".join(refused.reason or "NONE" for refused in hostile.report.refused)
    assert "NONE" not in reasons
    for reason in ("UTF-8", "NUL", "larger than", "leaves its root", "leads nowhere", "not a regular file"):
        assert reason in reasons


def test_nothing_from_outside_the_root_is_in_the_index(hostile: Hostile) -> None:
    shown_or_searched = (f"{chunk.text}\n{chunk.index_text}\n{chunk.metadata}" for chunk in hostile.chunks)
    assert not any(MARKER in text for text in shown_or_searched)


def test_the_lines_of_every_chunk_are_true(hostile: Hostile) -> None:
    files = entries(hostile.folder)
    lines = {path: lines_of(files[path]) for path in {chunk.path for chunk in hostile.chunks}}
    tokens = cache(estimate_tokens)  # a giant line is in hundreds of chunks
    for chunk in hostile.chunks:
        stand = lines[chunk.path][chunk.start_line - 1 : chunk.end_line]
        whole = "\n".join(stand)
        assert chunk.text.count("\n") == chunk.end_line - chunk.start_line
        if chunk.text != whole:
            assert chunk.text in whole
            assert max(map(tokens, (stand[0], stand[-1]))) > RAW_TOKENS


def test_no_line_with_words_is_lost(hostile: Hostile) -> None:
    files = entries(hostile.folder)
    covered: dict[str, set[int]] = defaultdict(set)
    for chunk in hostile.chunks:
        covered[chunk.path].update(range(chunk.start_line, chunk.end_line + 1))
    for path, numbers in covered.items():
        worded = {number for number, line in enumerate(lines_of(files[path]), 1) if clean(line)}
        assert (path, worded - numbers) == (path, set())


def test_a_second_run_changes_nothing(hostile: Hostile) -> None:
    again = hostile.indexer.run(name_roots([hostile.folder]))
    assert (again.added, again.changed, again.moved, again.retired, again.removed) == (0, 0, 0, 0, 0)
    assert (again.unchanged, again.embedded) == (len(hostile.indexed), 0)
    assert again.generation == hostile.report.generation
    assert (again.skipped, again.refused) == (hostile.report.skipped, hostile.report.refused)


@contextmanager
def restless(folder: Path) -> Iterator[None]:
    """Rewrite, remove, rename and add files of `folder` for as long as it lasts."""
    done = threading.Event()

    def disturb() -> None:
        chance = Random(1)  # noqa: S311 - nothing here is a secret
        while not done.wait(0.0005):
            place = folder / f"cartella_{chance.randrange(12)}"
            file = place / f"nota_{chance.randrange(8)}.md"
            place.mkdir(exist_ok=True)
            match chance.randrange(400):  # seldom a folder: an index does not believe that most files went
                case 0:
                    shutil.rmtree(place)
                case number if number < 40:
                    file.unlink(missing_ok=True)
                case number if number < 60 and file.exists():
                    file.rename(place / f"nota_{chance.randrange(8)}.md")
                case _:  # not in one step: it may be read when it is empty or half there
                    file.write_text(f"# Nota\n\n{'parola ' * chance.randrange(200)}{chance.random()}\n")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_files_that_change_while_they_are_read_are_in_order_after_a_quiet_run(
    index: Index, store: EmbeddedStore, january: Path
) -> None:
    with restless(january):
        for _ in range(6):
            assert index(january).documents >= 8
    index(january)
    held = {(path, chunk.sha256) for chunk in live(store) for path in chunk.paths}
    assert held == {
        (shown(file, january), hashlib.sha256(file.read_bytes()).hexdigest())
        for file in january.rglob("*.md")
        if not file.name.startswith("_TEMPLATE_")
    }
    assert index(january).unchanged == len(held)


def scan(folder: Path) -> Scan:
    return SourceReader(MemorySettings()).read(name_roots([folder]))


def test_rules_hold_below_a_folder_whose_name_has_a_line_end(tmp_path: Path) -> None:
    secrets = tmp_path / "a capo\nqui" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "chiavi.md").write_text("segreto")
    assert scan(tmp_path).sources == ()


def test_a_path_longer_than_the_system_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    length = len(os.fsencode(tmp_path))
    while (length := length + 251) < os.pathconf(tmp_path, "PC_PATH_MAX"):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    Path("n" * 247 + ".md").write_text("parola")
    assert [refused.reason for refused in scan(tmp_path).refused] == ["File name too long"]


def test_names_that_look_alike_are_two_files(index: Index, january: Path) -> None:
    (january / "bad\\xff.md").write_text("uno")
    (january / os.fsdecode(b"bad\xff.md")).write_text("due")
    index(january)
    assert index(january).unchanged == 10


def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, outside = tmp_path / "memory", tmp_path / "outside"
    for folder, text in ((memory / "z", "dentro"), (outside, MARKER)):
        folder.mkdir(parents=True)
        (folder / "nota.md").write_text(text)
    (memory / "prima.md").write_text("Letto prima della cartella.")
    real_open = os.open

    def swapping(path: Path, *arguments: Any, **named: Any) -> int:
        if Path(path).name == "prima.md":
            (memory / "z").rename(tmp_path / "altrove")
            (memory / "z").symlink_to(outside)
        return real_open(path, *arguments, **named)

    monkeypatch.setattr("cervella_rag.memory.sources.os.open", swapping)
    assert not any(MARKER in source.text for source in scan(memory).sources)
