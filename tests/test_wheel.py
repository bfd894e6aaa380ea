"""What is installed elsewhere carries its words and its sample memory, and answers from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import httpx2
import pytest

from .served import free_port, wait_until_alive
from .system import absent

ROOT = Path(__file__).parents[1]
NO_NETWORK = ("NewConnectionError", "No matching distribution", "Temporary failure", "Connection")


def build(target: str, source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the same unpacked, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("dist")
    build("sdist", ROOT, folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    next(folder.glob("cervella_rag-*/")).rename(folder / "unpacked")
    build("wheel", folder / "unpacked", folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_sdist_carries_what_tests_and_documents_need(built: Path) -> None:
    carried = names(built / "unpacked")
    for part in ("cervella_rag", "prompts", "knowledge", "tests", "docs", "checks", "training", "docker"):
        ours = {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / part).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert ours - carried == set(), part
    assert {"README.md", "README.it.md", "LICENSE", "Makefile", "constraints.txt"} <= carried


def test_the_wheel_carries_prompts_knowledge_and_page(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")  # noqa: S202 - a zip that was just built
    carried = names(tmp_path / "site")
    for part in ("prompts", "knowledge"):
        assert {f"cervella_rag/{part}/{name}" for name in names(ROOT / part)} <= carried
    page = {"app.js", "words.js", "vendor/marked.esm.js", "vendor/marked.LICENSE"}
    assert {f"cervella_rag/api/page/{name}" for name in page} <= carried
    assert not any(name.startswith(("tests/", "docs/", "training/")) for name in carried)

    code = "from cervella_rag.resources import resource; print(resource('prompts'), resource('knowledge'))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "site", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.split() == [
        str(tmp_path / "site/cervella_rag" / name) for name in ("prompts", "knowledge")
    ]


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a clean environment that holds the wheel and what it depends on, nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    command += ["--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in NO_NETWORK):
        absent("the package index cannot be reached, and pip's cache does not hold everything")
    assert done.returncode == 0, done.stderr
    return folder / "bin/cervella"


@pytest.mark.timeout(900)  # installs a hundred packages and loads the real embedder
def test_installed_elsewhere_it_serves_and_answers_from_its_own_memory(
    installed: Path, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CERVELLA_")}
    environment |= {
        "CERVELLA_HOME": str(tmp_path / "home"),
        "CERVELLA_LANGUAGE": "en",
        "CERVELLA_LLM__OLLAMA_URL": "http://127.0.0.1:1",
    }
    environment.pop("PYTHONPATH", None)

    def cervella(*arguments: str) -> str:
        command = [str(installed), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    report = json.loads(cervella("index", "--json"))
    assert report["documents"] >= 40
    answer = json.loads(cervella("ask", "Perché niente fine-tuning?", "--json"))
    assert answer["mode"] == "memory_only"
    assert "La memoria cambia ogni giorno" in answer["answer"]

    port, log = free_port(), tmp_path / "served.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(installed), "serve", "--port", str(port)],
            cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT,
        ) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):  # fmt: skip
        try:
            wait_until_alive(str(client.base_url), process, log)
            said = client.post("/v1/chat", json={"message": "Perché niente fine-tuning?"}).json()
            page = client.get("/")
            shown = client.get("/page/app.js").status_code
        finally:
            process.terminate()
    assert said["citations"][0]["path"].endswith("20260110_NIENTE_FINE_TUNING.md")
    assert (page.status_code, shown) == (200, 200)
    assert "Cervella" in page.text


def test_versions_are_pinned_without_an_index() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").split("\n")
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin and "/" not in pin and " " not in pin for pin in pins)
