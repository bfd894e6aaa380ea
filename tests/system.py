"""What tests need of the system and not of pip: absent, a test skips, and fails where it must be there."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

_POSTGRES = Path("/usr/lib/postgresql")


def program(*names: str, package: str) -> str:
    """Return the path of the first of these programs, also where Debian keeps what users seldom call."""
    folders = [os.environ["PATH"], "/usr/sbin", *map(str, sorted(_POSTGRES.glob("*/bin"), reverse=True))]
    found = (shutil.which(name, path=os.pathsep.join(folders)) for name in names)
    return next(filter(None, found), None) or absent(
        f"{names[0]} is not installed (apt-get install {package})"
    )


def absent(reason: str) -> NoReturn:
    """Skip, or fail where `CERVELLA_TEST_SYSTEM=1` says that everything is installed."""
    if os.environ.get("CERVELLA_TEST_SYSTEM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)  # who only tries the project out need not install what `.ci/run` does


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """Let this process open so many files at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        absent(f"a process may open {hard} files here, not {count} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
