"""What tests need of the system and not of pip: absent, a test skips, and fails where it must be there."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(*names: str, package: str) -> str:
    """Return the path of the first of these programs."""
    return next(filter(None, map(shutil.which, names)), None) or absent(
        f"{names[0]} is not installed (apt-get install {package})"
    )


def absent(reason: str) -> NoReturn:
    """Skip, or fail where `CERVELLA_TEST_SYSTEM=1` says that everything is installed."""
    if os.environ.get("CERVELLA_TEST_SYSTEM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
