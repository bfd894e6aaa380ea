"""What the README tells people to type is typed here, in a fresh copy with nothing kept from before."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from .documents import ROOT, blocks, commands
from .served import free_port, wait_until_alive

pytestmark = pytest.mark.timeout(300)  # thirty processes, one after the other

README = ROOT / "README.md"
PARTS = ("cervella_rag", "prompts", "knowledge")

NOT_RUN = {
    "make run": "installs for a minute; what it runs is run here, command by command",
    "make test": "is what runs this test",
    "make env && docker compose up --detach": "needs Docker; tests/test_stack.py runs its parts",
    "cervella mcp": "serves until it is stopped; tests/test_mcp.py",
    "cervella watch PATH...": "watches until it is stopped; tests/test_watcher.py",
    "cervella model fetch [demo|qwen3-4b]": "fetches more than a gigabyte; tests/test_models.py",
    "cervella eval persona": "asks two hundred questions; tests/test_measures.py",
    "answers": "the same",
    "tasks": "the same",
}
"""What stands in the README and cannot be run here, and why."""

RUN: dict[str, list[str]] = {
    "cervella index PATH...": ["index {memory}", "index"],
    'cervella search "..."': [
        'search "Perché Qdrant?"',
        'search "Perché Qdrant?" --kind decision --since 2026-01-09 --explain --json',
    ],
    'cervella ask "..."': [
        'ask "Perché abbiamo scelto Qdrant?"',
        'ask "E Chroma?" --conversation {conversation}',
    ],
    "cervella chat": ["chat"],
    "cervella brief [PROJECT]": ["brief", "brief cervella"],
    "cervella memory count|files|exists|lines|links|list": [
        "memory count Qdrant",
        "memory files",
        "memory exists oggi.md",
        "memory lines stato/oggi.md",
        "memory links stato/oggi.md",
        "memory list --kind decision",
    ],
    "cervella write decision --conversation ID": ["write decision --conversation {conversation} --yes"],
    "cervella stats": ["stats", "stats --cost"],
    "stats --verify": ["stats --verify"],
    "cervella doctor": ["doctor"],
    "cervella backup FILE": ["backup {copy}/backup.tar"],
    "cervella restore FILE": ["restore {copy}/backup.tar"],
    "cervella serve": ["--help"],  # the fixture `url` serves
    "cervella persona check": ["persona check"],
    "export": ["persona export {copy}/her.json"],
    "import": ["persona import {copy}/her.json --replace"],
    "cervella feedback export": ["feedback export"],
    "cervella eval retrieval FILE.jsonl": ["eval retrieval {copy}/questions.jsonl"],
}
"""What is run for each command of the table; braces stand for what a person would fill in."""


@dataclass(frozen=True)
class Copy:
    """A fresh copy of the program with a home of its own."""

    folder: Path
    conversation: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What its commands see: no model, words alone, and nothing of this machine's settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CERVELLA_")}
        return {
            **kept,
            "CERVELLA_HOME": str(self.folder / "home"),
            "CERVELLA_EMBEDDER__NAME": "none",
            "CERVELLA_LANGUAGE": "it",
            "CERVELLA_LLM__OLLAMA_URL": "http://127.0.0.1:1",
            "COLUMNS": "200",
        }

    def run(self, arguments: Sequence[str], typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the copy's own code."""
        command = [sys.executable, "-m", "cervella_rag", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The copy after its first index and its first answer, as `make run` leaves them."""
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    questions = (ROOT / "tests/questions/knowledge.jsonl").read_text("utf-8").splitlines()[:2]
    (folder / "questions.jsonl").write_text("\n".join(questions) + "\n", "utf-8")
    fresh = Copy(folder)
    indexed = fresh.run(["index"])
    assert indexed.returncode == 0, indexed.stderr
    asked = fresh.run(["ask", "Perché niente fine-tuning?", "--json"])
    assert asked.returncode == 0, asked.stderr
    return Copy(folder, json.loads(asked.stdout)["conversation_id"])


def test_every_command_of_the_table_is_run_or_has_a_reason() -> None:
    told = set(commands(README, "By hand"))
    assert told == set(RUN) | {name for name in NOT_RUN if not name.startswith("make ")}


@pytest.mark.parametrize("command", [line for lines in RUN.values() for line in lines])
def test_a_command_of_the_table_does_what_it_says(copy: Copy, command: str) -> None:
    words = command.format(
        memory=copy.folder / "knowledge", copy=copy.folder, conversation=copy.conversation
    )
    done = copy.run(shlex.split(words), typed="Perché Qdrant?\n/fonti\n")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_every_block_is_run_or_has_a_reason() -> None:
    lines = [content.strip() for language, content in blocks(README) if language == "sh"]
    assert {line for line in lines if not line.startswith("curl ")} == {
        name for name in NOT_RUN if name.startswith("make ")
    }


def test_an_answer_is_as_it_is_shown(copy: Copy) -> None:
    shown = [content for language, content in blocks(README) if language == "console" and "$ " in content]
    assert shown
    for block in shown:
        command, _, answer = block.removeprefix("$ cervella ").partition("\n")
        said = copy.run(shlex.split(command))
        assert said.returncode == 0, said.stderr
        assert answer.strip() in said.stdout, said.stdout


def test_over_http_it_answers_as_it_is_shown(copy: Copy) -> None:
    (block,) = [content for _, content in blocks(README) if content.startswith("curl ")]
    words = shlex.split(block.replace("\\\n", " "))
    address, header, body = words[2], words[words.index("-H") + 1], words[words.index("-d") + 1]
    port = free_port()
    command = [sys.executable, "-m", "cervella_rag", "serve", "--port", str(port)]
    log = copy.folder / "served.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=copy.folder, env=copy.environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            wait_until_alive(f"http://127.0.0.1:{port}", process, log)
            name, _, value = header.partition(": ")
            told = httpx2.post(
                address.replace(":8000", f":{port}"),
                content=body.encode(),
                headers={name: value},
                timeout=60,
            )
        finally:
            process.terminate()
    events = [line.removeprefix("event: ") for line in told.text.splitlines() if line.startswith("event: ")]
    in_order = list(dict.fromkeys(events))
    assert [one for one in in_order if one != "status"] == ["sources", "token", "done"]
    assert in_order[0] == "status"
