"""The session brief: what it says, where from, and never more than it may."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cervella_rag import bootstrap
from cervella_rag.bootstrap.brief import make_brief_writer
from cervella_rag.chat.brief.records import read_records
from cervella_rag.chat.brief.writer import Brief
from cervella_rag.errors import ProjectUnknownError
from cervella_rag.protocols import StoreReader
from cervella_rag.tokens import estimate_tokens
from cervella_rag.vectors.generations import EmbeddedStore

from .conftest import FIXTURES, Index
from .test_cli import cervella

KNOWLEDGE = Path(__file__).parents[1] / "knowledge"
WRITER = make_brief_writer()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")


def read(store: EmbeddedStore) -> StoreReader:
    reader = store.read()
    assert reader is not None
    return reader


def assert_true(brief: Brief, folder: Path, budget: int) -> None:
    """Every line stands where it says, and all of them fit."""
    assert brief.tokens == estimate_tokens(brief.text) <= budget
    listed = [line for line in brief.text.split("\n") if line.startswith("- ")]
    lines = [line for section in brief.sections.values() for line in section]
    assert len(listed) == len(lines)
    for line in lines:
        assert line.source in brief.text
        count = len((folder / line.path).read_text("utf-8").split("\n"))
        assert 1 <= line.start_line <= line.end_line <= count


@pytest.mark.usefixtures("quick")
def test_a_real_memory(material: Path) -> None:
    memory = material / "memory" / "sncp"
    assert cervella("index", memory).returncode == 0
    reader = bootstrap.make_retriever(bootstrap.load_settings()).reader()
    brief = WRITER.write(reader)
    assert_true(brief, memory, 1000)
    assert (brief.as_of, brief.session) == ("2026-01-11", "165")
    assert {line.path for line in brief.sections["state"]} == {"stato/oggi.md"}
    assert "Sprint 3.2 PREPARATO" in brief.text
    assert "S164 SNCP Guardian Implementato" in brief.text
    assert brief.found["decisions"] == 18
    assert len(brief.sections["decisions"]) >= 5
    stale = brief.sections["stale"]
    assert stale[0].path == "stato/mappa_viva.md"
    assert "129" in stale[0].text
    assert "165" in stale[0].text
    assert any(
        "da_decidere" in line.text and "DECISO" in line.text for line in brief.sections["contradictions"]
    )
    assert WRITER.write(reader) == brief
    whole = WRITER.write(reader, max_tokens=4000)
    assert len(whole.sections["decisions"]) == 18


@pytest.mark.usefixtures("quick")
def test_the_sample_memory() -> None:
    assert cervella("index", KNOWLEDGE).returncode == 0
    reader = bootstrap.make_retriever(bootstrap.load_settings()).reader()
    brief = WRITER.write(reader)
    assert_true(brief, KNOWLEDGE, 1000)
    assert brief.as_of == "2026-03-14"
    assert {line.path for line in brief.sections["state"]} == {
        "progetti/cervella/PROMPT_RIPRESA_cervella.md",
        "progetti/miracollo/PROMPT_RIPRESA_miracollo.md",
    }
    assert [line.path for line in brief.sections["stale"]] == ["stato/mappa_viva.md", "stato/oggi.md"]
    plan = brief.sections["contradictions"][0]
    assert plan.text == "mette 6.3.0 al 2026-03-16, progetti/miracollo/stato.md:13 al 2026-03-09"

    miracollo = WRITER.write(reader, project="Miracollo", language="en")
    assert_true(miracollo, KNOWLEDGE, 1000)
    assert miracollo.text.startswith("# Brief of miracollo: memory as of 2026-03-14, session 32")
    paths = {line.path for section in miracollo.sections.values() for line in section}
    assert all("miracollo" in path.lower() for path in paths)
    with pytest.raises(ProjectUnknownError, match=r"There are: cervella, .*miracollo"):
        WRITER.write(reader, project="altro")


def test_the_decisions_of_seven_days_of_the_memory(
    index: Index, store: EmbeddedStore, january: Path
) -> None:
    decisions = january / "memoria" / "decisioni"
    for day in ("20260103", "20260104", "20260111"):
        (decisions / f"{day}_TAVOLI.md").write_text(f"# DECISIONE: tavoli {day}\n\n## In breve\n\nTondi.\n")
    index(january)
    brief = WRITER.write(read(store))
    assert [line.text for line in brief.sections["decisions"]] == [
        "2026-01-11 tavoli 20260111: Tondi.",
        "2026-01-10 S148b il forno a legna (DECISO)",
        "2026-01-04 tavoli 20260104: Tondi.",
    ]
    assert brief.found["decisions"] == 3


@pytest.mark.usefixtures("quick")
def test_fixtures_and_commands(march: Path) -> None:
    cervella("index", march)
    told = cervella("brief")
    assert told.returncode == 0, told.stderr
    assert (
        "- Spedire la versione 2.1 entro venerdi. [.sncp/progetti/pomelo/PROMPT_RIPRESA_pomelo.md:8]"
        in told.stdout
    )
    document = json.loads(cervella("brief", "pomelo", "--json", "--max-tokens", "300").stdout)
    assert document["as_of"] == "2026-03-14"
    assert document["tokens"] <= 300
    assert document["next_steps"][0]["start_line"] == 8
    assert cervella("brief", "--max-tokens", "10").returncode == 2
    assert cervella("brief", "altro").returncode == 2


@pytest.mark.usefixtures("quick")
def test_over_http(january: Path) -> None:
    cervella("index", january)
    with TestClient(bootstrap.make_app(bootstrap.load_settings()), base_url="http://127.0.0.1") as client:
        answer = client.get("/v1/brief", headers={"accept-language": "it"}).json()
        assert answer["text"].startswith("# Riepilogo: memoria al 2026-01-11, sessione 150")
        assert answer["state"][0]["path"] == "stato/oggi.md"
        assert client.get("/v1/brief?max_tokens=100").json()["code"] == "invalid_request"
        unknown = client.get("/v1/brief?project=altro")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "project_unknown")


@pytest.mark.usefixtures("quick")
def test_no_index_is_an_error() -> None:
    assert "There is no index" in cervella("brief").stderr


STATE = """# STATO

> **Data:** {day}
> **Sessione:** {session}

## Dove siamo

La cucina gira.
"""


@pytest.mark.parametrize(
    ("told", "is_stale"),
    [
        ({"day": "2026-01-03", "session": 150}, True),
        ({"day": "2026-01-04", "session": 149}, False),
        ({"day": "2026-01-11", "session": 140}, True),
        ({"day": "2026-01-11", "session": 141}, False),
    ],
)
def test_stale_is_eight_days_or_ten_sessions(
    index: Index, store: EmbeddedStore, january: Path, told: dict[str, object], is_stale: bool
) -> None:
    (january / "domande_aperte.md").write_text(STATE.format(**told))
    index(january)
    found = [line.path for line in WRITER.write(read(store)).sections["stale"]]
    assert found == (["domande_aperte.md"] if is_stale else [])


def test_an_archived_file_is_not_stale(index: Index, store: EmbeddedStore, january: Path) -> None:
    (january / "archivio" / "oggi.md").write_text(STATE.format(day="2025-12-01", session=3))
    index(january)
    assert WRITER.write(read(store)).sections["stale"] == ()


def test_a_date_in_the_future_is_no_today(index: Index, store: EmbeddedStore, january: Path) -> None:
    (january / "nota.md").write_text("# Nota\n\n**Data:** 2062-01-11\n\nUn anno sbagliato.\n")
    index(january)
    assert WRITER.write(read(store)).as_of == "2026-01-11"


def contradictions(index: Index, store: EmbeddedStore, january: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = january / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    index(january)
    brief = WRITER.write(read(store), language="en", max_tokens=4000)
    return [f"{line.source} {line.text}" for line in brief.sections["contradictions"]]


def test_contradictions_that_are(index: Index, store: EmbeddedStore, january: Path) -> None:
    menu = "memoria/decisioni/MENU_da_decidere.md"
    old, new = "20260109_FORNO_A_GAS.md", "20260111_FORNO_ELETTRICO.md"
    found = contradictions(
        index,
        store,
        january,
        {
            "stato/stato.md": "# Stato\n\n**Data:** 2026-01-11\n\nApriamo lunedì 14 gennaio con calma.\n",
            f"memoria/decisioni/{old}": "# A gas\n\n**Data:** 2026-01-09\n**Status:** DECISO\n\nGas.\n",
            f"memoria/decisioni/{new}": f"# B\n\n**Data:** 2026-01-11\n**Sostituisce:** {old}\n\nEl.\n",
            menu: "# Menu\n\n**Status:** **DECISO**\n\nCorto.\n",
        },
    )
    assert found == [
        f"{menu}:3 has a name that says da_decidere and a status that says DECISO: the status counts",
        f"memoria/decisioni/{new}:4 replaces memoria/decisioni/{old}, which still says DECISO",
        "stato/stato.md:5 says lunedi 2026-01-14, but that day is a Wednesday",
    ]


def test_contradictions_that_are_not(index: Index, store: EmbeddedStore, january: Path) -> None:
    day = "**Data:** 2026-01-"
    old, new = "20260109_FORNO_A_GAS.md", "20260111_FORNO_ELETTRICO.md"
    found = contradictions(
        index,
        store,
        january,
        {
            "stato/stato.md": f"# S\n\n{day}11\n\nSi apre mercoledì 14 gennaio. La 2.1.0 parte il 15.\n",
            "stato/mappa_viva.md": f"# M\n\n{day}10\n\nLa 2.1.0 era partita il 3 gennaio.\n",
            f"memoria/decisioni/{old}": "# A gas\n\n**Data:** 2026-01-09\n**Status:** SUPERSEDED\n\nGas.\n",
            f"memoria/decisioni/{new}": f"# B\n\n**Data:** 2026-01-11\n**Sostituisce:** {old}\n\nEl.\n",
            "memoria/decisioni/MENU_da_decidere.md": "# Menu\n\n**Status:** DA DECIDERE\n\nCorto.\n",
        },
    )
    assert found == []


def test_a_retired_file_is_not_in_it(index: Index, store: EmbeddedStore, january: Path) -> None:
    index(january)
    (january / "memoria" / "decisioni" / "20260110_SCELTA_DEL_FORNO.md").unlink()
    index(january)
    assert WRITER.write(read(store)).found["decisions"] == 0


def test_a_record_is_the_file_again(index: Index, store: EmbeddedStore, january: Path) -> None:
    index(january)
    for record in read_records(read(store).chunks()):
        lines = (january / record.path).read_text("utf-8").split("\n")
        told = [line for line in record.lines if line.strip()]
        assert told
        assert all(line in ("", lines[number]) for number, line in enumerate(record.lines))


NASTY = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=400)


@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(told=st.tuples(NASTY, NASTY), budget=st.integers(200, 1200))
def test_nothing_makes_it_longer_than_it_may_be(
    index: Index, store: EmbeddedStore, january: Path, told: tuple[str, str], budget: int
) -> None:
    state, decision = told
    text = f"# S\n\n**Data:** 2026-01-11\n\n## Prossimi passi\n\n{state}\n\n```\n{state}\n```\n- {decision}"
    (january / "stato" / "oggi.md").write_text(text, "utf-8")
    (january / "memoria" / "decisioni" / "20260111_X.md").write_text(f"# {decision}\n\nx\n", "utf-8")
    index(january)
    brief = WRITER.write(read(store), max_tokens=budget)
    assert estimate_tokens(brief.text) <= budget
    assert all("\n" not in line.text for section in brief.sections.values() for line in section)


@pytest.mark.timeout(30)
def test_hostile_lines_take_no_time(index: Index, store: EmbeddedStore, january: Path) -> None:
    blank, digits = " " * 60_000, "1 " * 20_000
    lines = [
        f"x{blank}y",
        f"| {blank}a",
        f"```\n|{blank}x\n```",
        f"- {digits}",
        f"lunedì {blank}3",
        "|" * 50_000,
    ]
    lines += [f"lunedì {day} gennaio 3.2.{day} " * 300 for day in range(28)]
    text = "# STATO\n\n**Data:** 2026-01-11\n\n## Prossimi passi\n\n" + "\n\n".join(lines)
    (january / "stato" / "oggi.md").write_text(text, "utf-8")
    (january / "stato" / "stato.md").write_text(text.replace("11", "10"), "utf-8")
    index(january)
    assert WRITER.write(read(store), max_tokens=1000).tokens <= 1000


def test_the_smallest_budget_holds_the_frame(index: Index, store: EmbeddedStore, january: Path) -> None:
    project = "プロジェクト" * 30
    (january / "nota.md").write_text(f"# Nota\n\n**Progetto:** {project}\n\nTesto.\n", "utf-8")
    index(january)
    for language in ("it", "en"):
        brief = WRITER.write(read(store), project=project, max_tokens=200, language=language)
        assert brief.tokens <= 200


def test_the_fixtures_fit(index: Index, store: EmbeddedStore) -> None:
    for layout in ("january", "march"):
        index(FIXTURES / layout)
        brief = WRITER.write(read(store), max_tokens=400)
        assert_true(brief, FIXTURES / layout, 400)
        assert re.match(r"# Riepilogo: memoria al 2026-0[13]-1[14]", brief.text)
