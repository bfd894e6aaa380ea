"""The voice without a model: the passages found, quoted in a fixed frame, each with its citation.

It is there when nothing else is: no GPU, no server, no download. The frame's words live in
prompts/answers/, one file a language.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence

from cervella_rag.domain import Message, Prompt, Spoken, Token, VoiceEvent
from cervella_rag.templates import Templates

_PIECE = re.compile(r"\S+\s*|\s+")


class MemoryOnlyLLM:
    """Quotes the memory.

    Args:
        templates: Hold one for each language, `answers/memory_only.LANGUAGE.md.j2`.
        introduce: Gives the persona's own words for who she is, by language.
    """

    mode = "memory_only"
    model = ""

    def __init__(self, templates: Templates, introduce: Callable[[str], str]) -> None:
        self._templates = templates
        self._introduce = introduce

    async def stream(self, prompt: Prompt) -> AsyncGenerator[VoiceEvent]:
        """Yield the composed answer word by word."""
        name = f"answers/memory_only.{prompt.language}.md.j2"
        text = (
            self._introduce(prompt.language)
            if prompt.about_her
            else self._templates.render(
                name,
                citations=prompt.citations,
                grounded=prompt.grounded,
                conflicts=prompt.conflicts,
                dates={citation.number: citation.date for citation in prompt.citations},
            )
        )
        for piece in _PIECE.findall(text):
            yield Token(piece, is_quote=True)
        yield Spoken(self.mode, self.model)

    async def check(self) -> str:
        """Return nothing to add: it can always speak."""
        return ""

    def prepare(self, history: Sequence[Message] = ()) -> None:
        """Do nothing: it is always ready."""

    async def aclose(self) -> None:
        """Do nothing: it holds nothing."""
