"""The page as a person has it: the server in a thread, a real Chromium before it, the strictest policy between."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from cervella_rag import bootstrap

from .ollama_double import OllamaDouble
from .system import absent, program

try:
    from PIL import Image
    from playwright.sync_api import Browser, Page, Route, sync_playwright
except ImportError:
    HAS_PLAYWRIGHT = False
else:
    HAS_PLAYWRIGHT = True

STRICT = "default-src 'self'"
PICTURES = Path(__file__).parents[1] / "docs" / "images"


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
        yield double
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


Open = Callable[..., "Page"]
