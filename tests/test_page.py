"""The page in a real browser: what a person sees, presses and hears read aloud."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cervella_rag import bootstrap

from .browser import HAS_PLAYWRIGHT, Pages, chromium, picture, served, speaking
from .ollama_double import OllamaDouble, Reply, Step, Stream, error_line, piece, saying

if HAS_PLAYWRIGHT:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

QUESTION = "Quante ore tiene il forno?"
ANSWER = saying("Il forno tiene **sei ", "ore** [1].\n\n", "- poi riposa\n")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
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


def index() -> None:
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))


@pytest.fixture
def url(pages: Pages) -> Iterator[str]:
    """A served memory without a model; `pages` first, so that no server starts for a test that skips."""
    index()
    with served() as url:
        yield url


class Voiced:
    """Serves a memory with a voice that says what a test tells it."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack, self._monkeypatch = stack, monkeypatch

    def __call__(self, *replies: Reply) -> tuple[str, OllamaDouble]:
        double = self._stack.enter_context(speaking(OllamaDouble(*replies)))
        for name, value in {"OLLAMA_URL": double.url, "OLLAMA_MODEL": "m", "VOICE": "ollama"}.items():
            self._monkeypatch.setenv(f"CERVELLA_LLM__{name}", value)
        index()
        return self._stack.enter_context(served()), double


@pytest.fixture
def voiced(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> Iterator[Voiced]:
    assert pages
    with ExitStack() as stack:
        yield Voiced(stack, monkeypatch)


def ask(page: Page, question: str = QUESTION) -> None:
    page.get_by_label(re.compile("Your question|La tua domanda")).fill(question)
    page.keyboard.press("Enter")


def ask_and_wait(page: Page, question: str = QUESTION) -> None:
    before = page.locator(".copy").count()
    ask(page, question)
    expect(page.locator(".copy")).to_have_count(before + 1)


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
    expect(lines.locator("li").last).to_have_text(re.compile(r"^Il forno a legna tiene la temperatura per \*\*sei ore"))


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


def stopped(page: Page, double: OllamaDouble) -> bool:
    """Tell whether the model's client has left, within a few seconds."""
    for _ in range(50):
        if double.has_stopped.is_set():
            return True
        page.wait_for_timeout(100)
    return False


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


def test_reload_keeps_the_conversation_and_the_list_resumes_and_deletes(pages: Pages, url: str) -> None:
    page = pages.open(url)
    ask_and_wait(page)
    ask_and_wait(page, "E la farina?")
    page.reload()
    expect(page.locator(".question")).to_have_text([re.compile(QUESTION.replace("?", r"\?")), re.compile("farina")])
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


HOSTILE = """# Zebra <script>window.broken = 1</script>

zebra <img src=x onerror="window.broken = 2"> <svg onload="window.broken = 3"> zebra [1]

<iframe srcdoc="<script>parent.broken = 4</script>"></iframe>

[zebra](javascript:window.broken=5) ![zebra](http://evil.example/zebra.png) <style>body{display:none}</style>

[1]: http://evil.example/zebra
"""


def test_markup_in_the_memory_stays_text(pages: Pages, url: str, january: Path) -> None:
    (january / "zebra <img src=x onerror=broken=6>.md").write_text(HOSTILE)
    index()
    page = pages.open(url)
    ask_and_wait(page, "zebra <b id=bold>zebra</b>")
    page.locator(".mark").first.click()
    page.reload()
    page.locator(".mark").first.click()
    expect(page.locator(".lines").first).to_contain_text("onerror")
    expect(page.locator(".answer")).to_contain_text('<img src=x onerror="window.broken = 2">')
    made = "main :is(script, img, svg, iframe, style, b), a[href^=javascript]"
    expect(page.locator(made)).to_have_count(0)
    expect(page.locator(".answer a")).to_have_text("http://evil.example/zebra")  # what it says it is
    assert page.evaluate("window.broken") is None
    expect(page.locator("body")).to_be_visible()


def test_markdown_is_read_within_bounds(pages: Pages, url: str) -> None:
    page = pages.open(url)
    slowest = page.evaluate(
        """async () => {
          const { write } = await import("/page/markdown.js");
          const hostile = [">", "[", "*a ", "`", "- ", "![](", "<", "|-|\\n", "_*", "a\\n  ", "[a](", "~~", "\\\\", "1. "];
          let slowest = 0;
          for (const piece of hostile) {
            const element = document.createElement("div");
            const began = performance.now();
            write(element, piece.repeat(10000));
            slowest = Math.max(slowest, performance.now() - began);
            if (!element.childNodes.length) throw new Error(`nothing of ${piece}`);
          }
          return slowest;
        }"""
    )
    assert slowest < 5000


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
    code = "".join(file.read_text() for file in (Path(bootstrap.__file__).parents[1] / "api" / "page").glob("*.*") if file.name != "words.js")
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
    brightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert brightness > 200 if scheme == "light" else brightness < 50


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


def test_nothing_is_wider_than_a_phone(pages: Pages, url: str, january: Path) -> None:
    row = "| " + " | ".join(f"colonna{number}" for number in range(12)) + " |\n"
    (january / f"zebra{'_lunga' * 20}.md").write_text(f"# Zebra\n\n{row}{'|---' * 12}|\n{row}\nzebra{'x' * 300}\n")
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


def press_until_focused(page: Page, target: Any, key: str) -> None:
    for _ in range(40):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{key} never leads to {target}")


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


def test_marks_of_age_are_shown(pages: Pages, url: str) -> None:
    page = pages.open(url)
    page.route("**/v1/chat", age)
    ask_and_wait(page)
    for text in ("retired file, last seen on 2026-01-20", "superseded by decisioni/nuovo.md", "may be out of date"):
        expect(page.locator(".source").first.get_by_text(text)).to_be_visible()


def age(route: Route) -> None:
    marks = '"retired": "2026-01-20", "superseded_by": "decisioni/nuovo.md", "stale": true'
    response = route.fetch()
    route.fulfill(response=response, body=response.text().replace('"retired": null', marks))


def test_a_walk_for_the_documents(pages: Pages, voiced: Voiced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow docs/page.md over the sample memory; `make pictures` keeps what is seen on the way."""
    monkeypatch.delenv("CERVELLA_MEMORY__ROOTS")
    index()
    with served() as url:
        page = pages.open(url, locale="it-IT")
        expect(page.locator("#index-holds")).to_contain_text("knowledge")
        expect(page.locator("#banner")).to_be_visible()
        picture(page, "start")
        ask_and_wait(page, "Quante sessioni sono andate perse per i file non salvati?")
        expect(page.locator(".answer table").first).to_be_visible()
        picture(page, "memory")
    url, _ = voiced(
        saying(
            "Perché la prima stima era sbagliata: si contavano 167 pezzi, e **contati davvero sono 2.587** [1]. ",
            "E la prova sull'italiano ha mostrato che la ricerca per significato, da sola, trova meno di quella ",
            "per parole [1]: serviva un archivio che facesse bene tutte e due.",
        )
    )
    page = pages.open(url, locale="it-IT")
    ask_and_wait(page, "Perché abbiamo cambiato idea su Chroma in un giorno?")
    page.locator(".mark").first.click()
    expect(page.locator(".lines").first).to_be_visible()
    picture(page, "source")
    address = page.url
    dark = pages.open(url, locale="en-GB", color_scheme="dark", **PHONE)
    dark.goto(address)
    expect(dark.locator(".turn")).to_have_count(1)
    picture(dark, "phone")
