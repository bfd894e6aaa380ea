"""Reading folders: what is read, what is skipped by which rule, what is refused and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cervella_rag.domain import Scan
from cervella_rag.errors import RootMissingError
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.settings import MemorySettings


def scan(*folders: Path, **settings: object) -> Scan:
    return SourceReader(MemorySettings.model_validate(settings)).read(name_roots(folders))


def refusal(folder: Path) -> str:
    (only,) = scan(folder).refused
    return only.reason


def test_reads_every_markdown_file_but_templates(january: Path) -> None:
    found = scan(january)
    assert len(found.sources) == 8
    assert [(s.path, s.rule) for s in found.skipped] == [
        ("memoria/decisioni/_TEMPLATE_DECISIONE.md", "template")
    ]


def test_reads_a_hidden_sncp_folder_below_the_root(march: Path) -> None:
    assert ".sncp/progetti/pomelo/PROMPT_RIPRESA_pomelo.md" in [s.path for s in scan(march).sources]


def test_reads_a_hidden_sncp_folder_as_the_root(march: Path) -> None:
    assert "progetti/pomelo/pesi.json" in [s.path for s in scan(march / ".sncp").sources]


def test_skips_by_named_rules(march: Path) -> None:
    rules = {skip.path.removeprefix(".sncp/"): skip.rule for skip in scan(march).skipped}
    assert rules == {
        "progetti/pomelo/secrets/": "secret",
        "progetti/pomelo/logo.png": "not_text",
        "reports/daily/compliance_20260312.txt": "generated",
    }


def test_rules_are_settings(january: Path) -> None:
    found = scan(january, skip={"no_ideas": ["idee/"]})
    assert [(skip.path, skip.rule) for skip in found.skipped] == [("idee/", "no_ideas")]
    assert any(source.path.endswith("_TEMPLATE_DECISIONE.md") for source in found.sources)


def test_takes_a_single_file_as_a_root(january: Path) -> None:
    (source,) = scan(january / "stato" / "oggi.md").sources
    assert (source.root, source.path) == ("oggi.md", "oggi.md")


def test_gives_roots_of_one_name_different_names(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / ".sncp").mkdir(parents=True)
    assert [root.name for root in name_roots([tmp_path / "a/.sncp", tmp_path / "b/.sncp"])] == [
        "sncp",
        "sncp-2",
    ]


def test_reads_a_file_under_two_roots_once(january: Path) -> None:
    found = scan(january, january / "stato")
    assert [source.root for source in found.sources if source.path.endswith("oggi.md")] == ["january"]
    assert ("oggi.md", "in_another_root") in [(skip.path, skip.rule) for skip in found.skipped]


def test_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(RootMissingError, match="nowhere"):
        name_roots([tmp_path / "nowhere"])


def test_refuses_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.md").write_bytes("perché".encode("latin-1"))
    assert refusal(tmp_path) == "not UTF-8 (byte 0xe9 at offset 5)"


def test_refuses_nul_bytes(tmp_path: Path) -> None:
    (tmp_path / "binary.md").write_bytes(b"a\0b")
    assert "NUL" in refusal(tmp_path)


def test_refuses_a_file_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "big.md").write_bytes(b"a" * 50_000_000)
    assert refusal(tmp_path) == "larger than 5,000,000 bytes (memory.max_file_bytes)"


def test_refuses_a_link_that_leaves_the_root(tmp_path: Path, january: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "out.md").symlink_to(january / "stato" / "oggi.md")
    assert refusal(memory) == "symbolic link that leaves its root"


def test_refuses_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.md").symlink_to("loop.md")
    assert refusal(tmp_path) == "symbolic link that leads nowhere"


def test_reads_the_target_of_an_inner_link_once(january: Path) -> None:
    (january / "ora.md").symlink_to("stato/oggi.md")
    assert ("ora.md", "symlink_inside") in [(skip.path, skip.rule) for skip in scan(january).skipped]


def test_a_link_to_a_file_can_be_a_root(january: Path) -> None:
    (january.parent / "ora.md").symlink_to(january / "stato/oggi.md")
    (source,) = scan(january.parent / "ora.md").sources
    assert source.path == "oggi.md"


def test_rules_match_letters_of_either_case(tmp_path: Path) -> None:
    (tmp_path / "Secrets").mkdir()
    (tmp_path / "Secrets/k.md").write_text("chiave")
    assert [skip.rule for skip in scan(tmp_path).skipped] == ["secret"]


def test_names_that_are_not_utf8_stay_apart(tmp_path: Path) -> None:
    for name in (b"bad\xff.md", b"bad\xfe.md"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_text("parola")
    assert [source.path for source in scan(tmp_path).sources] == ["bad\\xfe.md", "bad\\xff.md"]


def test_skips_files_without_a_single_word(tmp_path: Path) -> None:
    (tmp_path / "vuoto.md").write_text("---\n***\n\N{GLOWING STAR}\n")
    assert [skip.rule for skip in scan(tmp_path).skipped] == ["empty"]


def test_does_not_wait_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    assert refusal(tmp_path) == "not a regular file"


def test_names_a_file_that_may_not_be_read(january: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def guarded(path: Path, flags: int) -> int:
        if path.name == "oggi.md":  # the tests may run as root, whom no file mode stops
            raise PermissionError(13, "Permission denied")
        return real_open(path, flags)

    monkeypatch.setattr("cervella_rag.memory.sources.os.open", guarded)
    found = scan(january)
    assert [(r.path, r.reason) for r in found.refused] == [("stato/oggi.md", "permission denied")]
    assert len(found.sources) == 7


def test_keeps_lines_true_with_crlf_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "windows.md").write_bytes("\ufeff# Titolo\r\n\r\nriga tre\r\n".encode())
    (source,) = scan(tmp_path).sources
    assert source.text.split("\n") == ["# Titolo", "", "riga tre", ""]
