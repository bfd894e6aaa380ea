"""The page in a real browser: the walk that docs/page.md tells, with its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ollama_double import saying

from .browser import (
    HAS_PLAYWRIGHT,
    PHONE,
    Pages,
    Voiced,
    ask_and_wait,
    index,
    picture,
    served,
)

if HAS_PLAYWRIGHT:
    from playwright.sync_api import expect

if TYPE_CHECKING:
    pass


def test_a_walk_for_the_documents(pages: Pages, voiced: Voiced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow docs/page.md over the sample memory; `make pictures` keeps what is seen on the way."""
    monkeypatch.delenv("CERVELLA_MEMORY__ROOTS")
    monkeypatch.setenv("CERVELLA_LANGUAGE", "it")
    index()
    with served() as url:
        page = pages.open(url, locale="it-IT")
        expect(page.locator("#index-holds")).to_contain_text("knowledge")
        expect(page.locator("#banner")).to_be_visible()
        picture(page, "start")
        ask_and_wait(page, "Quante sessioni sono andate perse per i file non salvati?")
        expect(page.locator(".answer table").first).to_be_visible()
        expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(1)
        picture(page, "memory")
    url, _ = voiced(
        saying(
            "Perché la prima stima era sbagliata: si contavano 167 pezzi, e **contati davvero sono ",
            "2.587** [1]. E la prova sull'italiano ha mostrato che la ricerca per significato, da sola, ",
            "trova meno di quella per parole [1]: serviva un archivio che facesse bene tutte e due.",
        )
    )
    page = pages.open(url, locale="it-IT")
    ask_and_wait(page, "Perché abbiamo cambiato idea su Chroma in un giorno?")
    page.locator(".mark").first.click()
    expect(page.locator(".lines").first).to_be_visible()
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(2)
    page.mouse.move(0, 0)
    picture(page, "source")
    address = page.url
    dark = pages.open(url, locale="en-GB", color_scheme="dark", **PHONE)
    dark.goto(address)
    expect(dark.locator(".turn")).to_have_count(1)
    picture(dark, "phone")
