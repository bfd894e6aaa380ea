"""What is installed elsewhere carries its words and its sample memory."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_carries_prompts_knowledge_and_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    names = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*")}
    assert {"cervella_rag/prompts/messages.toml", "cervella_rag/knowledge/README.md"} <= names
    page = {"app.js", "words.js", "vendor/marked.esm.js", "vendor/marked.LICENSE"}
    assert {f"cervella_rag/api/page/{name}" for name in page} <= names

    assert {
        f"cervella_rag/chat/migrations/{name}" for name in ("env.py", "versions/r0001_first_tables.py")
    } <= names

    code = "from cervella_rag.resources import resource; print(resource('prompts'), resource('knowledge'))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "site", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.split() == [
        str(tmp_path / "site/cervella_rag" / name) for name in ("prompts", "knowledge")
    ]

    # Its migrations make the tables where nothing of the checkout is.
    code = """
import asyncio, pathlib, cervella_rag
from cervella_rag.chat.conversations import SQLConversationStore
print(asyncio.run(SQLConversationStore(pathlib.Path("kept.sqlite")).list(1)), cervella_rag.__file__)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "site", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.split() == ["()", str(tmp_path / "site/cervella_rag/__init__.py")]


def test_versions_are_pinned_without_an_index() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").split("\n")
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin and "/" not in pin and " " not in pin for pin in pins)
