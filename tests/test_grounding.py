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


ASKED = "Quante ore tiene il forno a legna?"
NOWHERE = "Chi dipinse la Gioconda?"


def refused(assistant: Assistant, said: str, question: str = ASKED) -> Answer:
    return answer(speaking(assistant, ScriptedLLM(said)), question)


@pytest.mark.parametrize(
    ("said", "question", "words"),
    [
        (
            "Il forno a legna tiene 47 ore [1].",
            ASKED,
            "Aspetta, Rafa: quello che ho appena detto in memoria",
        ),
        ("Il forno è di Miracolo [1].", ASKED, "Aspetta, Rafa: quello che ho appena detto in memoria"),
        ("Abbiamo deciso con Mario di Bologna.", ASKED, "Aspetta, Rafa: quello che ho appena detto"),
        (
            "The wood oven lasts 47 hours [1].",
            "How long does the wood oven keep its temperature? forno legna",
            "Wait, Rafa: what I just said I do not find in memory.",
        ),
        (
            "O forno a lenha tem 47 horas [1].",
            "Por que escolhemos o forno a lenha para fazer a pizza? legna",
            "Espera, Rafa: o que acabo de dizer não encontro na memória.",
        ),
    ],
)
def test_an_answer_that_no_passage_bears_out_is_taken_back_in_words(
    assistant: Assistant, said: str, question: str, words: str
) -> None:
    found = refused(assistant, said, question)
    assert found.provenance["voice_span"] == [0, len(said)]
    assert found.answer.startswith(said)
    assert f"\n\n{words}" in found.answer
    assert not found.grounded
    assert found.provenance["refusal"] == "unfounded"
    assert "\n> " in found.answer
    assert f"[1] {found.citations[0].path}" in found.answer


@pytest.mark.parametrize(
    ("said", "question", "words"),
    [
        ("In memoria non ho un forno elettrico.", ASKED, "Il più vicino che ho:"),
        ("Rafa, questo non lo trovo [1].", ASKED, "Il più vicino che ho:"),
        ("Il costo in memoria non è stato registrato [1].", ASKED, "Il più vicino che ho:"),
        (
            "I do not find this in memory.",
            "How long does the wood oven keep? forno legna",
            "The closest I have:",
        ),
        (
            "Não o encontro na memória.",
            "Por que escolhemos o forno a lenha? legna",
            "O mais próximo que tenho:",
        ),
    ],
)
def test_who_does_not_find_it_is_given_the_closest(
    assistant: Assistant, said: str, question: str, words: str
) -> None:
    found = refused(assistant, said, question)
    assert found.answer.startswith(f"{said}\n\n{words}\n")
    assert not found.grounded
    assert found.provenance["refusal"] == "admitted"
    assert found.citations


def doubted(assistant: Assistant, said: str) -> Answer:
    """Answer where the search says that it found none, whatever it found."""
    voice = speaking(assistant, ScriptedLLM(said))
    retrieve = voice.retriever.retrieve

    class Doubting:
        def retrieve(self, question: Question) -> Any:
            """Return what is found as the closest alone."""
            found = retrieve(question)
            return replace(found, enough=False, closest=found.hits)

    return asyncio.run(replace(voice, retriever=Doubting()).reply(Question(ASKED)))  # type: ignore[arg-type]


def test_a_claim_where_the_search_found_no_answer_is_to_be_taken_with_care(assistant: Assistant) -> None:
    found = doubted(assistant, "Il forno a legna tiene sei ore di temperatura [1].")
    assert "\n\nPrendilo con cautela, Rafa: una risposta a questo in memoria non la trovo." in found.answer
    assert not found.grounded
    assert found.provenance["refusal"] == "doubtful"


def test_a_word_that_claims_nothing_is_left_alone_where_nothing_was_found(assistant: Assistant) -> None:
    for said in ("Bene, grazie. E tu?", "Secondo me conviene provarlo prima."):
        assert doubted(assistant, said).answer == said


@pytest.mark.parametrize(
    "said",
    [
        "Il forno a legna tiene la temperatura sei ore [1].",
        "Sei ore di temperatura [1]. Abbiamo deciso di comprarne un altro a Bologna.",
        "In memoria non si parla di elettrico, ma di sei ore di temperatura [1]. Poi 47.",
        "Conviene provarlo prima, Rafa.",
    ],
)
def test_an_answer_that_stands_on_a_passage_is_left_alone(assistant: Assistant, said: str) -> None:
    found = refused(assistant, said)
    assert found.answer == said
    assert found.provenance["refusal"] == ""


def test_a_figure_of_another_passage_is_no_invention() -> None:
    other = memory(2, "Il forno costa 9.900 euro.")
    checked = CitationCheck([OVEN[1], other[1]], [OVEN[0], other[0]], language="it")
    checked.feed("Il forno costa 9.900 euro [1].")
    checked.finish()
    assert checked.unsupported == ["Il forno costa 9.900 euro."]
    assert checked.supported == 1


def test_words_of_another_language_are_not_compared() -> None:
    checked = CitationCheck([OVEN[1]], [OVEN[0]], language="en")
    checked.feed("It is made of brick [1].")
    checked.finish()
    assert (checked.unsupported, checked.supported) == ([], 1)


def test_without_a_model_what_is_not_found_is_said_with_the_closest_in_each_language(
    assistant: Assistant,
) -> None:
    for question, words in (
        (NOWHERE, "Questo in memoria non lo trovo"),
        ("Who painted the famous portrait of Mona Lisa in Florence?", "I do not find this in memory"),
        ("Quem pintou o famoso retrato da Mona Lisa em Florença?", "Isto não encontro na memória"),
    ):
        found = answer(assistant, question)
        assert found.answer.startswith(words)
        assert not found.grounded
        assert found.provenance["refusal"] == ""


def test_what_code_says_after_her_is_not_held_against_her(assistant: Assistant) -> None:
    found = refused(
        assistant,
        "The wood oven lasts 47 hours and I am quite sure of it [1].",
        "How long does the wood oven keep its temperature? forno legna",
    )
    assert found.provenance["faults"] == []


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
    return find_conflicts([citation for _, citation in passages])


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


def test_what_says_itself_that_another_took_its_place_disagrees_with_it_in_whatever_words() -> None:
    hit, citation = dated(1, "Scegliamo il forno a gas.", "2026-01-09", "gas.md")
    old = hit, replace(citation, superseded_by="legna.md")
    assert conflicts(old, dated(2, "Scegliamo la legna.", "2026-01-10", "legna.md")) == ((1, 2),)
    assert conflicts(old, dated(2, "Scegliamo la legna.", "2026-01-10", "altro.md")) == ()


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
