"""The retriever as LlamaIndex's: nodes with true lines, filters, both ways to wait, and the example."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Filters
from cervella_rag.settings import Settings

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "llama_index_retriever.py"
OVEN = "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"


@pytest.fixture
def ready(january: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    return settings


def test_a_node_is_the_lines_of_its_file_and_says_where_they_are(ready: Settings, january: Path) -> None:
    first, *_ = bootstrap.make_llama_index_retriever(ready).retrieve("Perché il forno a legna?")
    told = first.node.metadata
    lines = (january / OVEN).read_text("utf-8").split("\n")
    assert told["path"] == OVEN
    assert first.node.get_content() == "\n".join(lines[told["start_line"] - 1 : told["end_line"]]).rstrip()
    assert told["lines"] == f"{told['start_line']}-{told['end_line']}"
    assert (told["date"], told["kind"], told["retired"]) == ("2026-01-10", "decision", None)
    assert {"headings", "session", "project", "status", "why"} <= set(told)
    assert first.score == pytest.approx(told["scores"]["rerank"])


def test_it_obeys_filters_and_how_many_are_wanted(ready: Settings) -> None:
    research = bootstrap.make_llama_index_retriever(ready, top_k=1, filters=Filters(kind="research"))
    assert [node.node.metadata["kind"] for node in research.retrieve("farina")] == ["research"]


def test_it_returns_nothing_where_that_is_wanted_of_a_question_about_something_else(
    ready: Settings,
) -> None:
    question = "Who painted the Mona Lisa in Florence?"
    assert bootstrap.make_llama_index_retriever(ready, only_enough=True).retrieve(question) == []


def test_it_answers_the_same_without_blocking(ready: Settings) -> None:
    retriever = bootstrap.make_llama_index_retriever(ready)
    waited = asyncio.run(retriever.aretrieve("farina e lievito"))
    assert waited
    assert [node.node_id for node in waited] == [
        node.node_id for node in retriever.retrieve("farina e lievito")
    ]


def test_llama_index_is_loaded_only_where_it_is_asked_for() -> None:
    program = (
        "import sys, cervella_rag.retrieval.retriever, cervella_rag.bootstrap.retrieval;"
        "sys.exit(any(name.startswith('llama_index') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_example_runs() -> None:
    env = {**os.environ, "CERVELLA_EMBEDDER__NAME": "none"}  # what it shows is the same, and there sooner
    shown = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, env=env, check=True
    ).stdout
    assert "archivio/2026-01/lezioni/LEZIONE_20260109_file_non_salvati.md, lines " in shown
    assert "Perché abbiamo scelto Qdrant al posto di Chroma?" in shown
    assert "path: memoria/decisioni/20260111_QDRANT_COME_ARCHIVIO.md" in shown  # what the model reads
    assert "memoria/decisioni/20260111_QDRANT_COME_ARCHIVIO.md" in shown.split("sources:")[1]
