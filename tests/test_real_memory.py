"""The promises that were measured on a real memory, kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .test_cli import cervella

REAL = {"CERVELLA_EMBEDDER__NAME": "use"}


@pytest.mark.timeout(400)
def test_indexes_a_real_memory_and_finds_three_quarters_of_what_is_asked(material: Path) -> None:
    indexed = cervella("index", material / "memory" / "sncp", "--json", env=REAL)
    assert indexed.returncode == 0, indexed.stderr
    report = json.loads(indexed.stdout)
    assert (report["added"], report["refused"]) == (178, [])
    assert {skip["rule"] for skip in report["skipped"]} == {"template"}
    assert len(report["skipped"]) == 5

    stats = json.loads(cervella("stats", "--json", env=REAL).stdout)
    assert stats["dated"] / stats["documents"] >= 0.95

    measured = json.loads(
        cervella("eval", "retrieval", material / "eval" / "dev.jsonl", "--json", env=REAL).stdout
    )
    spans = measured["overall"]["span"]
    assert spans["hit@1"] >= 0.40
    assert spans["hit@5"] >= 0.74
    assert spans["hit@10"] >= 0.78
    assert spans["mrr@10"] >= 0.53
