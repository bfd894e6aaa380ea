"""A prompt becomes messages that fit a model's window.

The order serves the servers' prefix cache: persona first and byte-stable, then what was said, then, in
the last message, what changes with every turn: date, memory, question. Where not all fits, the oldest
turns go first, then the passages are shortened; a prompt that still does not fit is never sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cervella_rag.domain import Citation, Message, Prompt, Window
from cervella_rag.errors import PromptTooLongError
from cervella_rag.marks import MARK, escape_marks
from cervella_rag.memory.cleaning import clean
from cervella_rag.persona.persona import Persona
from cervella_rag.templates import Templates
from cervella_rag.tokens import estimate_tokens

MESSAGE_TOKENS = 8
"""What a chat template adds around one message, with room to spare (Qwen's adds five)."""

STATED_CHARACTERS = 900
"""Most that a voice is reminded of what code has stated before it."""

_FEWEST_PASSAGE_TOKENS = 40

_MARKS = ("<|", "<think>", "</think>", "<<<", ">>>")

_MARGIN = 1.15
"""On top of the estimate: against Qwen's own vocabulary it was 9 % short for the persona, which is short
sentences with many signs."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A citation as a model reads it."""

    number: int
    path: str
    date: str | None
    session: str | None
    status: str | None
    retired: str | None
    text: str


@dataclass(frozen=True, slots=True)
class PromptWriter:
    """Writes the messages a model is sent.

    Attributes:
        memory_tokens: How much memory a compact prompt may show.
    """

    persona: Persona
    templates: Templates
    memory_tokens: int

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """Return what the next prompt of a conversation begins with, whatever is asked."""
        persona = self._persona(window)
        return *persona, *_newest(history, _room(window, persona))

    def messages(self, prompt: Prompt, window: Window) -> tuple[Message, ...]:
        """Return persona, history and question, within the window.

        Raises:
            PromptTooLongError: The persona and the question alone do not fit.
        """
        persona = self._persona(window)
        room = _room(window, persona)
        history = _newest(prompt.history, room)
        left = room - sum(map(_tokens, history)) - _tokens(self._render(prompt, window, ()))
        if left < 0:  # a question that long is asked without what was said before
            history = ()
        return *persona, *history, self._question(prompt, window, room - sum(map(_tokens, history)))

    def _persona(self, window: Window) -> tuple[Message, ...]:
        sheet, partner = self.persona.sheet, self.persona.partner
        name = "system_compact" if window.compact else "system"
        text = self.templates.render(
            f"chat/{name}.md.j2", persona=sheet, partner=partner, canary=self.persona.canary
        )
        examples = sheet.compact.examples if window.compact else []
        turns = (
            message
            for example in examples
            for message in (Message("user", example.user), Message("assistant", example.answer))
        )
        return Message("system", text), *turns

    def _question(self, prompt: Prompt, window: Window, room: int) -> Message:
        bare = self._render(prompt, window, ())
        left = room - _tokens(bare)
        if left < 0:
            needed = window.context_tokens - left
            raise PromptTooLongError(needed=needed, window=window.context_tokens)
        memory = min(left, self.memory_tokens) if window.compact else left
        question = self._render(prompt, window, passages := _passages(prompt, window, memory))
        while passages and _tokens(question) > room:  # what stands around the passages counts too
            question = self._render(prompt, window, passages := passages[:-1])
        return question

    def _render(self, prompt: Prompt, window: Window, passages: Sequence[Passage]) -> Message:
        text = self.templates.render(
            f"chat/user.{prompt.language}.md.j2",
            today=prompt.today,
            compact=window.compact,
            grounded=prompt.grounded,
            passages=passages,
            partner=self.persona.partner,
            question=disarm(prompt.question.strip()),
            stated=disarm(MARK.sub("", prompt.stated)[:STATED_CHARACTERS]).strip(),
        )
        return Message("user", text)


def _room(window: Window, persona: Sequence[Message]) -> int:
    return window.context_tokens - window.answer_tokens - sum(map(_tokens, persona))


def disarm(text: str) -> str:
    """Return `text` without what ends a message for a chat template, or a passage in our own."""
    for mark in _MARKS:
        text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def _passages(prompt: Prompt, window: Window, room: int) -> tuple[Passage, ...]:
    """Return the citations, best first, shortened where they would not fit.

    Half of what is left goes to each, all of it to the last; what a short one leaves goes to the next.
    """
    passages = []
    for citation, hit in zip(prompt.citations, prompt.hits, strict=True):
        is_last = citation is prompt.citations[-1]
        share = room if is_last else max(room // 2, _FEWEST_PASSAGE_TOKENS)
        if share > room or room < _FEWEST_PASSAGE_TOKENS:
            break
        # A small model does better with a line of prose than with tables and frames.
        line = clean(citation.quote).replace("\n", " ")
        texts = (line,) if window.compact else (hit.chunk.text, citation.quote)
        if passage := _fitting(_passage(citation, window), texts, share):
            passages.append(passage)
            room -= _passage_tokens(passage)
    return tuple(passages)


def _fitting(passage: Passage, texts: Sequence[str], room: int) -> Passage | None:
    """Return the passage with the first text that fits, or the beginning of the last; None without room."""
    for text in texts:
        passage = replace(passage, text=escape_marks(disarm(text.strip())))
        if _passage_tokens(passage) <= room:
            return passage
    text = passage.text
    while text := text[: -max(1, len(text) // 10)]:
        # Whole words, where there are any: a line without blanks must not take all the room.
        shorter = replace(passage, text=f"{text.rpartition(' ')[0] or text} ...")
        if _passage_tokens(shorter) <= room:
            return shorter
    return None


def _passage(citation: Citation, window: Window) -> Passage:
    """Return a citation's head; a small model is told the file's name, which is enough to speak of it."""
    path = citation.path.rpartition("/")[2] if window.compact else citation.path
    return Passage(
        number=citation.number,
        path=escape_marks(disarm(path)),
        date=citation.date,
        session=None if window.compact else citation.session,
        status=escape_marks(disarm(citation.status)) if citation.status else None,
        retired=citation.retired,
        text="",
    )


def _passage_tokens(passage: Passage) -> int:
    return _count(f"{passage.path} {passage.status} {passage.text}") + 25


def _newest(history: Sequence[Message], room: int) -> tuple[Message, ...]:
    """Return the newest whole turns that fit in half of the room, without the marks of their passages.

    Half, whatever is asked: so what is evaluated ahead of a question is what its prompt begins with.
    """
    room //= 2
    kept: list[Message] = []
    for message in reversed(history):
        plain = Message(message.role, disarm(MARK.sub("", message.content)))
        room -= _tokens(plain)
        if room < 0:
            break
        kept.insert(0, plain)
    while kept and kept[0].role != "user":
        kept.pop(0)
    return tuple(kept)


def _tokens(message: Message) -> int:
    return _count(message.content) + MESSAGE_TOKENS


def _count(text: str) -> int:
    return math.ceil(estimate_tokens(text) * _MARGIN)
