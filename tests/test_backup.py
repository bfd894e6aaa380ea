"""What was backed up comes back whole, to any store, or nothing is changed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import stat
import tarfile
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from cervella_rag.chat.conversations import SQLConversationStore
from cervella_rag.chat.copies import DatabaseCopies, FileCopies
from cervella_rag.chat.database import Database, Place
from cervella_rag.chat.notes import SQLNoteStore
from cervella_rag.domain import Turn
from cervella_rag.errors import BackupFileError, ConversationStoreError, IndexAbsentError
from cervella_rag.indexing.backup import back_up, restore
from cervella_rag.memory.sources import name_roots
from cervella_rag.protocols import ConversationCopies, VectorStore
from cervella_rag.settings import Settings
from cervella_rag.vectors.generations import EmbeddedStore

from .conftest import HashEmbedder, make_indexer
from .postgres import Postgres

TURN = Turn(
    "1", "Quanto tiene il forno?", "Sei ore [1].", "memory_only", "", True, "stop", (), "2026-01-11"
)


class SentenceEmbedder(HashEmbedder):
    """One that wants windows too: the index, backed up, has several vectors a chunk."""

    sees_windows = True


def contents(store: VectorStore) -> tuple[dict[str, object], dict[str, list[list[float]]]]:
    reader = store.read()
    assert reader
    chunks = {chunk.chunk_id: chunk for chunk in reader.chunks()}
    vectors = reader.vectors(list(chunks))
    assert any(len(rows) > 1 for rows in vectors.values())
    return dict(chunks), {name: rows.tolist() for name, rows in vectors.items()}


def keep_a_turn(place: Place) -> None:
    async def begin() -> None:
        await SQLConversationStore(place).begin(replace(TURN, turn_id=str(uuid.uuid4())))

    asyncio.run(begin())


def copies_of(place: Place, beside: Path) -> ConversationCopies:
    if isinstance(place, Path):
        return FileCopies(place)
    return DatabaseCopies(Database(place), beside / "conversations.before-restore.sqlite")


def questions(place: Place) -> list[str]:
    async def ask() -> list[str]:
        return [card.title for card in await SQLConversationStore(place).list(10)]

    return asyncio.run(ask())


@pytest.fixture
def backup(january: Path, store: EmbeddedStore, settings: Settings, tmp_path: Path) -> Path:
    """A backup of the January fixture, a retired file in it, with one conversation."""
    indexer, roots = make_indexer(store, SentenceEmbedder(), settings), name_roots([january])
    indexer.run(roots)
    next(january.rglob("LEZIONE*")).unlink()
    indexer.run(roots)
    keep_a_turn(tmp_path / "home" / "conversations.sqlite")
    back_up(
        store, FileCopies(tmp_path / "home" / "conversations.sqlite"), tmp_path / "copia.tar.gz", "home"
    )
    return tmp_path / "copia.tar.gz"


def test_everything_comes_back_to_any_store(
    backup: Path, store: EmbeddedStore, any_store: VectorStore, tmp_path: Path
) -> None:
    conversations = tmp_path / "altrove" / "conversations.sqlite"
    report = restore(any_store, FileCopies(conversations), backup)
    (chunks, vectors), (before, vectors_before) = contents(any_store), contents(store)
    assert chunks == before
    assert report.chunks == len(before)
    for chunk_id, vector in vectors_before.items():
        np.testing.assert_allclose(vectors[chunk_id], vector, atol=2e-3)
    assert questions(conversations) == [TURN.question]


def test_what_was_restored_is_the_image_of_the_folders(
    backup: Path, any_store: VectorStore, january: Path, settings: Settings, tmp_path: Path
) -> None:
    restore(any_store, FileCopies(tmp_path / "c.sqlite"), backup)
    indexer = make_indexer(any_store, HashEmbedder(), settings)
    verified = indexer.verify(name_roots([january]))
    assert (verified.differences, verified.retired) == ((), 1)
    assert indexer.run(name_roots([january])).embedded == 0


def test_a_restore_keeps_what_was_said_since_beside_it(backup: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    keep_a_turn(home / "conversations.sqlite")
    restore(EmbeddedStore(home / "index"), FileCopies(home / "conversations.sqlite"), backup)
    assert questions(home / "conversations.sqlite") == [TURN.question]
    assert questions(home / "conversations.before-restore.sqlite") == [TURN.question] * 2


def test_only_its_owner_may_read_it(backup: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_backup_is_not_written_over(backup: Path, store: EmbeddedStore, tmp_path: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(BackupFileError, match="there already"):
        back_up(store, FileCopies(tmp_path / "none"), backup, "home")
    assert backup.read_bytes() == before


def test_nothing_is_backed_up_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(IndexAbsentError):
        back_up(EmbeddedStore(tmp_path / "i"), FileCopies(tmp_path / "c"), tmp_path / "b.tar.gz", "home")
    assert not (tmp_path / "b.tar.gz").exists()


def changed(backup: Path, name: str, content: bytes) -> None:
    with tarfile.open(backup) as archive:
        parts = {member.name: archive.extractfile(member) for member in archive}
        contents = {part: file.read() for part, file in parts.items() if file}
    with tarfile.open(backup, "w:gz") as archive:
        for part, data in {**contents, name: content}.items():
            information = tarfile.TarInfo(part)
            information.size = len(data)
            archive.addfile(information, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chunks.jsonl", b"{}\n"),
        ("vectors.npy", b"\x93NUMPY"),
        ("conversations.sqlite", b"SQLite format 3\0"),
        ("about.json", b'{"format": 7}'),
        ("about.json", b"[]"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    backup: Path, store: EmbeddedStore, tmp_path: Path, name: str, content: bytes
) -> None:
    changed(backup, name, content)
    before = contents(store)
    with pytest.raises(BackupFileError, match="Nothing was changed"):
        restore(store, FileCopies(tmp_path / "home" / "conversations.sqlite"), backup)
    assert contents(store) == before


def test_conversations_that_sqlite_refuses_change_nothing(
    backup: Path, store: EmbeddedStore, tmp_path: Path
) -> None:
    with tarfile.open(backup) as archive:
        written = archive.extractfile("about.json")
        assert written
        about = json.load(written)
    about["sha256"]["conversations.sqlite"] = hashlib.sha256(b"no database").hexdigest()
    changed(backup, "about.json", json.dumps(about).encode())
    changed(backup, "conversations.sqlite", b"no database")
    before = store.read()
    assert before
    with pytest.raises(BackupFileError, match="Nothing was changed"):
        restore(store, FileCopies(tmp_path / "home" / "conversations.sqlite"), backup)
    after = store.read()
    assert after
    assert after.manifest == before.manifest


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_backup_is_told(tmp_path: Path, store: EmbeddedStore, content: bytes | None) -> None:
    file = tmp_path / "altro.tar.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BackupFileError, match=r"altro\.tar\.gz"):
        restore(store, FileCopies(tmp_path / "c.sqlite"), file)


def test_a_backup_cut_in_the_middle_is_told(backup: Path, store: EmbeddedStore, tmp_path: Path) -> None:
    backup.write_bytes(backup.read_bytes()[: backup.stat().st_size // 2])
    with pytest.raises(BackupFileError):
        restore(store, FileCopies(tmp_path / "c.sqlite"), backup)


async def everything(place: Place) -> list[object]:
    """Return all that is kept, in order."""
    store = SQLConversationStore(place)
    kept = [await store.read(card.conversation_id) for card in await store.list(1000)]
    return [*kept, *await SQLNoteStore(place).export_feedback(), len(await store.list(1000, "rafa"))]


async def talk_a_lot(place: Place) -> str:
    """Keep more than a batch of rows, of two owners, with what was made of them; return a proposal's id."""
    store, notes = SQLConversationStore(place), SQLNoteStore(place)
    first = await store.begin(replace(TURN, turn_id="0"), "rafa")
    for number in range(1, 600):
        await store.append(first, replace(TURN, turn_id=str(number), question=f"{number}?"), "rafa")
    await store.begin(replace(TURN, turn_id="unowned"))
    await notes.add_feedback("599", "good", "così")
    return (await notes.propose(first, "lesson", ("memoria", "a.md"), "# A\n")).proposal_id


@pytest.fixture
def indexed(store: EmbeddedStore, january: Path, settings: Settings) -> EmbeddedStore:
    """The store with the January fixture in it."""
    make_indexer(store, HashEmbedder(), settings).run(name_roots([january]))
    return store


def test_what_one_engine_kept_another_gives_back(
    indexed: EmbeddedStore, any_place: Place, postgres_server: Postgres, tmp_path: Path
) -> None:
    """From a file to a server, and from a server to a file."""
    proposal = asyncio.run(talk_a_lot(any_place))
    had, file = asyncio.run(everything(any_place)), tmp_path / "copia.tar.gz"
    back_up(indexed, copies_of(any_place, tmp_path), file, "home")
    with postgres_server.database() as server:
        other: Place = server if isinstance(any_place, Path) else tmp_path / "home" / "altrove.sqlite"
        keep_a_turn(other)
        assert restore(indexed, copies_of(other, tmp_path / "home"), file).has_conversations
        assert asyncio.run(everything(other)) == had
        assert asyncio.run(SQLNoteStore(other).proposal(proposal, "rafa")).text == "# A\n"
        keep_a_turn(other)  # after the rows that came, not in the place of one
        assert len(questions(other)) == 3
    (beside,) = (tmp_path / "home").glob("*.before-restore.sqlite")
    assert questions(beside) == [TURN.question]
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600


def test_a_restore_to_a_server_that_is_gone_changes_nothing(
    backup: Path, store: EmbeddedStore, tmp_path: Path
) -> None:
    before = store.read()
    assert before
    gone = copies_of(SecretStr("postgresql://cervella:x@127.0.0.1:1/cervella"), tmp_path)
    with pytest.raises(ConversationStoreError, match=r"127\.0\.0\.1:1/cervella"):
        restore(store, gone, backup)
    after = store.read()
    assert after
    assert after.manifest == before.manifest
    with pytest.raises(ConversationStoreError):
        back_up(store, gone, tmp_path / "altra.tar.gz", "home")
    assert not list(tmp_path.glob("*altra*"))
