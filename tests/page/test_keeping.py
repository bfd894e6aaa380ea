"""The page in a real browser: conversations, the index and the key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .browser import (
    HAS_PLAYWRIGHT,
    QUESTION,
    Pages,
    ask,
    ask_and_wait,
    index,
    served,
)

if HAS_PLAYWRIGHT:
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Route


def test_reload_keeps_the_conversation_and_the_list_resumes_and_deletes(pages: Pages, url: str) -> None:
    page = pages.open(url)
    ask_and_wait(page)
    ask_and_wait(page, "E la farina?")
    page.reload()
    expect(page.locator(".question")).to_have_text(
        [re.compile(QUESTION.replace("?", r"\?")), re.compile("farina")]
    )
    page.get_by_role("button", name="Open source 1").first.click()
    expect(page.locator(".source .lines").first).to_be_visible()

    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    ask_and_wait(page, "Quale lievito?")
    listed = page.get_by_role("navigation").get_by_role("link")
    expect(listed).to_have_count(2)
    listed.filter(has_text=QUESTION).click()
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator("[aria-current]")).to_contain_text("2 questions")

    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Delete the conversation: {QUESTION}").click()
    expect(listed).to_have_count(1)
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def test_a_conversation_that_is_gone_is_said_and_left(pages: Pages, url: str) -> None:
    page = pages.open(url)
    ask_and_wait(page)
    page.route("**/v1/chat", lambda route: route.continue_(post_data=gone(route)))
    ask(page, "E la farina?")
    expect(page.get_by_role("alert")).to_contain_text("There is no conversation 'gone'")
    assert "#c=" not in page.url


def gone(route: Route) -> str:
    return json.dumps({**json.loads(route.request.post_data or ""), "conversation_id": "gone"})


def test_the_folders_are_read_again_with_progress(pages: Pages, url: str, january: Path) -> None:
    page = pages.open(url)
    expect(page.locator("#index-holds")).to_contain_text("8 files, 7 passages")
    (january / "nuovo.md").write_text("# Nuovo\n\nIl basilico arriva a maggio.\n")
    (january / "latin.md").write_bytes(b"citt\xe0")
    running = {"state": "running", "job_id": "x", "stage": "read", "done": 3, "total": 9}
    page.route("**/v1/index", lambda route: hold(route, running))
    page.get_by_role("button", name="Read the folders again").click()
    bar = page.get_by_role("progressbar", name="reading files")
    expect(bar).to_have_attribute("value", "3")
    expect(page.get_by_role("button", name="Read the folders again")).to_be_disabled()
    page.unroute("**/v1/index")
    report = page.locator("#index-report")
    expect(report).to_contain_text("1 added, 0 changed")
    report.get_by_text("One file refused").click()
    expect(report).to_contain_text("latin.md: not UTF-8")
    expect(page.locator("#index-holds")).to_contain_text("9 files, 8 passages")
    expect(page.get_by_role("button", name="Read the folders again")).to_be_enabled()


def hold(route: Route, state: dict[str, Any]) -> None:
    if route.request.method == "POST":
        route.continue_()
    else:
        route.fulfill(json=state)


def test_a_key_is_asked_for_and_kept(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERVELLA_API__KEYS", "me:segretissima-chiave")
    index()
    with served() as url:
        page = pages.open(url)
        key = page.get_by_label("Key", exact=True)
        for wrong in ("sbagliata", "perché"):
            key.fill(wrong)
            page.keyboard.press("Enter")
            expect(page.locator("#state")).to_have_text("A key is needed.")
            expect(key).to_be_focused()
        key.fill("segretissima-chiave")
        page.keyboard.press("Enter")
        expect(key).to_be_hidden()
        ask_and_wait(page)
        page.reload()
        expect(page.locator(".turn")).to_have_count(1)
