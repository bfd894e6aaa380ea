"""What `make check` says of dependencies: allowed licences, known vulnerabilities, no network."""

from __future__ import annotations

import subprocess
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest

from checks import audit, licences

FOUND = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": [], "description": "bad"}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND (Apache-2.0 OR GPL-3.0-only)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later OR SSPL-1.0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_a_licence_is_allowed_where_nothing_of_it_is_foreign(expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression) is allowed


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ("License-Expression: MIT", "MIT"),
        ("License: The MIT License (MIT)", "MIT"),
        ("License: X\nClassifier: License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("Classifier: License :: Other/Proprietary License", "Other/Proprietary License"),
        ("Summary: says nothing", "unknown"),
    ],
)  # fmt: skip
def test_a_licence_is_read_wherever_a_package_says_it(tmp_path: Path, metadata: str, told: str) -> None:
    folder = tmp_path / "some-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: some\nVersion: 1\n{metadata}\n")
    assert licences.licence(PathDistribution(folder)) == told


def test_what_always_runs_is_told_from_what_tests_need() -> None:
    told = licences.rows()
    assert told["fastapi"][3] == "run"
    assert told["pytest"][3] == "tests"
    assert told["python-stdnum"][2] == "LGPL-2.1-or-later"


def test_a_known_vulnerability_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.report([{"name": "some", "version": "1.0", "vulns": [FOUND]}]) == 1
    assert capsys.readouterr().err == "some 1.0: PYSEC-2026-1, fixed in 2.0\n"
    assert audit.report([{"name": "some", "version": "1.0", "vulns": []}]) == 0


def test_without_an_index_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    skipped: dict[str, Any] = {"name": "some", "skip_reason": "not found"}
    assert audit.report([skipped]) == 0
    assert "not checked: no network" in capsys.readouterr().out
    assert audit.report([skipped, {"name": "other", "version": "1.0", "vulns": []}]) == 0
    assert "1 packages checked, the index knows nothing of some" in capsys.readouterr().out


def test_an_audit_that_breaks_off_is_told_apart_from_one_that_finds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = subprocess.CompletedProcess([], 1, stdout="", stderr="ERROR: connection refused")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)
    assert audit.main() == 0
    assert "not checked: no network" in capsys.readouterr().out
