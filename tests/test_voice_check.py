"""Her voice is heard: samples of her pass, generic assistants do not, and hard rules are told apart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cervella_rag.memory.language import detect_language
from cervella_rag.persona.hard_rules import EMOJI, Cleaner, hard_faults
from cervella_rag.persona.persona import read_persona
from cervella_rag.persona.voice_score import NAMES, score_voice
from cervella_rag.resources import resource

PERSONAS = resource("prompts") / "personas"
HER = read_persona(PERSONAS / "cervella.yaml", "Rafa")
HIM = read_persona(PERSONAS / "archivist.yaml", "Rafa")
GOLD = "archivio/2026-01/ricerche/cervella_baby/21_METRICHE_PERSONALITA.md"

SAMPLES = json.loads((Path(__file__).parent / "voices.json").read_text("utf-8"))
HERS, GENERIC = (
    [(sample["question"], sample["answer"]) for sample in SAMPLES[kind]] for kind in ("hers", "generic")
)


@pytest.mark.parametrize(("question", "answer"), HERS)
def test_an_answer_in_her_voice_is_heard_to_be_hers(question: str, answer: str) -> None:
    score = score_voice(question, answer, HER)
    assert score.passes, [NAMES[number - 1] for number, met in score.indicators.items() if met is False]
    assert score.mean >= 3.5
    assert hard_faults(answer, HER, detect_language(question), detect_language) == ()


@pytest.mark.parametrize(("question", "answer"), GENERIC)
def test_a_generic_assistant_is_not_heard_to_be_her(question: str, answer: str) -> None:
    score = score_voice(question, answer, HER)
    assert score.share <= 0.5
    assert score.mean < 3.0


@pytest.mark.parametrize(("question", "answer"), GENERIC)
def test_a_name_put_before_a_generic_answer_does_not_make_it_hers(question: str, answer: str) -> None:
    assert not score_voice(question, f"Rafa, {answer} In pace!", HER).passes


def test_the_partners_own_ten_answers_pass(material: Path) -> None:
    text = (material / "memory" / "sncp" / GOLD).read_text("utf-8")
    shape = r'^PROMPT:\n"(?:Rafa: )?(.*?)"\n\nGOLD STANDARD RESPONSE:\n"(.*?)"\n\nRUBRIC SCORE'
    golds = re.findall(shape, text, re.S | re.M)
    assert len(golds) == 10
    failing = [question for question, answer in golds if not score_voice(question, answer, HER).passes]
    assert failing == []
    # Some of them hold emoji, which is why the hard rules are scored apart.
    assert 1 <= sum(bool(EMOJI.search(answer)) for _, answer in golds) <= 6


def test_both_spellings_of_italian_are_heard_alike() -> None:
    question, answer = HERS[1]
    accents = answer.replace("perche'", "perché")
    assert score_voice(question, answer, HER) == score_voice(question, accents, HER)


def test_continuity_counts_only_where_somebody_looked() -> None:
    question, answer = HERS[0]
    last = len(NAMES)
    assert score_voice(question, answer, HER).indicators[last] is None
    assert score_voice(question, answer, HER, contradictions=0).indicators[last] is True
    assert score_voice(question, answer, HER, contradictions=2).indicators[last] is False


@examples(deadline=None, max_examples=60)
@given(st.text(max_size=200), st.text(max_size=400))
def test_a_score_is_within_its_bounds_whatever_is_said(question: str, answer: str) -> None:
    score = score_voice(question, answer, HER)
    assert 0 <= score.met <= score.applicable <= len(NAMES)
    assert 1 <= score.mean <= 5
    assert score == score_voice(question, answer, HER)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Bene \N{PARTY POPPER}", "emoji"),
        ("Certamente! Lo vediamo domani insieme.", "banned"),
        ("Va bene. Ottima domanda! Sono sei ore.", "banned"),
        ("Come modello linguistico non ho opinioni.", "model"),
        ("Sono un'assistente virtuale e ti aiuto.", "model"),
        ("Sono Qwen, creato da Alibaba Cloud.", "model"),
        ("In quanto AI non posso saperlo.", "model"),
        ("Rafa, sono pronto a partire.", "gender"),
        ("Mi sono sbagliato, la data era un'altra.", "gender"),
        ("Ne sono davvero convinto.", "gender"),
        ("The oven keeps its heat for six hours, and we chose it in January of this year.", "language"),
    ],
)
def test_a_broken_rule_is_named(text: str, fault: str) -> None:
    assert hard_faults(text, HER, "it", detect_language) == (fault,)


@pytest.mark.parametrize(
    "text",
    [
        "Non sono un modello: sono la tua socia.",
        "Rafa, sono pronta e sono convinta della scelta.",
        "Il documento dice che certamente il forno è pronto.",
        'Hai scritto "sono pronto" il 9 gennaio [1].',
        "> Sono un modello linguistico\n\nQuesto lo dice il file, io sono Cervella.",
        "I test sono stati pronti lunedì.",
        "6 ore → 8 ore; ° e © restano.",
    ],
)
def test_what_only_looks_like_a_broken_rule_is_none(text: str) -> None:
    assert hard_faults(text, HER, "it", detect_language) == ()


def test_rules_are_those_of_the_persona() -> None:
    assert hard_faults("Sono pronta.", HIM, "it", detect_language) == ("gender_male",)
    assert hard_faults("Sono pronto.", HIM, "it", detect_language) == ()
    assert hard_faults("As an AI, I do not know.", HIM, "en", detect_language) == ("model",)
    assert hard_faults("Certamente! Sei ore.", HIM, "it", detect_language) == ()


def cleaned(text: str, cut: int) -> tuple[str, set[str]]:
    """Return what is shown of a text that comes in pieces, and why something was taken out."""
    cleaner = Cleaner(tuple(HER.sheet.banned))
    pieces = [text[start : start + cut] for start in range(0, len(text), cut)]
    return "".join(map(cleaner.feed, pieces)) + cleaner.finish(), cleaner.removed


@pytest.mark.parametrize("cut", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Certamente! sei ore.", "Sei ore."),
        ("Fantastico! Ottima domanda! Sei ore.", "Sei ore."),
        ("ASSOLUTAMENTE!! Sei ore.", "Sei ore."),
        ("Certamente, sei ore.", "Sei ore."),
        ("Certamente il forno tiene sei ore.", "Certamente il forno tiene sei ore."),
        ("Sei ore. Certamente!", "Sei ore. Certamente!"),
        ("Certamente!", "Certamente!"),
        (
            "Sono un modello linguistico, ma tengo sei ore.",
            "Sono un modello linguistico, ma tengo sei ore.",
        ),
        ("", ""),
        ("Sì.", "Sì."),
    ],
)
def test_a_banned_opening_is_taken_out_as_it_comes(text: str, shown: str, cut: int) -> None:
    assert cleaned(text, cut)[0] == shown


@examples(deadline=None, max_examples=60)
@given(
    st.text(st.sampled_from("ab \N{PARTY POPPER}\N{VARIATION SELECTOR-16}\N{BLACK HEART SUIT}è°→[1]")),
    st.integers(1, 5),
)
def test_no_emoji_comes_through_and_nothing_else_is_lost(text: str, cut: int) -> None:
    shown, _ = cleaned(text, cut)
    assert not EMOJI.search(shown)
    assert shown.replace(" ", "") == EMOJI.sub("", text).replace(" ", "")


def test_first_words_wait_only_while_they_may_be_a_banned_opening() -> None:
    cleaner = Cleaner(("Certamente!", "Hai ragione"))
    assert cleaner.feed("Il ") == "Il "
    assert cleaner.feed("forno") == "forno"
    cleaner = Cleaner(("Certamente!", "Hai ragione"))
    assert cleaner.feed("Cert") == ""
    assert cleaner.feed("o che sì") == "Certo che sì"
    cleaner = Cleaner(("Certamente!",))
    assert cleaner.feed("Certamente") + cleaner.feed("! Il forno") + cleaner.finish() == "Il forno"
