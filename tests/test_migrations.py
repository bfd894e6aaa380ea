"""The tables of conversations, brought along on both engines: old files, newer programs, many at once."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, text

from cervella_rag.chat import copies, migrations
from cervella_rag.chat.conversations import SQLConversationStore
from cervella_rag.chat.database import Database, Place, tables
from cervella_rag.chat.engines import REVISION, VERSION_TABLE
from cervella_rag.chat.notes import SQLNoteStore
from cervella_rag.errors import ConversationStoreError, ConversationUnknownError

from .conftest import FIXTURES
from .postgres import Postgres, away
from .test_conversations import turn

T = TypeVar("T")
BEFORE = FIXTURES / "conversations_before_migrations.sql"
OLD = "528e335f-5aca-4b03-b074-19fe63d51e5c"


def run(task: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(task)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "conversations.sqlite"


@pytest.fixture
def before(file: Path) -> Path:
    """A file of before migrations, with an owner's conversation, a proposal and feedback."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database:
        database.executescript(BEFORE.read_text())
    return file


@pytest.fixture
def server(postgres_server: Postgres) -> Any:
    with postgres_server.database() as address:
        yield address


def rows(file: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(file)) as database:
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in tables.tables}  # noqa: S608


def test_the_steps_lead_to_the_tables(any_place: Place) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return list(compare_metadata(context, tables))

    async def compare() -> list[object]:
        async with Database(any_place).begin() as connection:
            return await connection.run_sync(differences)

    assert {table.name for table in copies._TABLES} == set(tables.tables)
    assert run(compare()) == []


def test_the_newest_step_is_the_one_the_program_asks_for() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == f"{REVISION:04}"


def test_a_file_of_before_migrations_is_adopted_without_loss(before: Path) -> None:
    had = rows(before)
    store, notes = SQLConversationStore(before), SQLNoteStore(before)
    assert [one.question for one in run(store.read(OLD, "rafa")).turns] == ["domanda 1", "domanda 2"]
    with pytest.raises(ConversationUnknownError):
        run(store.read(OLD, "agente"))
    assert rows(before) == had
    assert [told["note"] for told in run(notes.export_feedback())] == ["proprio così"]
    run(store.append(OLD, replace(turn(3), turn_id="another"), "rafa"))
    assert run(store.read(OLD)).turns[-1].turn_id == "another"
    run(store.delete(OLD))
    assert {name: len(kept) for name, kept in rows(before).items()} == {
        "conversations": 1, "turns": 1, "proposals": 0, "feedback": 0,
    }  # fmt: skip


def test_a_file_of_before_keys_is_brought_along_by_many_at_once(before: Path) -> None:
    with closing(sqlite3.connect(before)) as database:
        for column in ("prompt_tokens", "completion_tokens"):
            database.execute(f"ALTER TABLE turns DROP COLUMN {column}")
        database.executescript(
            "ALTER TABLE conversations DROP COLUMN owner; DROP TABLE feedback; PRAGMA user_version = 0"
        )

    async def all_at_once() -> list[str]:
        stores = [SQLConversationStore(before) for _ in range(8)]
        return await asyncio.gather(
            *(store.begin(replace(turn(2), turn_id=str(n)), "rafa") for n, store in enumerate(stores))
        )

    assert len(set(run(all_at_once()))) == 8
    store = SQLConversationStore(before)
    assert [one.question for one in run(store.read(OLD)).turns] == ["domanda 1", "domanda 2"]
    assert len(run(store.list(10, "rafa"))) == 8


def test_many_that_find_no_tables_make_them_once(any_place: Place) -> None:
    async def all_at_once() -> list[str]:
        stores = [SQLConversationStore(any_place) for _ in range(8)]
        return await asyncio.gather(
            *(store.begin(replace(turn(2), turn_id=str(n))) for n, store in enumerate(stores))
        )

    assert len(set(run(all_at_once()))) == 8


def test_tables_of_a_newer_program_are_left_alone(any_place: Place) -> None:
    async def raise_revision() -> None:
        async with Database(any_place).begin() as connection:
            await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))  # noqa: S608
            if isinstance(any_place, Path):
                await connection.execute(text("PRAGMA user_version = 1"))  # an older one was here since

    async def revision() -> object:
        async with Database(any_place).begin() as connection:
            return await connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608

    run(raise_revision())
    store = SQLConversationStore(any_place)
    assert run(store.read(run(store.begin(turn(1))))).turns == (turn(1),)
    assert run(revision()) == "0099"


def test_somebody_elses_tables_are_not_taken(postgres_server: Postgres, server: SecretStr) -> None:
    name = server.get_secret_value().rpartition("/")[2]
    run(postgres_server.execute("CREATE TABLE turns (theirs int)", name))
    with pytest.raises(ConversationStoreError, match='relation "turns" already exists'):
        run(SQLConversationStore(server).begin(turn(1)))
    there = "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'"
    assert run(postgres_server.execute(there, name)) == "turns"


def test_a_server_that_goes_and_comes_is_told_and_found_again(
    postgres_server: Postgres, server: SecretStr
) -> None:
    async def talk() -> None:
        store = SQLConversationStore(Database(server, stays=True))
        conversation_id = await store.begin(turn(1))
        async with away(postgres_server):
            for _ in range(2):
                with pytest.raises(ConversationStoreError, match=rf"127\.0\.0\.1:{postgres_server.port}"):
                    await store.append(conversation_id, turn(2))
            with pytest.raises(ConversationStoreError):
                await store.check()
        await store.check()
        await store.append(conversation_id, turn(2))
        assert (await store.read(conversation_id)).turns == (turn(1), turn(2))
        await store.aclose()

    run(talk())


def test_a_server_that_may_only_be_read_is_told(postgres_server: Postgres, server: SecretStr) -> None:
    async def talk() -> None:
        store = SQLConversationStore(server)
        conversation_id = await store.begin(turn(1))
        name = server.get_secret_value().rpartition("/")[2]
        await postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with pytest.raises(ConversationStoreError, match="read-only"):
            await store.append(conversation_id, turn(2))
        with pytest.raises(ConversationStoreError, match="read-only"):
            await store.check()
        assert len((await store.read(conversation_id)).turns) == 1
        await postgres_server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await store.check()

    run(talk())


def test_the_first_of_several_hosts_that_may_be_written_is_taken(
    postgres_server: Postgres, server: SecretStr
) -> None:
    account, _, database = server.get_secret_value().partition(f"127.0.0.1:{postgres_server.port}")
    hosts = f"host=127.0.0.1:1&host=127.0.0.1:{postgres_server.port}&target_session_attrs=read-write"
    store = SQLConversationStore(SecretStr(f"{account}{database}?{hosts}"))
    assert run(store.read(run(store.begin(turn(1))))).turns == (turn(1),)


def test_a_wrong_password_is_told_and_not_shown(server: SecretStr) -> None:
    wrong = SecretStr(server.get_secret_value().replace("cervella:", "cervella:wr0ng", 1))
    with pytest.raises(ConversationStoreError, match="password authentication failed") as refused:
        run(SQLConversationStore(wrong).list(10))
    assert "wr0ng" not in str(refused.value)


def test_what_was_said_is_nobody_elses(file: Path) -> None:
    run(SQLConversationStore(file).begin(turn(1)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_damaged_file_is_told(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"not a database, by far not one" * 100)
    with pytest.raises(ConversationStoreError, match="not a database"):
        run(SQLConversationStore(file).list(10))


def test_a_file_that_vanishes_under_a_server_is_made_again(file: Path) -> None:
    store = SQLConversationStore(file)
    run(store.begin(turn(1)))
    for part in file.parent.glob("conversations.sqlite*"):
        part.unlink()
    assert run(store.read(run(store.begin(turn(1))))).turns == (turn(1),)


def test_tables_that_vanish_under_a_server_are_made_again(
    postgres_server: Postgres, server: SecretStr
) -> None:
    async def talk() -> None:
        store = SQLConversationStore(server)
        await store.read(await store.begin(turn(1)))
        name = server.get_secret_value().rpartition("/")[2]
        await postgres_server.execute("DROP SCHEMA public CASCADE", name)
        await postgres_server.execute("CREATE SCHEMA public", name)
        with pytest.raises(ConversationStoreError, match="does not exist"):  # told once, then made
            await store.begin(turn(1))
        assert (await store.read(await store.begin(turn(1)))).turns == (turn(1),)

    run(talk())


def test_describing_makes_nothing(any_place: Place, postgres_server: Postgres) -> None:
    shown = run(Database(any_place).describe())
    if isinstance(any_place, Path):
        assert (shown, any_place.parent.exists()) == (str(any_place), False)
    else:
        name = any_place.get_secret_value().rpartition("/")[2]
        assert shown == f"postgresql://127.0.0.1:{postgres_server.port}/{name}"
        assert run(postgres_server.execute(f"SELECT to_regclass('{VERSION_TABLE}')", name)) is None
