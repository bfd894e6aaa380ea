"""Cutting documents: nothing lost, nothing too long, rows whole, lines true."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cervella_rag.domain import Chunk, Document, Metadata, Source
from cervella_rag.memory.chunker import RAW_TOKENS, Chunker
from cervella_rag.memory.cleaning import clean
from cervella_rag.memory.markdown import parse_markdown
from cervella_rag.memory.sentences import split_long_text
from cervella_rag.memory.sncp import DocumentReader
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.settings import MemorySettings
from cervella_rag.tokens import estimate_tokens

CHUNKER = Chunker(350, 50, split_long_text)


def document(text: str, path: str = "note.md") -> Document:
    source = Source("memory", path, "0" * 64, text)
    return Document(source, Metadata(title="Note"), parse_markdown(text), (path,))


def chunks(text: str) -> tuple[Chunk, ...]:
    return CHUNKER.chunk(document(text))


def assert_sound(text: str, found: tuple[Chunk, ...]) -> None:
    lines = text.split("\n")
    covered: set[int] = set()
    for chunk in found:
        assert chunk.text in "\n".join(lines[chunk.start_line - 1 : chunk.end_line])
        assert estimate_tokens(chunk.text) <= RAW_TOKENS
        covered |= set(range(chunk.start_line, chunk.end_line + 1))
    missing = [number for number, line in enumerate(lines, 1) if clean(line) and number not in covered]
    assert not missing
    assert len({chunk.chunk_id for chunk in found}) == len(found)


def test_packs_small_sections_under_their_common_heading() -> None:
    text = "# Forno\n\n" + "".join(
        f"## Prova {n}\n\nLa pizza {n} cuoce in {n} minuti.\n\n" for n in range(4)
    )
    (only,) = chunks(text)
    assert only.headings == ("Forno",)
    assert only.index_text.startswith("note\nForno\nForno\nProva 0\n")


def test_splits_a_long_section_with_overlap() -> None:
    text = "# Lungo\n\n" + "\n\n".join(f"Paragrafo {n} sul lievito madre." * 3 for n in range(40))
    found = chunks(text)
    assert len(found) > 1
    assert all(chunk.headings == ("Lungo",) for chunk in found)
    assert all(after.start_line <= before.end_line for before, after in pairwise(found))
    assert_sound(text, found)


def test_never_cuts_a_table_row_and_repeats_the_header_for_the_index() -> None:
    rows = "\n".join(
        f"| farina {n} | assorbe {n} per cento di acqua, misurata due volte |" for n in range(60)
    )
    text = f"# Farine\n\n| Nome | Assorbimento |\n|---|---|\n{rows}\n"
    found = chunks(text)
    assert len(found) > 1
    assert all(line.endswith("|") for chunk in found for line in chunk.text.split("\n") if "farina" in line)
    assert all("Nome Assorbimento" in chunk.index_text for chunk in found)
    assert_sound(text, found)


def test_cuts_a_giant_row_between_cells() -> None:
    text = "| a | b |\n|---|---|\n|" + "|".join(f" cella {n} con parole " for n in range(300)) + "|\n"
    found = chunks(text)
    assert_sound(text, found)
    assert all("cella" not in chunk.text or not chunk.text.endswith("cell") for chunk in found)


def test_cuts_a_giant_line_at_sentences_but_not_after_abbreviations() -> None:
    text = "Il dott. Rossi pesa la farina ogni mattina alle sei. " * 100
    found = chunks(text)
    assert len(found) > 3
    assert all(chunk.text.endswith("sei.") for chunk in found)
    assert_sound(text.strip(), found)


def test_lines_that_look_like_headings_inside_a_fence_are_not() -> None:
    text = "# Vero\n\n```bash\n# finto\nmake pizza\n```\n\nDopo.\n"
    (only,) = chunks(text)
    assert only.headings == ("Vero",)
    assert "finto" in only.index_text


def test_keeps_the_words_of_a_box_and_drops_its_frame() -> None:
    box = "```\n+=======+\n|  CUCINA   [####....]  40%  |\n+=======+\n```"
    (only,) = chunks(f"# Stato\n\n{box}\n")
    assert only.index_text == "note\nStato\nStato\nCUCINA 40%"
    assert box in only.text


@pytest.mark.parametrize(
    "text", ["a", "```\nopen", "[x]: http://y\n", "- \n- b", "> > > deep", "|a|\n|-|\n"]
)
def test_odd_texts_lose_no_line(text: str) -> None:
    assert_sound(text, chunks(text))


_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", "# Uno", "## Due", "```", "~~~py", "| a | b |", "|---|---|", "- voce", "> cit"]
        ),
        st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=200),
        st.integers(1, 3000).map(lambda n: "parola. " * (n // 8)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(_LINES)
def test_any_text_is_cut_soundly(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert_sound(text, chunks(text))


def test_a_line_within_the_display_limit_stays_whole() -> None:
    line = "parola " * 190
    (only,) = chunks(f"{line.strip()}\n")
    assert only.text == line.strip()


def test_a_document_without_words_is_still_found_by_its_name() -> None:
    (only,) = chunks("```python\n```\n")
    assert only.index_text == "note"


@pytest.mark.parametrize(
    "line",
    ["[a](" * 25_000, "[" * 100_000, "```" + " " * 100_000 + "!", "[1," * 33_000, "n. " * 33_000,
     "\x1b[" * 50_000, "![" * 50_000, "[" + "#" * 100_000, "> " * 50_000, "|" * 100_000, "- " * 50_000],
    ids=range(11),
)  # fmt: skip
def test_a_hostile_line_does_not_hang(line: str) -> None:
    started = time.process_time()
    assert_sound(line, chunks(line))
    assert time.process_time() - started < 10


def test_a_real_memory_is_cut_soundly(material: Path) -> None:
    reader = DocumentReader(volatile=[], template=[], detect_language=lambda _: "it")
    sources = SourceReader(MemorySettings()).read(name_roots([material / "memory" / "sncp"])).sources
    total = 0
    for source in sources:
        found = CHUNKER.chunk(reader.read(source, (source.path,)))
        assert_sound(source.text, found)
        total += len(found)
    assert 1500 < total < 3500
