"""The voice without a model: the passages found, quoted in a fixed frame, each with its citation.

It is there when nothing else is: no GPU, no server, no download. The frame's words live in
prompts/answers/, one file a language.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from cervella_rag.domain import Prompt
from cervella_rag.marks import escape_marks

_PIECE = re.compile(r"\S+\s*|\s+")


class MemoryOnlyLLM:
    """Quotes the memory.

    Args:
        templates: Folder with a template for each language, named `memory_only.LANGUAGE.md.j2`.
    """

    mode = "memory_only"
    model = ""

    def __init__(self, templates: Path) -> None:
        self._templates = templates

    @cached_property
    def _environment(self) -> Environment:
        environment = SandboxedEnvironment(
            loader=FileSystemLoader(self._templates),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
        )
        environment.filters.update(quoted=quoted, plain=escape_marks)
        return environment

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str]:
        """Yield the composed answer word by word."""
        template = self._environment.get_template(f"memory_only.{prompt.language}.md.j2")
        text = template.render(citations=prompt.citations, grounded=prompt.grounded)
        for piece in _PIECE.findall(text.strip()):
            yield piece


def quoted(text: str) -> str:
    """Return `text` as a markdown quote; bracketed numbers in it must not pass for citations."""
    lines = escape_marks(text).split("\n")
    return "\n".join(f"> {line}".rstrip() for line in lines)
