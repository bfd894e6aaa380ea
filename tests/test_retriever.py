"""From a question to hits: spellings, follow-ups, limits, and knowing when there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Filters, Message, Question
from cervella_rag.errors import (
    IndexAbsentError,
    IndexMismatchError,
    QuestionEmptyError,
    QuestionTooLongError,
)
from cervella_rag.retrieval.query import search_text
from cervella_rag.retrieval.retriever import Retriever
from cervella_rag.settings import Settings

from .conftest import FIXTURES


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the January fixture indexed by the real embedder."""
    home = tmp_path_factory.mktemp("home")
    settings = bootstrap.load_settings(home=home)
    roots = bootstrap.find_roots(settings, [FIXTURES / "january"])
    bootstrap.make_indexer(settings).run(roots)
    return home


@pytest.fixture
def ready(home: Path) -> Settings:
    return bootstrap.load_settings(home=home)


@pytest.fixture
def retriever(ready: Settings) -> Retriever:
    return bootstrap.make_retriever(ready)


@pytest.mark.parametrize("word", ["perche'", "perché", "perche"])
def test_finds_the_passage_in_any_spelling(retriever: Retriever, word: str) -> None:
    found = retriever.retrieve(Question(f"{word} il forno a legna?"))
    assert found.hits[0].chunk.path == "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"
    assert found.enough
    assert found.hits[0].why.startswith("words of the question: forno, legna")


def test_returns_no_more_than_asked_for(retriever: Retriever) -> None:
    assert len(retriever.retrieve(Question("farina"), top_k=2).hits) == 2


def test_orders_hits_by_score(retriever: Retriever) -> None:
    scores = [hit.score for hit in retriever.retrieve(Question("farina e lievito")).hits]
    assert scores == sorted(scores, reverse=True)


def test_obeys_filters(retriever: Retriever) -> None:
    found = retriever.retrieve(Question("farina", filters=Filters(kind="research")))
    assert {str(hit.chunk.metadata.kind) for hit in found.hits} == {"research"}


def test_something_else_entirely_is_not_enough(retriever: Retriever) -> None:
    found = retriever.retrieve(Question("Who wrote Hamlet?"))
    assert not found.enough
    assert found.closest == found.hits[:3]


def test_a_question_that_leans_on_the_last_one_is_searched_with_it() -> None:
    history = (Message("user", "Quanto costa il forno elettrico?"), Message("assistant", "2.300 euro"))
    together = "Quanto costa il forno elettrico?\n2.300 euro\nE quello a gas?"
    assert search_text("E quello a gas?", history) == together
    assert search_text("Chi pesa il lievito ogni mattina?", history) == "Chi pesa il lievito ogni mattina?"


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(retriever: Retriever, question: str) -> None:
    with pytest.raises(QuestionEmptyError):
        retriever.retrieve(Question(question))


def test_the_longest_question_is_4000_characters(retriever: Retriever) -> None:
    retriever.retrieve(Question("x" * 4000))
    with pytest.raises(QuestionTooLongError, match="4001 characters, the limit is 4000"):
        retriever.retrieve(Question("x" * 4001))


def test_an_absent_index_names_the_command(settings: Settings) -> None:
    with pytest.raises(IndexAbsentError, match="cervella index PATH"):
        bootstrap.make_retriever(settings).retrieve(Question("forno"))


def test_an_index_of_another_embedder_names_the_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    lexical = bootstrap.make_retriever(bootstrap.load_settings(home=home))
    with pytest.raises(IndexMismatchError, match="cervella index --rebuild"):
        lexical.retrieve(Question("forno"))


def test_works_by_words_alone(january: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    retriever = bootstrap.make_retriever(settings)
    found = retriever.retrieve(Question("Quanti impasti abbiamo buttato?"))
    assert found.hits[0].chunk.path.endswith("LEZIONE_20260109_lievito.md")
    assert found.hits[0].scores.dense is None
    assert not retriever.retrieve(Question("Chi dipinse la Gioconda?")).enough
