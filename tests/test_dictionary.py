"""The table of words in three languages: what it tells, and that each of its lines can be read."""

from __future__ import annotations

import pytest

from cervella_rag.domain import Chunk, Kind, Metadata, Scores
from cervella_rag.memory.lexical import encode_query, term_number
from cervella_rag.resources import resource
from cervella_rag.retrieval.dictionary import Dictionary, dictionary
from cervella_rag.retrieval.features import NAMES, features
from cervella_rag.retrieval.query import understand

TABLE = Dictionary(["forno;oven,furnace;forno", "prezzo,tariffa;price,pricing;preço"])


def test_words_are_found_by_their_stem_and_other_languages_alone_are_given() -> None:
    assert TABLE.translations("i prezzi del forno") == {
        "prezzi": ("preco", "price", "pricing"),
        "forno": ("furnace", "oven"),
    }
    assert TABLE.translations("what are the prices of the ovens?") == {
        "prices": ("preco", "prezzo", "tariffa"),
        "ovens": ("forno",),
    }
    assert TABLE.translations("lievito") == {}


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Quanto ci costa il server?", "it"),
        ("How much does the server cost?", "en"),
        ("Quanto custa o servidor para nós?", "pt"),
        ("", "it"),
        ("Miracollo?", "it"),
    ],
)
def test_the_language_is_the_one_most_words_are_of(question: str, language: str) -> None:
    assert dictionary().language(question) == language


def test_every_line_of_the_table_has_three_columns_of_single_words() -> None:
    lines = (resource("prompts") / "dictionary.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) > 1500
    for line in lines:
        columns = [column.split(",") for column in line.split(";")]
        assert len(columns) == 3, line
        assert all(
            word.strip() == word and word and " " not in word for names in columns for word in names
        ), line


def test_what_only_the_table_gives_weighs_less() -> None:
    query = encode_query("prezzo", ("price", "prezzo"), 0.4)
    weights = dict(zip(query.indices, query.values, strict=True))
    assert weights[term_number("prezzo")] == 1.0
    assert weights[term_number("price")] == 0.4


def test_a_question_says_what_else_was_looked_for() -> None:
    also = dict(understand("What is the price?", (), "", 1000).also)
    assert "prezzo" in also["price"]


def test_a_word_in_another_language_counts_half() -> None:
    def coverage(text: str) -> float:
        metadata = Metadata(title="t", kind=Kind.OTHER, language="it")
        chunk = Chunk(
            chunk_id=text, root="r", path="p", paths=("p",), sha256="s", headings=(), start_line=1,
            end_line=1,
            text=text, index_text=f"p\n\n{text}", metadata=metadata,
        )  # fmt: skip
        row = features("oven", [(chunk, Scores(lexical=1.0))], {"oven": ("forno",)})[0]
        return float(row[NAMES.index("window_coverage")])

    assert coverage("oven") == 1.0
    assert coverage("forno") == 0.5
    assert coverage("pane") == 0.0
