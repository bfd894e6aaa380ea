"""The sample memory: in true SNCP form, with questions that stand on it, and the README's ten answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.domain import Answer, Question
from cervella_rag.resources import resource
from cervella_rag.retrieval.stats import Stats
from cervella_rag.settings import Settings

HOUSE = Path(__file__).parents[1]
QUESTIONS = Path(__file__).parent / "questions" / "knowledge.jsonl"
BASELINE = QUESTIONS.with_suffix(".baseline.json")
ROW = re.compile(r"^\| (?P<question>[^|]+\?) \| (?P<fact>[^|]+) \| `(?P<file>[^|`]+)` \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The sample memory, indexed as a first run does."""
    settings = bootstrap.load_settings(home=tmp_path_factory.mktemp("home"))
    report = bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    assert (report.refused, report.skipped[0].rule) == ((), "template")
    return settings.model_copy(update={"llm": settings.llm.model_copy(update={"voice": "memory_only"})})


@pytest.fixture(scope="module")
def stats(ready: Settings) -> Stats:
    return bootstrap.count_index(ready)


@pytest.fixture(scope="module")
def assistant(ready: Settings) -> Iterator[Assistant]:
    assistant = bootstrap.make_assistant(ready)
    yield assistant
    asyncio.run(assistant.aclose())


def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]


def squeezed(text: str) -> str:
    return " ".join(text.replace("**", "").split())


def test_it_has_every_kind_of_record(stats: Stats) -> None:
    assert stats.manifest.documents >= 40
    wanted = {"decision", "lesson", "research", "state", "roadmap", "handoff", "session", "consciousness"}
    assert wanted <= set(stats.kinds)
    assert {"cervella", "miracollo"} <= set(stats.projects)
    assert {"it", "en", "pt"} <= set(stats.languages)
    assert stats.undated == ()


def test_its_questions_stand_on_it() -> None:
    folder, asked = resource("knowledge"), items()
    assert len({item["id"] for item in asked}) == len(asked) >= 60
    for item in asked:
        for file, span in (("file", "span"), ("old_file", "old_span")):
            if item.get(span):
                assert item[span] in (folder / item[file]).read_text("utf-8"), (item["id"], span)


def test_a_superseded_decision_names_what_took_its_place(ready: Settings, assistant: Assistant) -> None:
    old = "memoria/decisioni/20260110_CHROMA_PRIMA_SCELTA.md"
    new = "memoria/decisioni/20260111_QDRANT_COME_ARCHIVIO.md"
    question = "Perché abbiamo scelto Qdrant al posto di Chroma?"
    found = bootstrap.outer_shape(bootstrap.make_retriever(ready).retrieve(Question(question)))
    named = {hit["path"]: hit["superseded_by"] for hit in found["hits"]}
    assert named[old] == new
    assert named[new] is None
    answer = asyncio.run(assistant.reply(Question(question)))
    cited = {citation.path: citation for citation in answer.citations}
    assert cited[old].superseded_by == new
    told: Any = answer.provenance["conflicts"]
    assert [cited[old].number, cited[new].number] in told


def test_what_is_asked_is_found_as_often_as_before(ready: Settings) -> None:
    """Beside the run that is kept; where finding gets better: `cervella eval retrieval --save-baseline`."""
    measured = bootstrap.evaluate_retrieval(ready, QUESTIONS, lambda stage, done, total: None)
    spans = measured["overall"]["span"]
    assert spans["hit@5"] >= 0.71
    assert spans["hit@10"] >= 0.82
    comparison = bootstrap.compare_with_baseline(measured, BASELINE)
    assert comparison["asked"] == measured["items"]
    assert comparison["passed"], comparison


def samples() -> list[dict[str, str]]:
    text = (HOUSE / "README.md").read_text("utf-8")
    return [found.groupdict() for found in ROW.finditer(text)]


def test_the_readme_has_ten_questions() -> None:
    assert len(samples()) == 10


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample["question"])
def test_the_readmes_questions_are_answered(assistant: Assistant, sample: dict[str, str]) -> None:
    answer: Answer = asyncio.run(assistant.reply(Question(sample["question"])))
    assert answer.mode == "memory_only"
    assert answer.grounded
    assert sample["fact"] in squeezed(answer.answer)
    telling = [citation for citation in answer.citations if sample["fact"] in squeezed(citation.quote)]
    assert sample["file"] in {Path(citation.path).name for citation in telling}
