"""Windows, what sort of thing answers, the ranker, and what time asks for: pure, without an index."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervella_rag.domain import Chunk, Filters, Kind, Message, Metadata, Scores, Understood
from cervella_rag.memory.lexical import numbered, words
from cervella_rag.memory.windows import CHARACTERS, windows
from cervella_rag.retrieval.answer_types import asked_type, gives
from cervella_rag.retrieval.features import NAMES, features
from cervella_rag.retrieval.query import understand
from cervella_rag.retrieval.ranker import WEIGHTS, rerank
from cervella_rag.retrieval.reading import reading_of
from cervella_rag.retrieval.time import condition, prefer

TODAY = "2026-01-11"


def chunk(text: str, **metadata: object) -> Chunk:
    known = replace(Metadata(title="nota"), **metadata)  # type: ignore[arg-type]  # checked by the dataclass
    path = f"{len(text)}_{hash(text) % 1000}.md"
    return Chunk(
        text, "memory", path, (path,), text, ("Cucina",), 1, 9, text, f"nota\nCucina\n{text}", known
    )


def found(*chunks: Chunk) -> list[tuple[Chunk, Scores]]:
    return [(one, Scores(lexical=1.0, dense=0.5, window=0.5, fused=0.1)) for one in chunks]


def best(question: str, *texts: str) -> str:
    return rerank(question, found(*map(chunk, texts)))[0][0].text


@given(st.text(max_size=2000))
def test_windows_hold_every_word_and_none_is_long_without_need(text: str) -> None:
    made = windows(chunk(text))
    assert made
    lines = [line for line in text.split("\n") if line.strip()]
    assert [word for window in made for word in words(window.removeprefix("Cucina . "))] == [
        word for line in lines for word in words(line)
    ]
    longest = max(map(len, lines), default=0)
    assert max(map(len, made)) <= max(CHARACTERS * 2, longest) + len("Cucina . ")


@pytest.mark.parametrize(
    ("question", "wanted", "telling"),
    [
        ("quanto costa il forno?", "money", "il forno: 2.300 euro"),
        ("how much was the oven?", "number", "the oven, 2300"),
        ("dopo quanto scade la farina?", "time", "scade in 6 mesi"),
        ("di quanto cresce la resa?", "share", "+12%"),
        ("quando abbiamo iniziato?", "date", "10 gennaio 2026"),
        ("quantas pizzas fizemos?", "number", "40 pizzas"),
        ("perche il forno a legna?", "reason", "motivo: tiene il calore"),
    ],
)
def test_knows_what_sort_of_thing_answers(question: str, wanted: str, telling: str) -> None:
    assert asked_type(question) == wanted
    assert gives(wanted, telling)
    assert not gives(wanted, "la farina si pesa")


def test_a_word_within_another_asks_for_nothing() -> None:
    assert asked_type("com'e andata la prova?") is None
    assert asked_type("in quale data e partita?") == "date"


def test_numbers_in_words_are_searched_as_figures_too() -> None:
    assert words(numbered("perché diciannove dollari?"))[-1] == "19"
    assert numbered("chi sei?") == "chi sei?"


def test_prefers_the_passage_with_such_a_thing() -> None:
    question = "Quanto costa il forno elettrico?"
    assert best(question, "Il forno elettrico scalda bene", "Il forno elettrico: 2.300 €") == (
        "Il forno elettrico: 2.300 €"
    )


def test_prefers_a_window_that_has_the_words_together() -> None:
    together = "Il forno elettrico scalda in fretta\n" + "altro da dire della pizza e del pane. " * 9
    apart = "Il forno a legna\n" + "altro da dire della pizza e del pane. " * 9 + "\nelettrico, scalda"
    assert best("Come scalda il forno elettrico?", apart, together) == together


def test_ranks_an_example_below_a_record() -> None:
    record = chunk("Abbiamo scelto il forno a legna", kind=Kind.DECISION)
    example = chunk("Abbiamo scelto il forno a legna!", kind=Kind.SPECIFICATION)
    assert rerank("Quale forno abbiamo scelto?", found(example, record))[0][0] is record


def test_every_feature_has_a_weight_and_no_candidate_breaks_it() -> None:
    assert set(WEIGHTS) == set(NAMES)
    assert rerank("forno", []) == []
    lexical_only = [(chunk("forno"), Scores(lexical=2.0)), (chunk(""), Scores())]
    assert features("?", lexical_only).shape == (2, len(NAMES))
    assert rerank("forno", lexical_only)[0][0].text == "forno"


@pytest.mark.parametrize(
    ("question", "asks", "session", "since", "until"),
    [
        ("A che punto siamo con il forno?", "state", None, None, None),
        ("Perché il forno a legna?", "why", None, None, None),
        ("Cosa abbiamo fatto nella sessione 140?", "fact", "140", None, None),
        ("What did we do in session 159e?", "fact", "159e", None, None),
        ("Cosa è successo il 9 gennaio?", "fact", None, "2026-01-09", "2026-01-09"),
        ("O que decidimos em 9 de janeiro de 2026?", "decision", None, "2026-01-09", "2026-01-09"),
        ("What happened yesterday?", "fact", None, "2026-01-10", "2026-01-10"),
        ("Che lezioni abbiamo imparato a dicembre?", "lesson", None, "2025-12-01", "2025-12-31"),
        ("Che cosa abbiamo deciso negli ultimi 3 giorni?", "decision", None, "2026-01-09", None),
        ("Quanto pesa un impasto da 250 grammi?", "fact", None, None, None),
        ("Il 31 febbraio?", "fact", None, None, None),
    ],
)
def test_understands_sort_session_and_days(
    question: str, asks: str, session: str | None, since: str | None, until: str | None
) -> None:
    found = understand(question, (), TODAY, 1000)
    assert (found.asks, found.session, found.since, found.until) == (asks, session, since, until)


def test_a_memory_without_dates_has_no_yesterday() -> None:
    assert understand("Che cosa è successo ieri?", (), "", 1000).since is None


def test_a_question_that_leans_is_searched_with_the_answer_before_it() -> None:
    history = (Message("user", "Che forno abbiamo?"), Message("assistant", "Uno a legna. " * 90))
    searched = understand("E quanto consuma?", history, TODAY, 1000).searched
    assert searched.startswith("Che forno abbiamo?\nUno a legna.")
    assert searched.endswith("\nE quanto consuma?")
    assert len(searched) < 400


def test_what_the_caller_filters_by_is_not_replaced() -> None:
    asked = Understood("", (), session="140")
    assert condition(asked, Filters(session="12")) is None
    assert condition(asked, Filters(project="pizza")) == Filters(project="pizza", session="140")
    assert condition(Understood("", ()), Filters()) is None


def order(asked: Understood, *chunks: Chunk) -> list[str]:
    return [one.text for one, _ in prefer(asked, found(*chunks))]


def test_the_named_session_comes_first_with_its_suffixes() -> None:
    chunks = chunk("altra", session="14"), chunk("nota", session="140b"), chunk("diario", session="140")
    chunks = (*chunks[:2], replace(chunks[2], metadata=replace(chunks[2].metadata, kind=Kind.SESSION)))
    assert order(Understood("", (), session="140"), *chunks) == ["diario", "nota", "altra"]


def test_the_state_is_the_newest_and_what_is_gone_has_none() -> None:
    old, new = chunk("vecchio", date="2025-11-01"), chunk("nuovo", date="2026-01-10")
    gone = replace(chunk("tolto", date="2026-01-11"), retired="2026-01-11")
    state = Understood("", (), asks="state")
    assert order(state, gone, old, new) == ["nuovo", "vecchio"]
    assert order(Understood("", ()), gone, old, new) == ["tolto", "vecchio", "nuovo"]
    assert order(state, gone) == ["tolto"]


def test_a_file_rewritten_in_place_leads_only_while_fresh() -> None:
    state = Understood("", (), asks="state")
    today = chunk("oggi", date="2026-01-11", session="165", volatile=True)
    stuck = chunk("mappa", date="2026-01-11", session="129", volatile=True)
    plain = chunk("rapporto", date="2026-01-11", session="164")
    assert order(state, stuck, plain, today)[0] == "oggi"
    assert order(state, plain, stuck)[0] == "rapporto"


def test_a_record_that_says_it_was_replaced_yields_unless_its_day_is_asked_for() -> None:
    replaced = chunk("prima", date="2026-01-10", status="SUPERSEDED")
    lasting = chunk("poi", date="2026-01-11", status="DECISO (sospesa, non annullata)")
    assert order(Understood("", ()), replaced, lasting) == ["poi", "prima"]
    day = Understood("", (), since="2026-01-10", until="2026-01-10")
    assert order(day, lasting, replaced) == ["prima", "poi"]
    named = chunk("prima", date="2026-01-10", superseded_by="poi.md")
    assert order(Understood("", ()), named, lasting) == ["poi", "prima"]


def test_what_was_written_within_the_hour_comes_before_the_rest_of_the_day() -> None:
    day = chunk("giorno", date="2026-01-10")
    other = chunk("altro", date="2026-01-11", time="03:10")
    night = chunk("notte", date="2026-01-10", time="03:13")
    asked = Understood("", (), since="2026-01-10", until="2026-01-10", hour=3)
    assert order(asked, day, other, night) == ["notte", "giorno", "altro"]
    assert order(replace(asked, hour=14), day, other, night)[0] == "giorno"


@pytest.mark.parametrize(
    ("question", "hour"),
    [
        ("Che cosa abbiamo finito alle tre di notte del 10 gennaio 2026?", 3),
        ("E alle sei del mattino dell'11 gennaio 2026?", 6),
        ("Che cosa era fatto alle 15:30 del 9 gennaio 2026?", 15),
        ("Alle undici di sera del 9 gennaio 2026 che cosa mancava?", 23),
        ("A che punto era all'una di notte del 10 gennaio 2026?", 1),
        ("What did we finish at 3 p.m. on January 9, 2026?", 15),
        ("O que fizemos às 8 da noite de 9 de janeiro de 2026?", 20),
        ("Ho risposto alle tre domande del 9 gennaio 2026?", None),
        ("Che cosa succede alle tre di notte?", None),
    ],
)
def test_an_hour_is_heard_where_a_day_is_named(question: str, hour: int | None) -> None:
    assert understand(question, (), "2026-01-20", 1000).hour == hour


READ = (
    "1:,money,number,",
    " cucin not ",
    " 2.300 cost cucin eur forn ",
    " cucin legn querc tien ",
)


def test_a_reading_is_what_it_was() -> None:
    """Where this fails, what indexes hold was read by other rules: raise `reading.VERSION`."""
    apart = chunk(f"Il forno costa 2.300 euro{'.' * 140}\nTiene la legna di quercia.")
    assert reading_of(apart) == "\n".join(READ)


def test_an_older_reading_is_read_anew() -> None:
    one = chunk("il forno: 2.300 euro")
    assert reading_of(replace(one, reading="0:,date,\n x \n y ")) == reading_of(one)
    assert reading_of(replace(one, reading="1:,date,\n x \n y ")) == "1:,date,\n x \n y "
