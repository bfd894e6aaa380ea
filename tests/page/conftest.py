"""What the page's tests share: a browser, a served memory, a voice that says what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .browser import (
    HAS_PLAYWRIGHT,
    Pages,
    Voiced,
    chromium,
    index,
    served,
)

if HAS_PLAYWRIGHT:
    pass

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    pages = Pages(browser)
    yield pages
    for context in browser.contexts:
        context.close()
    assert not pages.complaints
    assert not pages.elsewhere


@pytest.fixture(autouse=True)
def quick(january: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_MEMORY__ROOTS", str(january))
    monkeypatch.setenv("CERVELLA_EMBEDDER__NAME", "none")


@pytest.fixture
def url(pages: Pages) -> Iterator[str]:
    """A served memory without a model; `pages` first, so that no server starts for a test that skips."""
    index()
    with served() as url:
        yield url


@pytest.fixture
def voiced(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> Iterator[Voiced]:
    assert pages
    with ExitStack() as stack:
        yield Voiced(stack, monkeypatch)
