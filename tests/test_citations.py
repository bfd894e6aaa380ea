"""Citations point at lines that are there, and only given numbers pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cervella_rag.chat.citations import QUOTE_LINES, CitationCheck, cite
from cervella_rag.domain import Chunk, Hit, Kind, Metadata, Scores
from cervella_rag.templates import quoted


def hit(text: str, start_line: int = 10) -> Hit:
    lines = text.count("\n") + 1
    chunk = Chunk("id", "memory", "a.md", ("a.md",), "0" * 64, ("A",), start_line,
                  start_line + lines - 1, text, text, Metadata(title="A", kind=Kind.OTHER))  # fmt: skip
    return Hit(chunk, Scores(fused=1.0))


def given_citations(*texts: str) -> CitationCheck:
    hits = [hit(text) for text in texts]
    return CitationCheck(cite(hits, ""), hits)


def filtered(pieces: list[str], *texts: str) -> tuple[str, CitationCheck]:
    check = given_citations(*(texts or ("alfa", "beta")))
    return "".join([*map(check.feed, pieces), check.finish()]), check


def test_quotes_the_lines_that_share_most_with_the_question() -> None:
    text = "\n".join([*("riga vuota di senso" for _ in range(9)), "Il forno tiene sei ore", "e basta"])
    (citation,) = cite([hit(text)], "Quante ore tiene il forno?")
    assert citation.quote == "Il forno tiene sei ore\ne basta"
    assert (citation.start_line, citation.end_line) == (19, 20)


def test_a_quote_ends_before_the_next_heading() -> None:
    text = "# Forno\n\nTiene sei ore.\n\n## Farina\n\nTipo 1."
    (citation,) = cite([hit(text)], "Quante ore tiene il forno?")
    assert citation.quote == "# Forno\n\nTiene sei ore."


def test_the_text_counts_more_than_the_heading() -> None:
    text = "# Il forno e le ore\n\nPremessa.\n\n## Poi\n\nIl forno tiene sei ore."
    (citation,) = cite([hit(text)], "Quante ore tiene il forno?")
    assert citation.quote.endswith("Il forno tiene sei ore.")


HEADER = "# DECISIONE: il forno a legna\n\n> **Data:** 10 Gennaio 2026\n> **Sessione:** 150\n\n---\n\n"


def test_a_title_above_its_header_is_no_answer() -> None:
    text = HEADER + "## In breve\n\nLo costruiamo noi, entro giugno."
    (citation,) = cite([hit(text)], "Che cosa abbiamo deciso sul forno a legna?")
    assert citation.quote.endswith("entro giugno.")


@pytest.mark.parametrize(
    "question", ["Perché il forno a legna?", "Why the forno a legna?", "Por que o forno?"]
)
def test_who_asks_why_gets_the_reasons(question: str) -> None:
    text = HEADER + "Il forno a legna sta in cortile.\n\n## Perche' questo\n\n1. Tiene sei ore."
    (citation,) = cite([hit(text)], question)
    assert citation.quote == "## Perche' questo\n\n1. Tiene sei ore."


def test_the_header_answers_who_asks_for_it() -> None:
    text = HEADER + "> **Decisore:** Rafa, dopo due assaggi\n\nLo costruiamo noi."
    (citation,) = cite([hit(text)], "Dopo quanti assaggi?")
    assert "due assaggi" in citation.quote


def test_a_quote_is_never_longer_than_its_limit() -> None:
    (citation,) = cite([hit("\n\n".join(f"riga {n}" for n in range(30)))], "domanda")
    assert len([line for line in citation.quote.split("\n") if line]) == QUOTE_LINES


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=20), min_size=1), st.text())
def test_a_quote_is_exactly_its_lines(lines: list[str], question: str) -> None:
    (citation,) = cite([hit("\n".join(lines), start_line=1)], question)
    assert citation.quote == "\n".join(lines[citation.start_line - 1 : citation.end_line])


@pytest.mark.parametrize(
    "pieces",
    [
        ["Sei ore [1]. Poi [7]."],
        ["Sei ore ", "[", "1", "]. Poi [", "7]", "."],
        list("Sei ore [1]. Poi [7]."),
    ],
)
def test_takes_out_citations_that_were_not_given(pieces: list[str]) -> None:
    text, check = filtered(pieces)
    assert text == "Sei ore [1]. Poi."
    assert (check.used, check.removed) == ([1], [7])


@given(st.text("a[]1 9\n", max_size=30), st.integers(1, 5))
def test_cutting_a_stream_anywhere_changes_nothing(text: str, size: int) -> None:
    whole, _ = filtered([text])
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert filtered(pieces)[0] == whole


def test_brackets_in_a_quote_do_not_pass_for_citations() -> None:
    text, check = filtered([quoted("vedi [1] e [99]")])
    assert check.used == []
    assert text == r"> vedi \[1\] e \[99\]"
