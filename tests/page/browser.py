"""The page as a person has it: a server in a thread, a real Chromium, the strictest policy between."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from cervella_rag import bootstrap
from tests.ollama_double import OllamaDouble, Reply, saying
from tests.system import absent, program

try:
    from PIL import Image
    from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
except ImportError:
    HAS_PLAYWRIGHT = False
else:
    HAS_PLAYWRIGHT = True

QUESTION = "Quante ore tiene il forno?"
ANSWER = saying("Il forno tiene **sei ", "ore** [1].\n\n", "- poi riposa\n")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
STRICT = "default-src 'self'"
PICTURES = Path(__file__).parents[2] / "docs" / "images"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium; no other is fetched."""
    if not HAS_PLAYWRIGHT:
        absent("playwright is not installed (pip install 'cervella-rag[browser]')")
    path = program("chromium", "chromium-browser", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@contextmanager
def served() -> Iterator[str]:
    """Serve the application with the settings of the environment; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = bootstrap.make_app(bootstrap.load_settings())
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def speaking(double: OllamaDouble) -> Iterator[OllamaDouble]:
    """Let a double of Ollama listen, in a loop of its own: Playwright's runs in this thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(double.__aenter__(), loop).result(10)
        try:
            yield double
        finally:
            asyncio.run_coroutine_threadsafe(double.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class Pages:
    """Opens pages as a browser that speaks English would, unless told otherwise.

    Every page stands under the strictest policy that lets it work, may ask nobody but its server, and
    must not complain: what goes wrong within it fails the test.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []

    def open(self, url: str, **options: Any) -> Page:
        """Open `url` in a browser of its own; `options` are Playwright's of a context."""
        chosen: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 1100, "height": 800}, **options}
        context = self._browser.new_context(**chosen, permissions=["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("request", lambda request: self._ask(url, request.url))
        page.route(url, _be_strict)
        page.goto(url)
        return page

    def _hear(self, kind: str, text: str) -> None:
        # That a request was refused is told by the browser too; what the page makes of it is tested.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def _ask(self, url: str, asked: str) -> None:
        if not asked.startswith(url):
            self.elsewhere.append(asked)


def _be_strict(route: Route) -> None:
    response = route.fetch()
    route.fulfill(response=response, headers={**response.headers, "content-security-policy": STRICT})


def picture(page: Page, name: str) -> None:
    """Keep a picture for the documents, where `CERVELLA_TEST_PICTURES` asks for it."""
    if not os.environ.get("CERVELLA_TEST_PICTURES"):
        return
    PICTURES.mkdir(exist_ok=True)
    with Image.open(BytesIO(page.screenshot(animations="disabled"))) as image:
        image.convert("RGB").save(PICTURES / f"{name}.webp", quality=80, method=6)


def index() -> None:
    settings = bootstrap.load_settings()
    bootstrap.make_indexer(settings).run(bootstrap.find_roots(settings))


class Voiced:
    """Serves a memory with a voice that says what a test tells it."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack, self._monkeypatch = stack, monkeypatch

    def __call__(self, *replies: Reply) -> tuple[str, OllamaDouble]:
        """Serve it; return the address and who speaks."""
        double = self._stack.enter_context(speaking(OllamaDouble(*replies)))
        for name, value in {"OLLAMA_URL": double.url, "OLLAMA_MODEL": "m", "VOICE": "ollama"}.items():
            self._monkeypatch.setenv(f"CERVELLA_LLM__{name}", value)
        index()
        return self._stack.enter_context(served()), double


def ask(page: Page, question: str = QUESTION) -> None:
    page.get_by_label(re.compile("Your question|La tua domanda")).fill(question)
    page.keyboard.press("Enter")


def ask_and_wait(page: Page, question: str = QUESTION) -> None:
    before = page.locator(".copy").count()
    ask(page, question)
    expect(page.locator(".copy")).to_have_count(before + 1)


def stopped(page: Page, double: OllamaDouble) -> bool:
    """Tell whether the model's client has left, within a few seconds."""
    for _ in range(50):
        if double.has_stopped.is_set():
            return True
        page.wait_for_timeout(100)
    return False


def press_until_focused(page: Page, target: Any, key: str) -> None:
    for _ in range(40):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{key} never leads to {target}")
