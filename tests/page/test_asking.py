"""The page in a real browser: an answer comes, is stopped, fails, opens to its sources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.ollama_double import Step, Stream, error_line, piece

from .browser import (
    ANSWER,
    HAS_PLAYWRIGHT,
    QUESTION,
    Pages,
    Voiced,
    ask,
    ask_and_wait,
    stopped,
)

if HAS_PLAYWRIGHT:
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Route


def test_an_answer_streams_as_markdown_and_its_mark_opens_the_source(pages: Pages, voiced: Voiced) -> None:
    url, _ = voiced(ANSWER)
    page = pages.open(url)
    ask_and_wait(page)
    answer = page.locator(".answer")
    expect(answer.locator("strong")).to_have_text("sei ore")
    expect(answer.get_by_role("listitem")).to_have_text("poi riposa")
    expect(page.locator("#banner")).to_be_hidden()

    page.get_by_role("button", name="Open source 1").click()
    source = page.locator(".source").first
    expect(source.locator("summary")).to_be_focused()
    for text in (
        "memoria/decisioni/20260110_SCELTA_DEL_FORNO.md", "line 10", "2026-01-10", "session 148b",
        "status: DECISO", "DECISIONE: il forno a legna",
        "Why this passage: words of the question: ore, tiene, forno",
    ):  # fmt: skip
        expect(source).to_contain_text(text)
    lines = source.locator(".lines")
    expect(lines).to_be_visible()
    assert lines.get_attribute("start") == "10"
    expect(lines.locator("li").last).to_have_text(
        re.compile(r"^Il forno a legna tiene la temperatura per \*\*sei ore")
    )


def test_what_was_found_and_not_cited_steps_back(pages: Pages, voiced: Voiced) -> None:
    url, _ = voiced(ANSWER)
    page = pages.open(url)
    ask_and_wait(page, "Il forno a legna e la farina per la pizza")
    assert page.locator(".sources > .source").count() == 1
    more = page.locator(".also-found")
    expect(more.locator(".source").first).to_be_hidden()
    more.locator("> summary").click()
    expect(more.locator(".source").first).to_be_visible()


def test_words_show_while_they_come_and_stop_stops_the_model(pages: Pages, voiced: Voiced) -> None:
    url, double = voiced(Stream((piece("Il forno "), piece("tiene **sei** ore e "), Step.SILENCE)))
    page = pages.open(url)
    ask(page)
    expect(page.locator(".answer strong")).to_have_text("sei")
    expect(page.locator(".source").first).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("alert")).to_have_text("Stopped. Nothing of this turn is kept.")
    expect(page.get_by_label("Your question")).to_have_value(QUESTION)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(0)
    assert stopped(page, double)


def test_an_error_is_shown_and_the_question_can_be_asked_again(pages: Pages, voiced: Voiced) -> None:
    url, _ = voiced(Stream((piece("Il forno "), error_line("out of memory"))), ANSWER)
    page = pages.open(url)
    ask(page)
    expect(page.get_by_role("alert")).to_contain_text("broke off in the middle")
    expect(page.get_by_label("Your question")).to_have_value(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer").last).to_contain_text("sei ore")


def test_a_server_that_is_gone_is_said(pages: Pages, url: str) -> None:
    page = pages.open(url)
    page.route("**/v1/chat", lambda route: route.abort())
    ask(page)
    expect(page.get_by_role("alert")).to_have_text("The server does not answer.")


def test_a_stream_that_ends_too_early_is_said(pages: Pages, url: str) -> None:
    page = pages.open(url)
    cut = 'event: token\ndata: {"text": "Il forno"}\n\n'
    page.route("**/v1/chat", lambda route: route.fulfill(body=cut, content_type="text/event-stream"))
    ask(page)
    expect(page.get_by_role("alert")).to_have_text("The answer broke off.")
    expect(page.locator(".answer")).to_have_text("Il forno")


def test_an_answer_is_copied_as_it_was_written(pages: Pages, voiced: Voiced) -> None:
    url, _ = voiced(ANSWER)
    page = pages.open(url)
    ask_and_wait(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == (
        "Il forno tiene **sei ore** [1].\n\n- poi riposa\n"
    )


def test_without_a_model_it_says_so_and_why(pages: Pages, url: str) -> None:
    page = pages.open(url)
    banner = page.locator("#banner")
    expect(banner).to_contain_text("Memory only: no model speaks now.")
    banner.get_by_text("Why, and how to give her a voice").click()
    expect(banner.get_by_role("listitem")).to_contain_text("http://127.0.0.1:1")


def test_marks_of_age_are_shown(pages: Pages, url: str) -> None:
    page = pages.open(url)
    page.route("**/v1/chat", age)
    ask_and_wait(page)
    for text in (
        "retired file, last seen on 2026-01-20",
        "superseded by decisioni/nuovo.md",
        "may be out of date",
    ):
        expect(page.locator(".source").first.get_by_text(text)).to_be_visible()


def age(route: Route) -> None:
    response = route.fetch()
    body = response.text().replace('"retired": null', '"retired": "2026-01-20", "stale": true')
    route.fulfill(
        response=response,
        body=body.replace('"superseded_by": null', '"superseded_by": "decisioni/nuovo.md"'),
    )
