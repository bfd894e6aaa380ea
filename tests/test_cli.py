"""The command line as a user meets it: real processes, exit codes, stdout and stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

QUICK = {"CERVELLA_EMBEDDER__NAME": "none"}


def cervella(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cervella_rag", *map(str, arguments)]
    environment = {**os.environ, **QUICK, **(env or {})}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_index_search_ask_and_stats(january: Path) -> None:
    indexed = cervella("index", january)
    assert indexed.returncode == 0, indexed.stderr
    assert "added 8," in indexed.stdout
    assert "Skipped by the rule 'template' (1):" in indexed.stderr
    assert "memoria/decisioni/_TEMPLATE_DECISIONE.md" in indexed.stderr

    found = cervella("search", "forno a legna", "--explain")
    assert found.stdout.startswith("1. memoria/decisioni/20260110_SCELTA_DEL_FORNO.md  lines ")
    assert "words of the question: forno, legna" in found.stdout

    answered = cervella("ask", "Quante ore tiene il forno?")
    assert answered.stdout.startswith("Ecco che cosa dice la memoria.\n")
    assert "[1] memoria/decisioni/20260110_SCELTA_DEL_FORNO.md" in answered.stdout
    assert "voice: memory_only" in answered.stderr

    assert "8 files" in cervella("stats").stdout


@pytest.mark.parametrize(
    "arguments", [("search", "forno"), ("ask", "forno"), ("stats",), ("doctor",), ("index", "--dry-run")]
)
def test_json_is_one_document_on_stdout(january: Path, arguments: tuple[str, ...]) -> None:
    cervella("index", january)
    assert json.loads(cervella(*arguments, "--json").stdout)


def test_the_index_report_has_the_promised_names(january: Path) -> None:
    (january / "latin.md").write_bytes(b"citt\xe0")
    indexed = cervella("index", january, "--json")
    report = json.loads(indexed.stdout)
    assert indexed.returncode == 3
    reason = "not UTF-8 (byte 0xe0 at offset 4)"
    assert report["refused"] == [{"root": "january", "path": "latin.md", "reason": reason}]
    assert set(report) >= {
        "added", "changed", "moved", "retired", "unchanged", "skipped", "refused",
        "documents", "chunks", "embedded", "generation", "took_ms",
    }  # fmt: skip


def test_without_paths_it_brings_the_same_folders_up_to_date(january: Path) -> None:
    cervella("index", january)
    (january / "nuovo.md").write_text("# Nuovo\n\nBasilico.\n")
    assert "added 1," in cervella("index").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("search", "forno"), 2, "cervella index PATH"),
        (("ask", ""), 2, "The question is empty"),
        (("search", "x" * 4001), 2, "4001 characters"),
        (("search", "x", "--kind", "poema"), 2, "'kind'"),
        (("search", "x", "--since", "ieri"), 2, "'since'"),
        (("search", "x", "--top-k", "0"), 2, "top-k"),
        (("index", "nowhere"), 2, "'nowhere'"),
        (("index", "empty"), 2, "There is nothing to index"),
        (("eval", "retrieval", "missing.jsonl"), 2, "missing.jsonl"),
        (("serve", "--host", "0.0.0.0"), 2, "0.0.0.0"),  # noqa: S104 - it is refused
        (("dance",), 2, "dance"),
    ],
)
def test_wrong_use_is_a_sentence_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    result = cervella(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_memory_text_does_not_control_the_terminal(january: Path) -> None:
    hostile = "# T \x1b[31m\n\nzebra \x1b[2J\x1b]8;;http://x\x1b\\ \x9b \u202e\n"
    (january / "\x1b[2Jx\n.md").write_text(hostile)
    cervella("index", january)
    for command in (["search", "zebra", "--explain"], ["ask", "zebra"], ["index"]):
        result = cervella(*command)
        assert not set(result.stdout + result.stderr) & set("\x1b\x9b\u202e")


@pytest.mark.parametrize("skip", ['{"a": ["!"]}', '{"a": ["[z-a]"]}', "{bad"])
def test_a_pattern_that_cannot_be_used_is_named(january: Path, skip: str) -> None:
    result = cervella("index", january, env={"CERVELLA_MEMORY__SKIP": skip})
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert "skip" in result.stderr.lower() or "memory" in result.stderr


def test_a_home_that_cannot_be_written_is_a_sentence(january: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = cervella("index", january, env={"CERVELLA_HOME": str(tmp_path / "file")})
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)


def test_a_damaged_index_can_be_rebuilt_as_its_error_says(january: Path, tmp_path: Path) -> None:
    cervella("index", january)
    (tmp_path / "home/index/generations/000001/manifest.json").write_text("{")
    assert "cervella index --rebuild" in cervella("search", "forno").stderr
    assert cervella("index", "--rebuild", january).returncode == 0
    assert cervella("search", "forno").returncode == 0


def test_a_terminal_of_few_characters_is_no_error(january: Path) -> None:
    cervella("index", january)
    assert cervella("ask", "Perché il forno?", env={"PYTHONIOENCODING": "ascii"}).returncode == 0


def test_wrong_settings_name_the_variable() -> None:
    result = cervella("stats", env={"CERVELLA_RETRIEVAL__RRF_K": "many"})
    assert result.returncode == 2
    assert "CERVELLA_RETRIEVAL__RRF_K = 'many'" in result.stderr


@pytest.mark.parametrize(
    "address", ["localhost:11434", "http://localhost:abc", "http://[::1", "http://x:99999"]
)
def test_an_address_that_cannot_be_one_names_the_variable(address: str) -> None:
    result = cervella("ask", "forno", env={"CERVELLA_LLM__OLLAMA_URL": address})
    assert result.returncode == 2
    assert "CERVELLA_LLM__OLLAMA_URL" in result.stderr


@pytest.mark.parametrize("voice", ["memory_only", "ollama"])
def test_a_model_is_not_fetched_for_a_voice_that_could_not_use_it(voice: str, tmp_path: Path) -> None:
    result = cervella("model", "fetch", "--if-needed", env={"CERVELLA_LLM__VOICE": voice})
    assert (result.returncode, result.stdout) == (0, "")
    assert not (tmp_path / "home" / "models").exists()


def test_doctor_tells_why_no_voice_could_speak(january: Path) -> None:
    cervella("index", january)
    result = cervella("doctor", "--json", env={"CERVELLA_LLM__VOICE": "ollama"})
    (voice,) = [check for check in json.loads(result.stdout) if check["check"] == "voice"]
    assert result.returncode == 1
    assert voice["detail"].count("cannot speak now") == 1


def test_a_broken_configuration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cervella.toml").write_text("[llm\n")
    result = cervella("stats")
    assert result.returncode == 2
    assert "cervella.toml" in result.stderr


def test_speaks_italian(january: Path) -> None:
    result = cervella("search", "forno", env={"CERVELLA_LANGUAGE": "it"})
    assert "Non c'è ancora un indice" in result.stderr
    assert "Cerca passi" in cervella("--help", env={"CERVELLA_LANGUAGE": "it"}).stdout


def test_help_answers_as_soon_as_its_terminal_library_is_there() -> None:
    """Beside the same interpreter with typer and rich alone, because a busy machine slows both."""
    bare = [sys.executable, "-c", "import asyncio, rich.progress, typer.rich_utils"]
    ours, theirs = [], []
    for _ in range(5):
        started = time.perf_counter()
        assert cervella("--help").returncode == 0
        between = time.perf_counter()
        subprocess.run(bare, check=True)
        ours.append(between - started)
        theirs.append(time.perf_counter() - between)
    assert min(ours) < 2 * min(theirs)


def test_evaluates_retrieval(january: Path, tmp_path: Path) -> None:
    cervella("index", january)
    items = [
        {"id": "1", "kind": "fact", "question": "Quante ore tiene il forno?", "lang": "it",
         "file": "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md", "span": "per **sei ore**",
         "answer": "sei"},
        {"id": "2", "kind": "unanswerable", "question": "Chi dipinse la Gioconda?", "lang": "it",
         "file": None, "span": None, "answer": "non in memoria"},
    ]  # fmt: skip
    file = tmp_path / "eval.jsonl"
    file.write_text("\n".join(map(json.dumps, items)))
    report = json.loads(cervella("eval", "retrieval", file, "--json").stdout)
    assert report["overall"]["span"] == {"hit@1": 1.0, "hit@5": 1.0, "hit@10": 1.0, "mrr@10": 1.0}
    assert report["unanswerable_abstained"] == 1.0
    assert "fact" in cervella("eval", "retrieval", file).stdout


def test_an_evaluation_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "eval.jsonl").write_text('{"id": "1"}\n')
    result = cervella("eval", "retrieval", "eval.jsonl")
    assert result.returncode == 2
    assert "line 1" in result.stderr


def test_a_file_that_is_gone_is_found_and_marked(january: Path) -> None:
    assert cervella("index", january).returncode == 0
    (january / "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md").unlink()
    assert cervella("index").returncode == 0
    assert "retired file, last seen on 20" in cervella("search", "forno a legna").stdout
    verified = cervella("stats", "--verify")
    assert (verified.returncode, "1 retired: the index is their exact image" in verified.stdout) == (
        0,
        True,
    )
    (january / "nuova.md").write_text("# Nuova\n\nAppena scritta.\n")
    differing = cervella("stats", "--verify")
    assert (differing.returncode, "nuova.md: missing from the index" in differing.stdout) == (1, True)
    forgotten = cervella("index", "--forget", "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md")
    assert forgotten.stdout.startswith("Forgotten memoria/decisioni/")
    assert "SCELTA_DEL_FORNO" not in cervella("search", "forno a legna").stdout


def test_a_backup_goes_out_and_back(january: Path, tmp_path: Path) -> None:
    assert cervella("index", january).returncode == 0
    out = cervella("backup", tmp_path / "copia.tar.gz")
    assert (out.returncode, out.stdout.startswith("Copied 8 files")) == (0, True)
    back = cervella("restore", tmp_path / "copia.tar.gz")
    assert (back.returncode, back.stdout.startswith("Brought back 8 files")) == (0, True)
    assert cervella("stats", "--verify").returncode == 0
    assert cervella("restore", tmp_path / "manca.tar.gz").returncode == 2
