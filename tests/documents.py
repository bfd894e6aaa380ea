"""What tests read in markdown documents: headings, links, blocks and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
_PARSER = MarkdownIt("commonmark").enable("table")


def tokens(file: Path) -> list[Token]:
    """Return what CommonMark, with tables, makes of a file."""
    return _PARSER.parse(file.read_text("utf-8"))


def anchors(file: Path) -> set[str]:
    """Return the anchors that a repository's web page gives the headings of a file."""
    found: set[str] = set()
    parsed = tokens(file)
    for opening, inline in pairwise(parsed):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    return found


def links(file: Path) -> Iterator[str]:
    """Yield where links and pictures lead."""
    for token in tokens(file):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target:
                yield unquote(str(target))


def blocks(file: Path) -> list[tuple[str, str]]:
    """Return language and content of the fenced blocks."""
    return [(token.info, token.content) for token in tokens(file) if token.type == "fence"]


def commands(file: Path, heading: str) -> list[str]:
    """Return the code in the first column of the table below a heading."""
    found, below, column = [], False, 0
    parsed = tokens(file)
    for token, following in zip(parsed, [*parsed[1:], None], strict=True):
        if token.type == "heading_open" and following:
            below = following.content == heading
        column = 0 if token.type == "tr_open" else column + (token.type == "td_open")
        if below and token.type == "inline" and column == 1:
            found += [child.content for child in token.children or () if child.type == "code_inline"]
    return found
