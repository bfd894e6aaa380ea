"""What SNCP files say of themselves, in both layouts the memory has had."""

from __future__ import annotations

from pathlib import Path

import pytest

from cervella_rag.domain import Document, Kind, Metadata, Source
from cervella_rag.memory.dates import find_date
from cervella_rag.memory.language import detect_language
from cervella_rag.memory.sncp import DocumentReader, relate
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.settings import SKIP_RULES, VOLATILE, MemorySettings

READER = DocumentReader(volatile=VOLATILE, template=SKIP_RULES["template"], detect_language=detect_language)


def read(folder: Path) -> dict[str, Metadata]:
    sources = SourceReader(MemorySettings()).read(name_roots([folder])).sources
    documents = relate(READER.read(source, (source.path,)) for source in sources)
    return {document.source.path: document.metadata for document in documents}


def read_text(path: str, text: str) -> Document:
    return READER.read(Source("memory", path, "0" * 64, text), (path,))


def test_reads_the_header_of_a_decision(january: Path) -> None:
    metadata = read(january)["memoria/decisioni/20260110_SCELTA_DEL_FORNO.md"]
    assert metadata == Metadata(
        title="DECISIONE: il forno a legna",
        date="2026-01-10",
        date_source="header",
        session="148b",
        kind=Kind.DECISION,
        status="DECISO",
        author="Tina",
        language="it",
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("**Superata da:** `20260111_LEGNA.md` (11 Gennaio 2026)", "memoria/decisioni/20260111_LEGNA.md"),
        ("> **Superseded by:** memoria/decisioni/20260111_LEGNA.md", "memoria/decisioni/20260111_LEGNA.md"),
        ("Substituída por: 20260111_LEGNA.md", "memoria/decisioni/20260111_LEGNA.md"),
        ("**Sostituita da:** quella di domani", None),
        ("**Superata da:** ../../../etc/passwd.md", None),
        ("**Superata da:** 20260110_GAS.md", None),
        ("**Status:** SUPERSEDED", None),
    ],
)
def test_a_header_names_what_took_the_files_place(line: str, named: str | None) -> None:
    document = read_text("memoria/decisioni/20260110_GAS.md", f"# Forno a gas\n\n{line}\n\nGas.\n")
    assert document.metadata.superseded_by == named


def test_dates_by_precedence(january: Path) -> None:
    origins = {path.split("/")[-1]: (m.date, m.date_source) for path, m in read(january).items()}
    assert origins["oggi.md"] == ("2026-01-11", "header")
    assert origins["LEZIONE_20260109_lievito.md"] == ("2026-01-09", "name")
    assert origins["RICERCA_FARINE_PARTE2.md"] == ("2026-01-08", "part")
    assert origins["IDEA_MENU_ESTIVO.md"] == (None, None)


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("**Data:** 2026-01-10 03:13", "03:13"),
        ("> **Data:** 9 Gennaio 2026, 9:42 - 13:30", "09:42"),
        ("**Data:** 9 Gennaio 2026", None),
        ("**Data:** 9 Gennaio 2026, rapporto 1:2500", None),
    ],
)
def test_a_header_may_say_the_time_beside_the_date(line: str, time: str | None) -> None:
    assert read_text("nota.md", f"# Nota\n\n{line}\n\nVista alle 11:11.\n").metadata.time == time


def test_takes_the_date_of_the_footer_last() -> None:
    text = "# Nota\n" + "\nriga\n" * 30 + "\n*Creato: 9 Gennaio 2026 - Sessione 140*\n"
    metadata = read_text("nota.md", text).metadata
    assert (metadata.date, metadata.date_source, metadata.session) == ("2026-01-09", "footer", "140")


def test_reads_the_march_layout(march: Path) -> None:
    found = {path.split("/")[-1]: metadata for path, metadata in read(march).items()}
    state = found["PROMPT_RIPRESA_pomelo.md"]
    assert (state.date, state.session, state.project, state.kind, state.volatile) == (
        "2026-03-14",
        "433",
        "pomelo",
        Kind.STATE,
        True,
    )
    decision = found["DECISIONE_PAGAMENTI_233.md"]
    assert (decision.date, decision.author, decision.language) == ("2026-03-02", "Ada", "en")
    handoff = found["HANDOFF_20260312_pomelo_S431.md"]
    assert (handoff.kind, handoff.session, handoff.project) == (Kind.HANDOFF, "431", "pomelo")
    harvest = found["RELATORIO_COLHEITA.md"]
    assert (harvest.language, harvest.session, harvest.date) == ("pt", "355", "2026-03-03")


def test_belongs_to_the_one_project_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\n**Progetto:** Pomelo - Bilancia\n")
    (tmp_path / "b.md").write_text("# Il magazzino di Pomelo\n\nVuoto.\n")
    (tmp_path / "c.md").write_text("# Altro\n\nNiente.\n")
    assert [metadata.project for metadata in read(tmp_path).values()] == ["pomelo", "pomelo", None]


def test_marks_templates(tmp_path: Path) -> None:
    assert read_text("perne/_TEMPLATE_PERNA.md", "# Perna").metadata.template


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("idee/20260111_RICERCA_QDRANT.md", Kind.RESEARCH),
        ("memoria/decisioni/CITY_TAX.md", Kind.DECISION),
        ("archivio/2026-01/analisi/bug_fixes/x.md", Kind.REPORT),
        ("coscienza/sessione_134_riassunto.md", Kind.SESSION),
        ("coscienza/pattern_emersi.md", Kind.CONSCIOUSNESS),
        ("17_TASK_BENCHMARK_CERVELLA.md", Kind.SPECIFICATION),
        ("RICERCA_AUDIT_LOG.md", Kind.RESEARCH),
        ("README.md", Kind.OTHER),
    ],
)
def test_kind_by_name_then_folder(path: str, kind: Kind) -> None:
    assert read_text(path, "# T").metadata.kind is kind


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("10 Gennaio 2026", "2026-01-10"),
        ("9 Gen 2026", "2026-01-09"),
        ("3 de março de 2026", "2026-03-03"),
        ("March 2nd, 2026", "2026-03-02"),
        ("2026-01-09 03:13", "2026-01-09"),
        ("20260114 | **Worker**", "2026-01-14"),
        ("CODE_REVIEW_2026_01_09", "2026-01-09"),
        ("01/02/2026", "2026-02-01"),
        ("31 Febbraio 2026, poi 1 Marzo 2026", "2026-03-01"),
        ("YYYY-MM-DD", None),
        ("versione 2026.1", None),
        ("120260114", None),
    ],
)
def test_dates_as_people_write_them(text: str, date: str | None) -> None:
    assert find_date(text) == date


def test_a_date_after_session_is_not_its_number() -> None:
    assert (
        read_text("a.md", "# T\n\n> **Sessione:** 9 Gennaio 2026 - Sessione 139\n").metadata.session
        == "139"
    )


def test_takes_digits_at_the_end_of_a_name_for_a_session_that_others_declare(tmp_path: Path) -> None:
    (tmp_path / "ANALISI_DEPLOY_152.md").write_text("# Analisi\n")
    (tmp_path / "GUIDA_COLAB_360.md").write_text("# Guida a 360 gradi\n")
    (tmp_path / "x.md").write_text("# X\n\n**Sessione:** 152\n")
    sessions = {path: metadata.session for path, metadata in read(tmp_path).items()}
    assert sessions == {"ANALISI_DEPLOY_152.md": "152", "GUIDA_COLAB_360.md": None, "x.md": "152"}


def test_dates_almost_every_file_of_a_real_memory(material: Path) -> None:
    found = read(material / "memory" / "sncp")
    dated = sum(metadata.date is not None for metadata in found.values())
    assert dated / len(found) >= 0.95
