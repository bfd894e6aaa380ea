"""Prompts without a persona: a model by itself, to measure what the persona adds or for another task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cervella_rag.chat.prompt import PromptWriter
from cervella_rag.domain import Composed, Message, Prompt, Window


@dataclass(frozen=True, slots=True)
class BareWriter:
    """Writes the same memory, history and question, and nobody to be.

    Attributes:
        writer: Writes the prompt with the persona.
        language: Of the one sentence that stands in its place, prompts/evaluation/bare.LANGUAGE.md.j2.
    """

    writer: PromptWriter
    language: str = "it"

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """See `PromptWriter`."""
        told = self.writer.prefix((), window)
        return *self._told(), *self.writer.prefix(history, window)[len(told) :]

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """See `PromptWriter`."""
        plain = replace(prompt, situations=())
        messages = self.writer.messages(plain, window)
        told = len(self.writer.prefix((), window))
        question, anchor = messages[-1].content, self._anchor(prompt)
        last = Message("user", question.removesuffix(anchor).rstrip())
        return Composed((*self._told(), *messages[told:-1], last))

    def _told(self) -> tuple[Message, ...]:
        return (Message("system", self.writer.templates.render(f"evaluation/bare.{self.language}.md.j2")),)

    def _anchor(self, prompt: Prompt) -> str:
        anchors = {str(name): words for name, words in self.writer.persona().sheet.anchor.items()}
        return anchors.get(prompt.language, "")


class Verbatim:
    """Writes what it is given: who marks answers, or describes chunks, is nobody."""

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """See `PromptWriter`."""
        return ()

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """See `PromptWriter`."""
        return Composed((Message("user", prompt.question),))
