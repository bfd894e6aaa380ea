"""The page in a real browser: two languages, light and dark, phones, keyboards, screen readers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cervella_rag import bootstrap
from tests.ollama_double import Step, Stream, piece

from .browser import (
    ANSWER,
    HAS_PLAYWRIGHT,
    PHONE,
    Pages,
    Voiced,
    ask,
    ask_and_wait,
    index,
    press_until_focused,
    stopped,
)

if HAS_PLAYWRIGHT:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_it_speaks_the_browsers_language_and_the_one_that_is_chosen(pages: Pages, url: str) -> None:
    page = pages.open(url, locale="it-IT")
    expect(page.get_by_role("button", name="Chiedi", exact=True)).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "it"
    ask_and_wait(page)
    expect(page.locator(".copy")).to_have_text("Copia")
    page.get_by_role("button", name="English").click()
    expect(page.locator(".copy")).to_have_text("Copy")
    expect(page.locator(".source").first).to_contain_text("line 10")
    page.reload()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "en"
    german = pages.open(url, locale="de-DE")
    expect(german.get_by_role("button", name="Chiedi", exact=True)).to_be_visible()


def test_every_word_is_there_in_both_languages(pages: Pages, url: str) -> None:
    words = pages.open(url).evaluate("import('/page/words.js').then(({ WORDS }) => WORDS)")
    assert shape(words["it"]) == shape(words["en"])
    code = "".join(
        file.read_text()
        for file in (Path(bootstrap.__file__).parents[1] / "api" / "page").glob("*.*")
        if file.name != "words.js"
    )
    used = set(re.findall(r"[\"`']([a-z_]+)[\"`'.$]", code))
    assert set(words["it"]) - used == set()


def shape(words: Any) -> Any:
    if isinstance(words, dict):
        return {name: shape(inner) for name, inner in words.items()}
    return sorted(re.findall(r"{\w+}", words)) if isinstance(words, str) else len(words)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
def test_everybody_can_read_it(pages: Pages, voiced: Voiced, scheme: str, device: dict[str, Any]) -> None:
    url, _ = voiced(ANSWER)
    page = pages.open(url, color_scheme=scheme, reduced_motion="reduce", **device)
    assert violations(page) == []
    ask_and_wait(page)
    page.locator(".mark").first.click()
    assert violations(page) == []
    brightness = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    )
    assert brightness > 200 if scheme == "light" else brightness < 50


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


def test_nothing_is_wider_than_a_phone(pages: Pages, url: str, january: Path) -> None:
    row = "| " + " | ".join(f"colonna{number}" for number in range(12)) + " |\n"
    (january / f"zebra{'_lunga' * 20}.md").write_text(
        f"# Zebra\n\n{row}{'|---' * 12}|\n{row}\nzebra{'x' * 300}\n"
    )
    index()
    page = pages.open(url, **PHONE)
    ask_and_wait(page, "zebra")
    page.locator(".mark").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_side_opens_and_closes_on_a_phone(pages: Pages, url: str) -> None:
    page = pages.open(url, **PHONE)
    new, menu = page.get_by_role("button", name="New conversation"), page.locator("#menu")
    expect(new).to_be_hidden()
    menu.click()
    expect(new).to_be_focused()
    assert menu.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    expect(new).to_be_hidden()
    expect(menu).to_be_focused()


def test_everything_can_be_done_with_the_keyboard(pages: Pages, voiced: Voiced) -> None:
    url, double = voiced(ANSWER, Stream((piece("Il forno "), Step.SILENCE)))
    page = pages.open(url)
    message = page.get_by_label("Your question")
    expect(message).to_be_focused()
    page.keyboard.type("Quante ore")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("tiene il forno?")
    expect(message).to_have_value("Quante ore\ntiene il forno?")
    page.keyboard.press("Enter")
    expect(page.locator(".copy")).to_be_visible()

    press_until_focused(page, page.locator(".mark"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".source .lines").first).to_be_visible()
    page.keyboard.press("Enter")  # the source's own line has the focus, and closes it
    expect(page.locator(".source .lines").first).to_be_hidden()
    press_until_focused(page, message, "Tab")
    page.keyboard.type("E poi?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer").last).to_have_text("Il forno ")
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("Stopped.")
    assert stopped(page, double)
    expect(message).to_be_focused()


def test_the_first_tab_stop_leads_to_the_question(pages: Pages, url: str) -> None:
    page = pages.open(url)
    press_until_focused(page, page.get_by_role("link", name="Go to the question"), "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your question")).to_be_focused()


def test_a_screen_reader_hears_the_answer_once_and_whole(pages: Pages, voiced: Voiced) -> None:
    url, _ = voiced(Stream((piece("Il forno "), Step.SILENCE)), ANSWER)
    page = pages.open(url)
    ask(page)
    expect(page.locator(".answer")).to_have_text("Il forno ")
    expect(page.locator("main [aria-live]")).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="Searching")).to_have_count(1)
    page.keyboard.press("Escape")
    page.get_by_label("Your question").fill("")
    ask_and_wait(page)
    expect(page.locator(".answer[aria-live=polite]")).to_have_text(re.compile("sei ore"))
    expect(page.get_by_role("status").filter(has_text="Answer ready, one source.")).to_have_count(1)
