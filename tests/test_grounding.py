"""What an answer says of the memory: supported or marked, and both dates where passages disagree."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cervella_rag import bootstrap
from cervella_rag.chat.assistant import Assistant
from cervella_rag.chat.citations import CitationCheck
from cervella_rag.chat.conflicts import find_conflicts
from cervella_rag.chat.repair import said_well
from cervella_rag.domain import Answer, Citation, Hit, Prompt, Question, Spoken, Token
from cervella_rag.errors import VoiceBrokenError

from .test_assistant import ScriptedLLM, answer, speaking
from .test_assistant import assistant as assistant  # noqa: PLC0414 - a fixture
from .test_prompt import asking, memory

OVEN = memory(1, "Il forno a legna tiene la temperatura per sei ore e costa 4.200 euro.", date="2026-01-10")


def check(text: str, *, question: str = "", marks: bool = False) -> tuple[str, CitationCheck]:
    """Return what is shown of a text and what its check found."""
    checked = CitationCheck([OVEN[1]], [OVEN[0]], question, marks=marks)
    return checked.feed(text) + checked.finish(), checked


@pytest.mark.parametrize(
    "sentence",
    [
        "Abbiamo scelto il fornitore di Bologna per la farina.",
        "La consegna arriva entro 15 giorni dalla firma.",
        "We decided to buy another mixer in spring.",
        "Decidimos comprar outra batedeira na primavera.",
        "Il forno costa 9.900 euro [1].",
    ],
)
def test_a_sentence_about_the_memory_without_support_is_told(sentence: str) -> None:
    assert check(sentence)[1].unsupported == [sentence.replace(" [1]", "")]


@pytest.mark.parametrize(
    "sentence",
    [
        "Il forno a legna tiene la temperatura per sei ore [1].",
        "Il forno costa 4.200 euro [1].",
        "Secondo me conviene provarlo prima su una macchina pulita.",
        "Abbiamo già scelto il fornitore della farina?",
        "In memoria non trovo che cosa abbiamo deciso per la farina.",
        "I do not find in memory what we decided about flour.",
        "Con calma, Rafa.",
        "Il 9 gennaio 2026 il forno costa 4.200 euro [1].",
    ],
)
def test_advice_questions_and_what_is_supported_are_left_alone(sentence: str) -> None:
    assert check(sentence)[1].unsupported == []


def test_a_figure_of_the_question_may_be_repeated() -> None:
    assert (
        check("Per 30 pizze serve altro forno grande.", question="Serve per 30 pizze?")[1].unsupported == []
    )


def test_a_mark_in_the_text_is_put_where_it_is_asked_for() -> None:
    shown, _ = check("Abbiamo scelto il fornitore di Bologna. Bene.", marks=True)
    assert shown == "Abbiamo scelto il fornitore di Bologna [?]. Bene."
    assert check("Abbiamo scelto il fornitore di Bologna.")[0] == "Abbiamo scelto il fornitore di Bologna."


def test_what_lacks_support_is_in_the_answers_provenance(assistant: Assistant) -> None:
    voice = ScriptedLLM("Sei ore [1]. Abbiamo deciso di comprarne un altro a Bologna.")
    found = answer(speaking(assistant, voice), "Quante ore tiene il forno?")
    assert found.provenance["unsupported"] == ["Abbiamo deciso di comprarne un altro a Bologna."]
    assert "[?]" not in found.answer
    marked = replace(speaking(assistant, voice), mark_unsupported=True)
    assert answer(marked, "Quante ore tiene il forno?").answer.endswith("a Bologna [?].")


def test_the_memory_quoted_lacks_no_support(assistant: Assistant) -> None:
    assert answer(assistant, "Quante ore tiene il forno a legna?").provenance["unsupported"] == []


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Chi sei?", "Sono Cervella, la socia di Rafa"),
        ("Ciao Cervella, come ti chiami?", "Sono Cervella, la socia di Rafa"),
        ("Sei un modello?", "Sono Cervella, la socia di Rafa"),
        ("Ciao!", "Sono Cervella, la socia di Rafa"),
        ("Who are you?", "I am Cervella, Rafa's partner"),
        ("Quem és tu?", "Sou a Cervella, a sócia do Rafa"),
    ],
)
def test_who_she_is_comes_from_the_persona_without_a_citation(
    assistant: Assistant, question: str, words: str
) -> None:
    found = answer(assistant, question)
    assert found.answer.startswith(words)
    assert found.citations == ()
    assert found.provenance["about_her"]
    assert found.provenance["chunk_ids"] == []


def test_another_persona_says_who_it_is(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_PERSONA__NAME", "archivist")
    monkeypatch.setenv("CERVELLA_PERSONA__PARTNER", "Ada")
    other = bootstrap.make_assistant(bootstrap.load_settings())
    assert answer(other, "Who are you?").answer.startswith("Marlowe. I keep Ada's archive")
    assert answer(other, "Chi sei?").answer.startswith("Marlowe. Tengo l'archivio di Ada")
    assert answer(other, "Quem és tu?").answer.startswith("Marlowe. I keep")  # it has no Portuguese
    voice = ScriptedLLM("I am Marlowe.")
    answer(speaking(other, voice), "Who are you?")
    assert voice.prompts[0].about_her


def test_a_model_is_asked_about_itself_without_memory(assistant: Assistant) -> None:
    voice = ScriptedLLM("Sono Cervella, la tua socia [1].")
    found = answer(speaking(assistant, voice), "Chi sei?")
    assert voice.prompts[0].citations == ()
    assert found.answer == "Sono Cervella, la tua socia."
    assert found.provenance["situations"] == ["identity"]
    assert found.provenance["unsupported"] == []


@pytest.mark.parametrize(
    "question",
    ["Chi sei e quanto tiene il forno a legna?", "Quante ore tiene il forno?", "Chi ha scelto il forno?"],
)
def test_a_question_with_a_fact_in_it_is_asked_of_the_memory(assistant: Assistant, question: str) -> None:
    assert not answer(assistant, question).provenance["about_her"]


def dated(number: int, text: str, date: str | None, path: str = "") -> tuple[Hit, Citation]:
    return memory(number, text, date=date, path=path or f"{number}.md")


OLD = dated(1, "Il forno a legna costa 4.200 euro.", "2026-01-09")
NEW = dated(2, "Il forno a legna ora costa 3.800 euro.", "2026-01-20")


def conflicts(*passages: tuple[Hit, Citation]) -> tuple[tuple[int, int], ...]:
    return find_conflicts([citation for _, citation in passages], [hit for hit, _ in passages])


def test_two_passages_with_other_figures_disagree_and_the_older_comes_first() -> None:
    assert conflicts(OLD, NEW) == ((1, 2),)
    assert conflicts(NEW, OLD) == ((1, 2),)


@pytest.mark.parametrize(
    "other",
    [
        dated(2, "Il forno a legna ora costa 3.800 euro.", None),
        dated(2, "Il forno a legna ora costa 3.800 euro.", "2026-01-09"),
        dated(2, "Il forno a legna costa 4.200 euro.", "2026-01-20"),
        dated(2, "La farina arriva in sacchi da 25 chili.", "2026-01-20"),
        dated(2, "Il forno a legna costa 3.800 euro.", "2026-01-20", "1.md"),
        dated(2, "Il forno a legna costa 4.200 euro, visto il 2026-01-20.", "2026-01-20"),
    ],
    ids=["undated", "same day", "same figure", "other subject", "same file", "only its date differs"],
)
def test_passages_that_agree_are_no_conflict(other: tuple[Hit, Citation]) -> None:
    assert conflicts(OLD, other) == ()


def test_a_conflict_is_told_with_both_dates(assistant: Assistant, january: Path) -> None:
    for day, price in (("09", "4.200"), ("20", "3.800")):
        (january / f"prezzo_{day}.md").write_text(
            f"# Prezzo dell'impastatrice\n\n**Data:** 2026-01-{day}\n\n"
            f"L'impastatrice a spirale costa {price} euro.\n"
        )
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings, [january]))
    found = answer(assistant, "Quanto costa l'impastatrice a spirale?")
    told: Any = found.provenance["conflicts"]
    [(older, newer)] = told
    dates = {citation.number: citation.date for citation in found.citations}
    assert (dates[older], dates[newer]) == ("2026-01-09", "2026-01-20")
    assert f"[{older}] (2026-01-09) e [{newer}] (2026-01-20) non dicono la stessa cosa" in found.answer


def faults(text: str) -> tuple[str, ...]:
    return ("emoji",) if "\N{PARTY POPPER}" in text else ()


def heard(voice: ScriptedLLM) -> tuple[str, Spoken]:
    async def collect() -> tuple[str, Spoken]:
        events = [event async for event in said_well(voice.stream, asking("Va bene?"), faults)]
        end = events[-1]
        assert isinstance(end, Spoken)
        return "".join(event.text for event in events if isinstance(event, Token)), end

    return asyncio.run(collect())


class SecondThoughts(ScriptedLLM):
    """Says one thing first, another when it is told what was wrong."""

    def __init__(self, first: str, second: str | VoiceBrokenError) -> None:
        super().__init__()
        self.first, self.second = first, second

    def stream(self, prompt: Prompt):  # type: ignore[no-untyped-def]
        """Yield the draft, or what follows it."""
        said = self.second if prompt.draft else self.first
        self.pieces = () if isinstance(said, VoiceBrokenError) else (said,)
        self.error = said if isinstance(said, VoiceBrokenError) else None
        return super().stream(prompt)


def test_an_answer_that_breaks_a_rule_is_said_once_more() -> None:
    voice = SecondThoughts("Evviva \N{PARTY POPPER}", "Evviva.")
    text, end = heard(voice)
    assert text == "Evviva."
    assert end.said_again_for == ("emoji",)
    assert voice.prompts[1].draft == "Evviva \N{PARTY POPPER}"
    assert voice.prompts[1].faults == ("emoji",)


@pytest.mark.parametrize(
    "second", ["Di nuovo \N{PARTY POPPER}", "", VoiceBrokenError(voice="v", place="p", reason="r")]
)
def test_a_second_answer_that_is_no_better_does_not_count(second: str | VoiceBrokenError) -> None:
    text, end = heard(SecondThoughts("Evviva \N{PARTY POPPER}", second))
    assert text == "Evviva \N{PARTY POPPER}"
    assert end.said_again_for == ()


def test_a_good_answer_is_said_once() -> None:
    voice = SecondThoughts("Bene.", "Altro.")
    assert heard(voice)[0] == "Bene."
    assert len(voice.prompts) == 1


@pytest.mark.parametrize(("repair", "shown"), [("off", True), ("code", False), ("model", False)])
def test_what_is_done_about_a_broken_rule_is_a_setting(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch, repair: str, shown: bool
) -> None:
    monkeypatch.setenv("CERVELLA_PERSONA__REPAIR", repair)
    speaker = bootstrap.make_assistant(bootstrap.load_settings())
    voice = SecondThoughts("Certamente! Sei ore [1] \N{PARTY POPPER}", "Sei ore [1].")
    found: Answer = asyncio.run(speaking(speaker, voice).reply(Question("Quante ore tiene il forno?")))
    assert ("\N{PARTY POPPER}" in found.answer) is shown
    assert ("Certamente" in found.answer) is shown
    assert "Sei ore [1]" in found.answer
    assert found.provenance["faults"] == (["emoji", "banned"] if shown else [])
    assert len(voice.prompts) == (2 if repair == "model" else 1)
