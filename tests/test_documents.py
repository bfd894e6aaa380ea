"""Documents lead where they say, and both READMEs say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .documents import ROOT, anchors, blocks, commands, links

DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/**/*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("training/*.md"),
    ]
)
OPERATION = re.compile(r"\| `(GET|POST|DELETE) /")
ENGLISH, ITALIAN = ROOT / "README.md", ROOT / "README.it.md"


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(file: Path) -> None:
    for link in links(file):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("file", sorted((ROOT / "docs").glob("*.md")), ids=lambda file: file.name)
def test_every_document_can_be_found_from_the_front(file: Path) -> None:
    seen: set[Path] = set()
    waiting = [ENGLISH]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.is_relative_to(ROOT):
            continue
        seen.add(page)
        targets = (link.partition("#")[0] for link in links(page) if "://" not in link)
        waiting += [(page.parent / target).resolve() for target in targets if target]
    assert file in seen


def test_what_is_said_to_guard_is_tested() -> None:
    text = (ROOT / "docs/security.md").read_text("utf-8")
    named = set(re.findall(r"`(?:page/)?(test_\w+)`", text))
    assert len(named) > 15
    assert named - {file.stem for file in ROOT.glob("tests/**/test_*.py")} == set()
    code = "\n".join(file.read_text("utf-8") for file in ROOT.glob("tests/**/test_*.py"))
    told = {
        name
        for inside in re.findall(r"\((`[a-z_]+`(?:, `[a-z_]+`)*)\)", text)
        for name in inside.split(", ")
    }
    assert {name for name in told if f"def test_{name.strip('`')}(" not in code} == set()


def test_every_door_spends_a_limit_but_those_that_machines_watch() -> None:
    rows = [line for line in (ROOT / "docs/api.md").read_text("utf-8").splitlines() if "/" in line]
    doors = {row.split("`")[1]: row.split("|")[-2].strip() for row in rows if OPERATION.match(row)}
    assert len(doors) > 20
    # A completion looks first whether it is a front end's own request.
    free = {"GET /health", "GET /health/ready", "GET /metrics", "POST /v1/chat/completions"}
    assert {door for door, counted in doors.items() if not counted} == free


def test_both_languages_have_the_same_blocks_and_commands() -> None:
    assert blocks(ENGLISH) == blocks(ITALIAN)
    assert commands(ENGLISH, "By hand") == commands(ITALIAN, "A mano") != []


def test_both_languages_link_the_same_documents() -> None:
    def told(file: Path) -> list[str]:
        return sorted(link for link in links(file) if link.startswith(("docs/", "CHANGELOG")))

    assert told(ENGLISH) == told(ITALIAN)
    assert "README.it.md" in set(links(ENGLISH))
    assert "README.md" in set(links(ITALIAN))
