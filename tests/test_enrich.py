"""`cervella enrich`: what a voice writes of chunks is kept, bounded, searched, and never shown."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from cervella_rag import bootstrap
from cervella_rag.domain import Chunk, Question
from cervella_rag.errors import StoreError, VoiceAbsentError, VoiceSilentError
from cervella_rag.indexing.enrich import EnrichReport, Estimate, prompt_name, read_answer
from cervella_rag.memory.enrichment import LONGEST_LINE, Enrichment, Enrichments, content_of
from cervella_rag.memory.windows import windows
from cervella_rag.protocols import Vectors
from cervella_rag.resources import resource
from cervella_rag.settings import Settings

from .ollama_double import OllamaDouble, Reply, Step, Stream, Whole, piece, saying

ANSWER = (
    "Contesto: il forno scelto per il pane\nDomanda: Che marca ha il girarrosto?\nDomanda: Chi lo pulisce?"
)
"""Words that the memory of the test does not have."""


@asynccontextmanager
async def ollama(*chat: Reply) -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble(*chat) as double:
        yield double


class Served:
    """An Ollama double in a thread of its own, for a program that blocks."""

    def __init__(self, *chat: Reply) -> None:
        self._chat = chat
        self._ready, self._loop = Event(), asyncio.new_event_loop()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        async def serve() -> None:
            async with OllamaDouble(*self._chat) as self.double:
                self._over = asyncio.Event()
                self._ready.set()
                await self._over.wait()

        self._loop.run_until_complete(serve())
        self._loop.close()

    def __enter__(self) -> OllamaDouble:
        self._thread.start()
        self._ready.wait(20)
        return self.double

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OllamaDouble]]:
    """Serve answers, and have the settings name the server."""
    entered: list[Served] = []

    def start(*chat: Reply) -> OllamaDouble:
        served = Served(*chat)
        double = served.__enter__()
        entered.append(served)
        monkeypatch.setenv("CERVELLA_LLM__OLLAMA_URL", double.url)
        monkeypatch.setenv("CERVELLA_LLM__OLLAMA_MODEL", "m")
        monkeypatch.setenv("CERVELLA_LLM__VOICE", "ollama")
        return double

    yield start
    for served in entered:
        served.__exit__()


@pytest.fixture
def indexed(january: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory that is indexed by words alone."""
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    return january


def run(**options: Any) -> EnrichReport:
    confirm = options.pop("confirm", lambda estimate: True)
    report, _ = bootstrap.enrich(bootstrap.load_settings(), confirm, lambda *_: None, **options)
    return report


def chunks() -> list[Chunk]:
    reader = bootstrap.make_store(bootstrap.load_settings()).read()
    assert reader is not None
    return sorted(reader.chunks(), key=lambda chunk: (chunk.path, chunk.start_line))


def kept() -> Path:
    return bootstrap.load_settings().home / "enrichments.jsonl"


def test_what_it_writes_is_searched_and_not_shown(
    indexed: Path, serve: Callable[..., OllamaDouble]
) -> None:
    retriever = bootstrap.make_retriever(bootstrap.load_settings())
    assert retriever.retrieve(Question("girarrosto")).hits == ()
    before = {chunk.chunk_id: chunk.text for chunk in chunks()}
    double = serve(saying("Niente da dire."), saying(ANSWER))
    report = run(limit=2)
    assert (report.written, report.unusable, report.left, report.model) == (1, 1, 5, "ollama:m")
    asked = double.bodies()[0]["messages"]
    assert [message["role"] for message in asked] == ["user"]
    assert chunks()[0].text in asked[0]["content"]
    (hit,) = bootstrap.make_retriever(bootstrap.load_settings()).retrieve(Question("girarrosto")).hits
    assert hit.chunk.chunk_id == chunks()[1].chunk_id
    assert {chunk.chunk_id: chunk.text for chunk in chunks()} == before
    shown = json.dumps(bootstrap.outer_shape(retriever.retrieve(Question("girarrosto"))))
    assert shown.count("girarrosto") == 2  # what was asked and understood
    assert bootstrap.verify_index(bootstrap.load_settings()).differences == ()


def test_only_what_was_written_of_is_embedded_again_and_without_the_file_all_is_as_before(
    january: Path, serve: Callable[..., OllamaDouble]
) -> None:
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    store = bootstrap.make_store(settings)

    def vectors() -> dict[str, Vectors]:
        reader = store.read()
        assert reader is not None
        ids = [chunk.chunk_id for chunk in chunks()]
        return reader.vectors(ids)

    def is_same(one: Vectors, other: Vectors) -> bool:
        return one.shape == other.shape and np.allclose(one, other, atol=1e-3)

    before = vectors()
    serve(saying(ANSWER))
    report, indexed = bootstrap.enrich(
        bootstrap.load_settings(), lambda estimate: True, lambda *_: None, limit=1
    )
    assert (report.written, indexed and indexed.embedded, indexed and indexed.enriched) == (1, 1, 1)
    first, after = chunks()[0], vectors()
    assert [one for one in before if not is_same(before[one], after[one])] == [first.chunk_id]
    assert len(after[first.chunk_id]) == len(before[first.chunk_id]) + 3  # a window for every line
    assert is_same(after[first.chunk_id][0], before[first.chunk_id][0])  # the whole chunk's stays
    again = bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    assert (again.embedded, again.enriched) == (0, 0)
    rebuilt = bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings), rebuild=True)
    assert (rebuilt.enriched, chunks()[0].enrichment.split("\n")[0]) == (0, "il forno scelto per il pane")
    kept().unlink()
    back = bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    assert (back.embedded, back.enriched) == (1, 1)
    assert all(is_same(found, before[one]) for one, found in vectors().items())
    assert all(not chunk.enrichment for chunk in chunks())


def test_it_goes_on_where_it_was_and_another_model_writes_anew(
    indexed: Path, serve: Callable[..., OllamaDouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    double = serve(saying(ANSWER))
    assert run(limit=2).written == 2
    rest = run()
    assert (rest.known, rest.written, rest.left) == (2, 5, 0)
    assert (run().written, len(double.bodies())) == (0, 7)
    double.models["other:latest"] = ("completion",)
    monkeypatch.setenv("CERVELLA_LLM__OLLAMA_MODEL", "other")
    assert (run(limit=1).written, run(limit=1).known) == (1, 1)


def test_a_file_that_moves_keeps_what_was_written_of_it(
    indexed: Path, serve: Callable[..., OllamaDouble]
) -> None:
    serve(saying(ANSWER))
    run()
    moved = indexed / "idee" / "IDEA_MENU_ESTIVO.md"
    moved.rename(indexed / "idee" / "IDEA_MENU.md")
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))
    assert all(chunk.enrichment for chunk in chunks())
    assert run().left == 0


def test_what_is_forgotten_is_gone_and_a_backup_brings_the_rest_back(
    indexed: Path, serve: Callable[..., OllamaDouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(saying(ANSWER))
    run()
    settings, (gone, *rest) = bootstrap.load_settings(), chunks()
    (indexed / gone.path).unlink()
    indexer = bootstrap.make_indexer(settings)
    indexer.run(bootstrap.find_roots(settings))
    assert content_of(gone) in Enrichments(kept()).read()  # retired, not forgotten
    indexer.forget(gone.path)
    assert Enrichments(kept()).read().keys() == {content_of(chunk) for chunk in rest}
    assert list(kept().parent.glob("enrichments.*")) == [kept()]
    bootstrap.back_up(settings, tmp_path / "copia.tar.gz")
    monkeypatch.setenv("CERVELLA_HOME", str(tmp_path / "altrove"))
    there = bootstrap.load_settings()
    bootstrap.restore(there, tmp_path / "copia.tar.gz")
    assert bootstrap.make_indexer(there).run(bootstrap.find_roots(there)).enriched == 0
    assert run().known == len(rest)


def test_it_says_what_it_will_take_before_it_goes_on(
    indexed: Path, serve: Callable[..., OllamaDouble]
) -> None:
    double, told = serve(saying(ANSWER)), list[Estimate]()

    def refuse(estimate: Estimate) -> bool:
        told.append(estimate)
        return False

    report = run(confirm=refuse)
    (estimate,) = told
    assert (estimate.measured, estimate.chunks) == (3, 4)
    assert (estimate.prompt_tokens, estimate.completion_tokens) == (
        26 * 4,
        3 * 4,
    )  # what the server counted
    assert estimate.seconds == pytest.approx(report.seconds * 4 / 3, abs=0.1)
    assert (report.written, report.left, len(double.bodies())) == (3, 4, 3)  # what was measured is kept


def test_a_dry_run_keeps_nothing(indexed: Path, serve: Callable[..., OllamaDouble]) -> None:
    serve(saying(ANSWER))
    report = run(dry_run=True)
    assert (report.written, report.left, kept().exists()) == (0, 7, False)
    assert report.estimate is not None
    assert report.estimate.chunks == 4


FAULTS: dict[str, Reply] = {
    "garbage": saying("{\x1b[31m}} ###", " \N{WHITE SMILING FACE}\n" * 40),
    "without labels": saying("Il forno è stato scelto. Quanto costa?"),
    "empty lines": saying("Contesto:\nDomanda:   \nDomanda: ?\n"),
    "nothing at all": saying(""),
    "only a thought": saying("<think>Domanda: che cosa scrivo?"),
    "long lines": saying("Domanda: " + "molto " * 200 + "?"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_of_no_use_is_not_kept_and_asked_again(
    indexed: Path, serve: Callable[..., OllamaDouble], fault: str
) -> None:
    serve(FAULTS[fault])
    report = run(limit=3)
    assert (report.written, report.unusable, kept().exists()) == (0, 3, False)
    serve(saying(ANSWER))
    assert run(limit=3).written == 3


def test_an_answer_without_an_end_is_stopped(indexed: Path, serve: Callable[..., OllamaDouble]) -> None:
    endless = Stream((*[piece(ANSWER + "\n")] * 20, Step.SILENCE))
    double = serve(endless)
    assert run(limit=1).written == 1
    assert double.has_stopped.is_set()
    assert chunks()[0].enrichment.count("girarrosto") == 1  # what it said again counts once


def test_a_voice_that_is_silent_for_long_ends_the_run(
    indexed: Path, serve: Callable[..., OllamaDouble]
) -> None:
    double = serve(saying(ANSWER), saying(""))
    with pytest.raises(VoiceSilentError):
        run()
    assert len(double.bodies()) == 6
    assert len(Enrichments(kept()).read()) == 1


def test_a_server_that_breaks_off_leaves_what_was_written(
    indexed: Path, serve: Callable[..., OllamaDouble]
) -> None:
    serve(saying(ANSWER), saying(ANSWER), Whole(500, b'{"error":"out of memory"}'))
    with pytest.raises(Exception, match="out of memory"):
        run()
    assert len(Enrichments(kept()).read()) == 2


def test_secrets_that_a_model_says_are_taken_out(indexed: Path, serve: Callable[..., OllamaDouble]) -> None:
    serve(saying("Domanda: Chi risponde a maria.rossi@albergo-vero.it?"))
    run(limit=1)
    assert "maria.rossi" not in kept().read_text("utf-8")
    assert chunks()[0].enrichment == "Chi risponde a [redacted:email]?"


def test_without_a_model_it_says_what_is_missing(indexed: Path) -> None:
    with pytest.raises(VoiceAbsentError, match="cervella model fetch demo"):
        run()


def test_a_program_that_is_killed_goes_on_where_it_was(
    indexed: Path, serve: Callable[..., OllamaDouble]
) -> None:
    is_third = Event()

    def third() -> Iterator[dict[str, Any] | Step]:
        yield piece("Contesto: a")
        is_third.set()
        yield Step.SILENCE

    serve(saying(ANSWER), saying(ANSWER), Stream(third()))
    command = [sys.executable, "-m", "cervella_rag", "enrich", "--yes"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as program:
        assert is_third.wait(100)
        program.send_signal(signal.SIGKILL)
    with kept().open("ab") as file:
        file.write(b'{"content": "half a li')
    assert len(Enrichments(kept()).read()) == 2
    serve(saying(ANSWER))
    report = run()
    assert (report.known, report.written) == (2, 5)
    assert all(chunk.enrichment for chunk in chunks())


def test_the_command_tells_and_asks(indexed: Path, serve: Callable[..., OllamaDouble]) -> None:
    serve(saying(ANSWER))
    command = [sys.executable, "-m", "cervella_rag", "enrich"]
    refused = subprocess.run(command, capture_output=True, text=True, input="n\n", check=True)
    assert "4 chunks are left" in refused.stderr
    assert "Written of 3 chunks" in refused.stdout
    done = subprocess.run([*command, "--yes", "--json"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert (report["known"], report["written"], report["index"]["enriched"]) == (3, 4, 4)


@pytest.mark.parametrize(
    ("said", "context", "questions"),
    [
        (ANSWER, "il forno scelto per il pane", ("Che marca ha il girarrosto?", "Chi lo pulisce?")),
        ("**Context:** the oven\n1. **Question 1:** Which oven?", "the oven", ("Which oven?",)),
        ("- Contexto: o forno novo\n- Pergunta: Que forno é?", "o forno novo", ("Que forno é?",)),
        ("Domanda: " * 3 + "Quale forno?", "", ("Domanda: Domanda: Quale forno?",)),
        ("\n".join(f"Domanda: numero {n} quale?" for n in range(9)), "", tuple(
            f"numero {n} quale?" for n in range(3))),
        ("Contesto: " + "x" * (LONGEST_LINE + 1), "", ()),
    ],
)  # fmt: skip
def test_an_answer_is_read_by_its_labels(said: str, context: str, questions: tuple[str, ...]) -> None:
    assert read_answer(said) == (context, questions)


def test_a_damaged_file_gives_what_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "home" / "enrichments.jsonl"
    store, good = Enrichments(file), Enrichment("a context", ("A question?",), "ollama:m", "p")
    assert store.read() == {}
    store.keep("one", replace(good, context="before"))
    with file.open("ab") as broken:
        broken.write(
            b'[1]\n{"content": 1}\n\xff\xfe\n{"content": "x", "context": "y", "questions": "zz"}\n{"con'
        )
    store.keep("one", good)
    assert store.read() == {"one": good}
    assert file.stat().st_mode & 0o77 == 0
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError):
        store.read()
    with pytest.raises(StoreError):
        store.keep("one", good)


def test_its_words_are_there_in_every_language_of_the_memory(settings: Settings) -> None:
    folder = resource("prompts") / "enrich"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"chunk.{one}.md.j2" for one in ("en", "it", "pt")
    ]
    assert prompt_name(folder) == prompt_name(folder)


def test_what_was_written_stays_apart_from_the_lines(indexed: Path) -> None:
    chunk = replace(chunks()[0], enrichment="Che cosa?\nChi?")
    assert windows(chunk) == (*windows(chunks()[0]), "Che cosa?", "Chi?")
    assert content_of(chunk) == content_of(replace(chunk, path="elsewhere.md", enrichment=""))
