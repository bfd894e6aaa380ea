"""Words as the memory spells them: three ways of writing one word are one word."""

from __future__ import annotations

import pytest

from cervella_rag.memory.lexical import encode_document, encode_query, fold, terms, words


@pytest.mark.parametrize("spelling", ["liberta'", "libertà", "LIBERTÀ", "liberta", "liberta\u0300"])
def test_spellings_of_one_word_meet(spelling: str) -> None:
    assert terms(spelling) == ["liberta", "~libert"]


def test_stop_words_in_any_spelling_are_left_out() -> None:
    assert words("Perché, perche' e perche: c'è l'architettura?") == ["architettura"]


def test_names_and_figures_are_words() -> None:
    assert words("BYOK_vs_bundled costa $19.99, sessione 159e") == [
        "byok",
        "vs",
        "bundled",
        "costa",
        "19.99",
        "sessione",
        "159e",
    ]


def test_a_query_shares_numbers_with_the_document_that_has_its_words() -> None:
    document = encode_document("Le decisioni sui prezzi")
    query = encode_query("decisione prezzo")
    assert len(set(query.indices) & set(document.indices)) == 2  # the two stems


def test_the_very_word_counts_more_than_its_stem() -> None:
    query = encode_query("decisione")
    exact, inflected = encode_document("decisione presa"), encode_document("decisioni prese")
    assert len(set(query.indices) & set(exact.indices)) > len(set(query.indices) & set(inflected.indices))


def test_numbers_are_the_same_on_every_machine() -> None:
    assert encode_query("forno").indices == (3256030331, 1778768474)


def test_fold_keeps_letters_only_without_accents() -> None:
    assert fold("Città, É, ñ") == "citta, e, n"
