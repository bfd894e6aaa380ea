"""Which questions ask for an exact fact, what they ask for, and which do not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cervella_rag.memory.exact.patterns import Pattern
from cervella_rag.memory.exact.period import find_day, find_span
from cervella_rag.memory.exact.question import (
    CountFiles,
    CountMatches,
    Days,
    Exists,
    Lines,
    Links,
    Record,
    Records,
    requests,
)
from cervella_rag.memory.exact.spelling import LONGEST_QUESTION

QUESTIONS = Path(__file__).parent / "questions" / "knowledge.jsonl"


def first(question: str) -> tuple[object, ...]:
    return next(requests(question), ())


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Quanti file ci sono nella cartella idee/vecchie?", CountFiles("idee/vecchie")),
        (
            "quanti documenti ci sono sotto idee, sottocartelle escluse?",
            CountFiles("idee", recursive=False),
        ),
        ("Mi dici quanti file .json ci sono in dati/uscite?", CountFiles("dati/uscite", "json")),
        ("Quante note ci sono in idee, senza i modelli?", CountFiles("idee", templates=False)),
        ("Quanti file abbiamo in tutto nella memoria?", CountFiles(None)),
        ("How many files are there in the notes folder?", CountFiles("notes")),
        ("Quantos ficheiros há na pasta relatorios?", CountFiles("relatorios")),
        ("C'è ancora il file stato/ieri.md?", Exists("stato/ieri.md")),
        ("il file `note di viaggio.txt` esiste?", Exists("note di viaggio.txt")),
        ("Does the file plans/next.md exist?", Exists("plans/next.md")),
        ("Existe o ficheiro planos/depois.md?", Exists("planos/depois.md")),
        (
            "C'è una scheda per i fornitori, ovvero il file liste/FORNITORI.csv?",
            Exists("liste/FORNITORI.csv"),
        ),
        ("Esiste la cartella ricette?", Exists("ricette")),
        ("qual è il documento più recente sulla farina?", Records("newest", None, about="farina")),
        ("qual è la ricerca più recente su Tina?", Records("newest", "research", about="tina")),
        ("Quante righe ha stato/oggi.md?", Lines("stato/oggi.md")),
        ("Cervella, di quante righe è il file «oggi.md»?", Lines("oggi.md")),
        ("How many lines does notes/today.md have, please?", Lines("notes/today.md")),
        ("Quantas linhas tem o ficheiro hoje.md?", Lines("hoje.md")),
        (
            "Quante volte compare la parola lievito nel file ricette.md?",
            CountMatches(Pattern("lievito"), "ricette.md"),
        ),
        (
            'Quante volte si trova "forno a legna" in memoria/ricette.md?',
            CountMatches(Pattern("forno a legna"), "memoria/ricette.md"),
        ),
        (
            "In ricette.md quante volte è nominata Tina?",
            CountMatches(Pattern("Tina"), "ricette.md"),
        ),
        (
            "quante volte compare il pattern 'S\\d+' in diario.md?",
            CountMatches(Pattern("S\\d+", "regex"), "diario.md"),
        ),
        (
            "How many times does the word Oven appear in recipes.md?",
            CountMatches(Pattern("Oven"), "recipes.md"),
        ),
        (
            "Quantas vezes aparece a palavra Forno no ficheiro receitas.md?",
            CountMatches(Pattern("Forno"), "receitas.md"),
        ),
        (
            "quante volte compare la parola «farina» in ogni grafia nella memoria?",
            CountMatches(Pattern("farina", any_spelling=True), None),
        ),
        ("Quali link cita fonti/mulini.md?", Links("fonti/mulini.md", 10)),
        ("elenca gli URL presenti nel file mulini.md, massimo 3", Links("mulini.md", 3)),
        ("Which links does mills.md cite?", Links("mills.md", 10)),
        ("quante decisioni abbiamo preso finora?", Records("count", "decision")),
        ("Elenca le lezioni di febbraio", Records("list", "lesson", period="di febbraio")),
        ("list the decisions of session 203", Records("list", "decision", session="203")),
        ("elenca le idee del progetto pomelo", Records("list", "idea", project="pomelo")),
        ("Quantas decisões temos?", Records("count", "decision")),
        ("Qual è l'ultima lezione?", Records("newest", "lesson")),
        ("what is the latest report on flour?", Records("newest", "report", about="flour")),
        ("qual è lo stato della decisione SCELTA_DEL_FORNO?", Record("SCELTA_DEL_FORNO", "status")),
        ("Riassumi stato/oggi.md in tre righe", Record("stato/oggi.md")),
        ("che giorno della settimana era il 3 marzo 2026?", Days("il 3 marzo 2026", "weekday")),
        (
            "How many days are there between March 3, 2026 and March 9, 2026?",
            Days("between march 3, 2026 and march 9, 2026", "between"),
        ),
    ],
)
def test_a_question_for_a_fact_is_understood(question: str, asked: object) -> None:
    assert first(question) == (asked,)


def test_names_after_a_path_lie_in_its_folder() -> None:
    asked = first("Controlla se esistono questi file: vecchi/A.md, B.md e altri/C.md")
    assert asked == (Exists("vecchi/A.md"), Exists("vecchi/B.md"), Exists("altri/C.md"))


def test_existence_and_lines_are_asked_in_one_breath() -> None:
    asked = first("Check whether these files exist and how many lines they have: a/x.md, y.txt")
    assert asked == (Exists("a/x.md", lines=True), Exists("a/y.txt", lines=True))


def test_several_things_are_counted_in_one_file() -> None:
    asked = first(
        "Nel file diario.md conta: \"Turno\" seguito da un numero, 'Nota:', PIZZA e caffè in ogni grafia"
    )
    assert asked == (
        CountMatches(Pattern("Turno", numbered=True), "diario.md"),
        CountMatches(Pattern("Nota:"), "diario.md"),
        CountMatches(Pattern("PIZZA"), "diario.md"),
        CountMatches(Pattern("caffè", any_spelling=True), "diario.md"),
    )


@pytest.mark.parametrize(
    "question",
    [
        "Quanti documenti abbiamo messo in archivio con la pulizia?",
        "Il 9 gennaio, quanti file aveva la memoria e quanti agenti la squadra?",
        "Quanti file c'erano nel momento di massima grandezza della memoria?",
        "Quante sessioni sono andate perse per i file non salvati?",
        "Quante volte avevamo davvero tenuto un diario prima del controllo?",
        "A quante righe era cresciuta la pagina dello stato?",
        "How many times must a pattern show up before it becomes a rule?",
        "Di quanto si è accorciato CLAUDE.md?",
        "Che cosa c'è scritto in stato/oggi.md sul forno?",
        "Perché esiste il file stato/oggi.md?",
        "Quante decisioni hanno cambiato il nostro prodotto?",
        "Quante idee dovevamo raccogliere nel primo mese?",
        "Quante righe di istruzioni si portavano dietro le ragazze?",
        "Quanti giorni servono per il badge?",
        "Quanto costa al mese la macchina con la GPU?",
        "Dopo quante richieste al mese conviene una macchina nostra?",
        "Quali sono i tre stati possibili di una perna?",
        "Qual è lo stato del progetto?",
        "quante volte c'è stato?",
        "ciao",
        "",
        "?" * 500,
        "<f0>",
    ],
)
def test_a_question_for_something_else_is_left_to_the_search(question: str) -> None:
    assert list(requests(question)) == []


def test_no_question_about_the_sample_memory_is_taken_for_an_exact_one() -> None:
    lines = QUESTIONS.read_text("utf-8").splitlines()
    asked = [json.loads(line)["question"] for line in lines]
    assert len(asked) > 100
    assert [question for question in asked if first(question)] == []


PIECES = (
    "quante volte compare ", "a/", "la parola 'x' ", "in ogni grafia ", "x.md, ", "x.md ", "x.md e ",
    "o x.md ", "e ", "$3/M ", "$3 ", "le ", "_a", "esiste ", "quanti file ci sono in ", "in tutto ",
    "conta ", "'", "elenca i link di ", "al massimo 3 ", "20K, ", "richieste ", "costo ", "cioè ",
    "token in ingresso ", "leggi ", "dalle ", "1. ", "- ", ", ", ": ",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("opening", ["", "esistono ", "quante righe hanno ", "in x.md conta "])
def test_recognition_is_quick_where_one_piece_repeats(opening: str, piece: str) -> None:
    started = time.perf_counter()
    list(requests((opening + piece * 1500)[:LONGEST_QUESTION]))
    assert time.perf_counter() - started < 2


@examples(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=5, max_size=60))
def test_recognition_is_quick_on_any_mixture(pieces: list[str]) -> None:
    started = time.perf_counter()
    list(requests("".join(pieces)[:LONGEST_QUESTION]))
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("di gennaio", ("2026-01-01", "2026-01-31")),
        ("di dicembre", ("2025-12-01", "2025-12-31")),
        ("del 9 gennaio", ("2026-01-09", "2026-01-09")),
        ("dal 9 all'11 gennaio", ("2026-01-09", "2026-01-11")),
        ("da gennaio", ("2026-01-01", None)),
        ("dal 9 gennaio in poi", ("2026-01-09", None)),
        ("dopo il 10 gennaio 2026", ("2026-01-11", None)),
        ("fino al 10 gennaio", (None, "2026-01-10")),
        ("before january 10", (None, "2026-01-09")),
        ("degli ultimi 7 giorni", ("2026-01-14", None)),
        ("dell'ultima settimana", ("2026-01-14", None)),
        ("from march 1 to march 5, 2025", ("2025-03-01", "2025-03-05")),
        ("de janeiro de 2024", ("2024-01-01", "2024-01-31")),
        ("del 2025", ("2025-01-01", "2025-12-31")),
        ("del 31 febbraio", None),
        ("su qdrant", None),
        ("degli ultimi 2 mesi", ("2025-11-22", None)),
    ],
)
def test_spans_of_days(text: str, span: tuple[str | None, str | None] | None) -> None:
    assert find_span(text, "2026-01-20") == span


def test_a_day_without_a_year_may_lie_a_little_ahead() -> None:
    assert find_day("il 12 gennaio", "2026-01-11") == "2026-01-12"
    assert find_day("di gennaio", "2026-01-11") is None
