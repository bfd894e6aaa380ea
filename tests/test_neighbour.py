"""A search from the shell asks the server that runs, where it is the right one, and shows the same."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.bootstrap.neighbour import ask_server

from .served import KEYS, served
from .test_cli import cervella

ASKED = "by the running server"
QUESTIONS = ("forno a legna", "Quanti file ci sono in memoria/decisioni?", "basilico del Nepal")


def search(question: str, *options: str, **settings: str) -> tuple[str, str]:
    done = cervella("search", question, *options, env={"CERVELLA_LLM__VOICE": "memory_only", **settings})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def without_times(shown: str) -> object:
    found = json.loads(shown)
    assert found.pop("took_ms") >= 0
    return found


def test_what_a_server_finds_is_shown_as_what_is_found_here(home: Path, january: Path) -> None:
    with served(home, january):
        beside = [(*search(question, "--explain"), search(question, "--json")[0]) for question in QUESTIONS]
    for question, (shown, told, document) in zip(QUESTIONS, beside, strict=True):
        assert ASKED in told
        alone, told_alone = search(question, "--explain")
        assert ASKED not in told_alone
        assert shown == alone
        assert without_times(document) == without_times(search(question, "--json")[0])


def test_filters_reach_the_server(home: Path, january: Path) -> None:
    options = ("--kind", "decision", "--since", "2026-01-10", "--explain", "--top-k", "2")
    with served(home, january):
        shown, told = search("forno", *options)
    assert ASKED in told
    assert shown == search("forno", *options)[0]


def test_a_server_with_keys_is_asked_with_one(home: Path, january: Path) -> None:
    keys = {"CERVELLA_API__KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items())}
    with served(home, january, **keys):
        assert ASKED in search("forno", "--explain", **keys)[1]
        shown, told = search("forno", "--explain")  # it says no: the search is done here
    assert ASKED not in told
    assert shown.startswith("1. ")


def test_a_server_that_searches_otherwise_is_not_asked(home: Path, january: Path) -> None:
    with served(home, january, CERVELLA_RETRIEVAL__CANDIDATES="70"):
        assert ASKED not in search("forno", "--explain")[1]


def test_what_a_killed_server_has_left_is_not_believed(home: Path, january: Path) -> None:
    with served(home, january) as server:
        server.process.kill()
        server.process.wait()
        assert (home / "serving").read_text("utf-8")
        shown, told = search("forno", "--explain")
    assert ASKED not in told
    assert shown.startswith("1. ")


@pytest.mark.parametrize("told", ["", "[]", "{", '{"host": 7}'])
def test_a_damaged_note_is_no_server(told: str) -> None:
    loaded = bootstrap.load_settings()
    loaded.home.mkdir(parents=True)
    with (loaded.home / "serving").open("w") as file:
        file.write(told)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ask_server(loaded, bootstrap.make_question("forno"), 3) is None


def test_the_note_is_the_owners_alone(home: Path, january: Path) -> None:
    with served(home, january):
        assert os.stat(home / "serving").st_mode & 0o777 == 0o600
