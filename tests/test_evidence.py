"""The gate before an answer: what it looks at, whom it turns away, and where its line is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Chunk, Hit, Metadata, Scores, Understood
from cervella_rag.errors import EvaluationFileError
from cervella_rag.retrieval.evidence import GATES, WORDS_ALONE, Gate, asks_one_thing, gate_for, signs
from cervella_rag.retrieval.query import understand
from cervella_rag.settings import Settings

USE = GATES["use-multilingual-v3+maps-1"]
GATE_OF = {"encoder": USE, "words": WORDS_ALONE}
NEAR = "Il forno a legna tiene il calore per sei ore, e il prezzo del forno è stato di 900 euro."


def hit(text: str, *, dense: float | None = 0.4, date: str | None = None, title: str = "forno") -> Hit:
    chunk = Chunk(
        text, "memory", "forno.md", ("forno.md",), text, (), 1, 1, text, f"{title}\n\n{text}",
        Metadata(title=title, date=date),
    )  # fmt: skip
    return Hit(chunk, Scores(lexical=9.0, dense=dense, window=dense, rerank=8.0), "")


def asked(question: str) -> Understood:
    return understand(question, (), "2026-01-11", 4000)


@pytest.mark.parametrize("gate", GATE_OF.values(), ids=GATE_OF)
def test_nothing_found_answers_nothing(gate: Gate) -> None:
    assert gate.doubt(asked("Quanto costa il forno?"), []) == 1.0


def test_an_embedder_it_was_not_learned_for_is_judged_by_words() -> None:
    assert gate_for("multilingual-e5-base") is WORDS_ALONE
    assert not {"dense", "dense_of_all", "window"} & set(WORDS_ALONE.weights)
    assert set(USE.weights) <= set(signs(asked("Quanto costa?"), [hit(NEAR)]))


@pytest.mark.parametrize(
    ("question", "one"),
    [
        ("Quanto è costato il forno?", True),
        ("Chi ha montato il forno?", True),
        ("Che sconto ci hanno fatto sul forno?", True),
        ("In quale banca paghiamo il forno?", True),
        ("When did we buy the oven?", True),
        ("Cosa abbiamo deciso sul forno?", False),
        ("Che cosa sappiamo del forno?", False),
        ("A che punto siamo con il forno?", False),
        ("Quali lezioni abbiamo imparato sul forno?", False),
        ("What happens if the oven is cold?", False),
        ("forno", False),
    ],
)
def test_who_asks_for_one_thing_is_told_from_who_asks_what_there_is(question: str, one: bool) -> None:
    assert asks_one_thing(signs(asked(question), [hit(NEAR)])) is one


def test_what_is_known_of_a_thing_is_told_wherever_something_is_near() -> None:
    question = asked("Cosa abbiamo deciso sul forno?")
    assert USE.doubt(question, [hit(NEAR)]) == 0.0
    far = hit("Bollettino dei mari: vento da nord, onde alte.", dense=0.05, title="mare")
    assert USE.doubt(question, [far]) == 1.0
    assert WORDS_ALONE.doubt(question, [hit("Vento da nord.", dense=None, title="mare")]) == 1.0


def test_what_is_asked_in_another_language_is_near_what_says_it() -> None:
    chunk = hit("Il forno a legna tiene il calore.", dense=0.2)
    assert USE.doubt(asked("What do we know of the oven and its heat?"), [chunk]) == 0.0
    assert USE.doubt(asked("What do we know of the harbour and its boats?"), [chunk]) == 1.0


def test_days_on_which_nothing_was_written_raise_doubt() -> None:
    question = asked("Com'è andata la cottura del 9 gennaio?")
    then = USE.doubt(question, [hit(NEAR, date="2026-01-09")])
    other = USE.doubt(question, [hit(NEAR, date="2026-01-03")])
    assert then == 0.0
    assert other > 0.5


def test_nearer_passages_leave_less_doubt() -> None:
    question = asked("Quanto è costato in tutto il forno a legna della pizzeria?")
    doubts = [USE.doubt(question, [hit(NEAR, dense=dense)]) for dense in (0.1, 0.3, 0.6)]
    assert doubts == sorted(doubts, reverse=True)
    assert 0 < doubts[-1] < doubts[0] < 1


@pytest.fixture
def indexed(january: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An index of the small memory, by words alone."""
    monkeypatch.setenv("CERVELLA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    return settings


def questions(file: Path, indexed: Settings, count: int) -> Path:
    """Write answerable questions, each about the words of one chunk, and two that are not."""
    reader = bootstrap.make_store(indexed).read()
    assert reader
    chunks = sorted(reader.chunks(), key=lambda chunk: chunk.chunk_id)
    rows: list[dict[str, str | None]] = [
        {
            "id": str(number), "kind": "fact", "question": f"Chi {' '.join(chunk.index_text.split()[:8])}?",
            "file": chunk.path, "span": chunk.text[:40], "answer": "",
        }
        for number, chunk in zip(range(count), chunks * count, strict=False)
    ]  # fmt: skip
    absent: dict[str, str | None] = {
        "kind": "unanswerable",
        "file": None,
        "span": None,
        "answer": "non in memoria",
    }
    rows += [
        {"id": "a", "question": "Chi è il commercialista?", **absent},
        {"id": "b", "question": "Quanto?", **absent},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def test_the_line_is_found_kept_and_carried_on(indexed: Settings, january: Path, tmp_path: Path) -> None:
    file = questions(tmp_path / "questions.jsonl", indexed, 24)
    before = bootstrap.make_retriever(indexed).reader().manifest
    found = bootstrap.calibrate(indexed, file, 0.1, lambda *_: None)
    assert (found["questions"], found["unanswerable"]) == (26, 2)
    assert found["turned_away_wrongly"] <= 0.1

    manifest = bootstrap.make_retriever(indexed).reader().manifest
    assert (before.line, manifest.line) == (None, found["line"])
    assert manifest.created == before.created  # the files were not looked at
    assert manifest.chunks == before.chunks

    (january / "nuova.md").write_text("# Nota\n\nUna cosa nuova.\n", encoding="utf-8")
    for rebuild in (False, True):
        bootstrap.make_indexer(indexed).run(bootstrap.find_roots(indexed, [january]), rebuild=rebuild)
        assert bootstrap.make_retriever(indexed).reader().manifest.line == found["line"]


def test_the_kept_line_decides(indexed: Settings) -> None:
    question = bootstrap.make_question("Chi ha deciso il forno?")
    for line, enough in ((1.0, True), (0.0, False)):
        bootstrap.make_indexer(indexed).draw_line(line)
        assert bootstrap.make_retriever(indexed).retrieve(question).enough is enough


def test_too_few_questions_draw_no_line(indexed: Settings, tmp_path: Path) -> None:
    with pytest.raises(EvaluationFileError, match=r"few\.jsonl.*at least 20"):
        bootstrap.calibrate(indexed, questions(tmp_path / "few.jsonl", indexed, 3), 0.05, lambda *_: None)
    assert bootstrap.make_retriever(indexed).reader().manifest.line is None
