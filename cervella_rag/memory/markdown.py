"""A markdown text becomes blocks with true line numbers, by a CommonMark parser.

A parser, not patterns: in the memory this was built on 1,232 lines look like headings and stand
inside code fences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from markdown_it import MarkdownIt
from markdown_it.token import Token

from cervella_rag.domain import Block

_KINDS = {
    "heading_open": "heading",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
    "hr": "rule",
}
_LISTS = {"bullet_list_open", "ordered_list_open"}
# Nesting deeper than this is read as plain text: it bounds the parser's work on hostile input.
_PARSER = MarkdownIt("commonmark", {"maxNesting": 20}).enable("table")


def parse_markdown(text: str) -> tuple[Block, ...]:
    """Return the blocks of `text` in line order; every line that is not blank is in exactly one."""
    return tuple(_cover(_blocks(_PARSER.parse(text)), text.split("\n")))


def parse_plain(text: str) -> tuple[Block, ...]:
    """Return the blocks of a file that is not markdown: its paragraphs, as code."""
    return tuple(_paragraphs(text.split("\n"), 1, "code"))


PARSERS: Mapping[str, Callable[[str], tuple[Block, ...]]] = MappingProxyType(
    {".md": parse_markdown, ".markdown": parse_markdown}
)
"""What cuts the files of an ending into blocks; those of other endings are read as plain text."""


def parse(path: str, text: str) -> tuple[Block, ...]:
    """Return the blocks of a file, by the ending of its name."""
    return PARSERS.get(PurePosixPath(path).suffix.lower(), parse_plain)(text)


def _blocks(tokens: Sequence[Token]) -> Iterator[Block]:
    for index, token in enumerate(tokens):
        if token.map is None or token.nesting < 0:
            continue
        start, end = token.map[0] + 1, token.map[1]
        if token.level == 1 and token.type == "list_item_open":
            yield Block("list_item", start, end)
        elif token.level == 0 and token.type not in _LISTS:
            level = int(token.tag[1]) if token.type == "heading_open" else 0
            title = _plain(tokens[index + 1]) if level else ""
            yield Block(_KINDS.get(token.type, "paragraph"), start, end, level, title)


def _plain(inline: Token) -> str:
    """The words of a heading, without markup."""
    words = "".join(child.content or " " for child in inline.children or [])
    return re.sub(r"\s+", " ", words).strip()


def _cover(blocks: Iterator[Block], lines: list[str]) -> Iterator[Block]:
    """Cut trailing blank lines and add what the parser keeps to itself, such as link definitions."""
    position = 1
    for block in blocks:
        end = block.end_line
        while end > block.start_line and not lines[end - 1].strip():
            end -= 1
        start = max(block.start_line, position)
        yield from _paragraphs(lines[position - 1 : start - 1], position, "paragraph")
        if start <= end:
            yield Block(block.kind, start, end, block.level, block.title)
            position = end + 1
    yield from _paragraphs(lines[position - 1 :], position, "paragraph")


def _paragraphs(lines: list[str], first: int, kind: str) -> Iterator[Block]:
    start: int | None = None
    for number, line in enumerate([*lines, ""], first):
        if line.strip():
            start = start or number
        elif start:
            yield Block(kind, start, number - 1)
            start = None
