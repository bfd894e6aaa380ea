"""Write docs/licences.md, the licences of what is depended on; with `--check`, fail where it is stale.

Read from the installed packages' own metadata. Not every machine has every extra: a row of a package that
is not installed stays as it is while constraints.txt names its version. A licence that is not in `ALLOWED`
fails.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "licences.md"

ALLOWED = {
    "0BSD", "AFL-2.1", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib",
    "MPL-2.0",  # copyleft of its own files, which are used unchanged
    "LGPL-2.1-or-later",  # a library of its own that anybody can replace, used unchanged
}  # fmt: skip
"""Licences, by SPDX, that do not ask anything of a program of Apache-2.0 that only imports them."""

_SPELLED = {
    "academic free license (afl)": "AFL-2.1",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.1-or-later",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "lgpl": "LGPL-2.1-or-later",
    "mit license": "MIT",
    "mit, bsd": "MIT AND BSD-3-Clause",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
_UNSAID = {"axe-playwright-python": "MIT AND MPL-2.0"}
"""Metadata says nothing: MIT as in the wheel's licence file, and the axe-core inside it is MPL-2.0."""

_HEAD = """<!-- Written by `make docs`; change checks/licences.py, not this file. -->

# Licences

Cervella is Apache-2.0. What she depends on, by the packages' own metadata; `make check` fails on a licence
that is not in the list of [checks/licences.py](../checks/licences.py). **run**: always installed; other
names are extras; **tests**: what developers install.

Not packages: `marked` in the page (MIT, its licence beside it); the demonstration model and Qwen3-4B, which
are fetched on demand (Apache-2.0, `cervella_rag/llm/models.toml`).

| package | version | licence | for |
|---|---|---|---|
"""
_ROW = re.compile(r"^\| (?P<name>\S+) \| (?P<version>\S+) \| (?P<licence>[^|]+) \| (?P<purpose>[^|]+) \|$")


def _key(name: str) -> str:
    return canonicalize_name(name)


def pins() -> dict[str, tuple[str, str]]:
    """Return name and version of what constraints.txt names, by canonical name."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {_key(name): (name, version) for name, version in pairs}


def licence(package: Distribution) -> str:
    """Return a licence as an SPDX expression, or as it is written where that is not known."""
    about = package.metadata
    if unsaid := _UNSAID.get(_key(package.name)):
        return unsaid
    if expressions := about.get_all("License-Expression"):
        return str(expressions[0])
    if text := "".join(about.get_all("License") or []).split("\n")[0].strip():
        known = _SPELLED.get(text.lower(), text)
        if is_allowed(known):
            return known
    classified = (
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if "License ::" in line
    )
    said = " OR ".join(_SPELLED.get(name.lower(), name) for name in classified if name != "DFSG approved")
    return said or text or "unknown"


def is_allowed(expression: str) -> bool:
    """Tell whether every part of an SPDX expression, or one of its alternatives, may be used."""
    parts = (part.strip("() ").split(" OR ") for part in expression.split(" AND "))
    return all(any(one.strip("() ") in ALLOWED for one in alternatives) for alternatives in parts)


def purposes(installed: Mapping[str, Distribution]) -> dict[str, str]:
    """Return what each package is installed for: always, the first extra that wants it, or tests."""
    found: dict[str, str] = {}
    extras = sorted(installed["cervella-rag"].metadata.get_all("Provides-Extra") or [], key="dev".__eq__)
    for extra in ["", *extras]:
        purpose = {"": "run", "dev": "tests", "browser": "tests"}.get(extra, extra)
        waiting = list(_needs(installed["cervella-rag"], {extra}))
        while waiting:
            name, wanted = waiting.pop()
            if name in found or name not in installed:
                continue
            found[name] = purpose
            waiting += _needs(installed[name], {"", *wanted})
    return found


def _needs(package: Distribution, extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    for line in package.requires or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
            yield _key(need.name), need.extras


def rows() -> dict[str, tuple[str, str, str, str]]:
    """Return name, version, licence and purpose of everything in constraints.txt that is known, by name."""
    installed = {_key(package.name): package for package in distributions()}
    wanted, told = purposes(installed), {}
    kept = {_key(row["name"]): row for row in map(_ROW.match, _document().splitlines()) if row}
    for key, (name, version) in sorted(pins().items()):
        before = kept.get(key)
        if package := installed.get(key):
            # Another Python, or fewer extras, may leave out who wanted it.
            purpose = wanted.get(key) or (before["purpose"] if before else "tests")
            told[key] = (name, version, licence(package), purpose)
        elif before and before["version"] == version:
            told[key] = (name, version, before["licence"], before["purpose"])
    return told


def unpinned() -> dict[str, Distribution]:
    """Return what is installed for us without a line in constraints.txt: another Python may need more."""
    installed = {_key(package.name): package for package in distributions()}
    return {name: installed[name] for name in purposes(installed).keys() - pins().keys()}


def _document() -> str:
    return DOCUMENT.read_text("utf-8") if DOCUMENT.exists() else ""


def main() -> int:
    """Write or check the document; return the exit code."""
    told = rows()
    said = {name: licence(package) for name, package in unpinned().items()}
    said |= {name: one for name, _, one, _ in told.values()}
    refused = [f"{name}: {one}" for name, one in said.items() if not is_allowed(one)]
    written = _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in told.values())
    if refused:
        print(f"licences that nobody has allowed: {'; '.join(refused)}", file=sys.stderr)
    if "--check" not in sys.argv:
        DOCUMENT.write_text(written, "utf-8")
        return bool(refused)
    if is_stale := written != _document():
        print("stale, run `make docs`: licences.md", file=sys.stderr)
    return bool(refused or is_stale)


if __name__ == "__main__":
    raise SystemExit(main())
