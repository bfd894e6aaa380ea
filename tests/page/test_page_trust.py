"""The page in a real browser: what the memory holds is text, whatever it looks like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .browser import (
    HAS_PLAYWRIGHT,
    Pages,
    ask_and_wait,
    index,
)

if HAS_PLAYWRIGHT:
    from playwright.sync_api import expect

if TYPE_CHECKING:
    pass


HOSTILE = """# Zebra <script>window.broken = 1</script>

zebra <img src=x onerror="window.broken = 2"> <svg onload="window.broken = 3"> zebra [1]

<iframe srcdoc="<script>parent.broken = 4</script>"></iframe>

[zebra](javascript:window.broken=5) ![zebra](http://evil.example/zebra.png)

<style>body{display:none}</style>

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
    # A picture is not fetched: it and the link are addresses, which say what they are.
    addresses = ["http://evil.example/zebra.png", "http://evil.example/zebra"]
    expect(page.locator(".answer a")).to_have_text(addresses)
    assert page.evaluate("window.broken") is None
    expect(page.locator("body")).to_be_visible()


def test_markdown_is_read_within_bounds(pages: Pages, url: str) -> None:
    page = pages.open(url)
    slowest = page.evaluate(
        """async () => {
          const { write } = await import("/page/markdown.js");
          const hostile = [">", "[", "*a ", "`", "- ", "![](", "<", "|-|\\n", "_*", "a\\n  ", "[a](", "~~",
            "\\\\", "1. "];
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
