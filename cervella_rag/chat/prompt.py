"""A prompt becomes messages that fit a model's window.

The order serves the servers' prefix cache: persona first and byte-stable, then what was said, then, in
the last message, what changes with every turn: date, memory, question. Where not all fits, the oldest
turns go first, then the passages are shortened; a prompt that still does not fit is never sent.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from cervella_rag.domain import Citation, Composed, Composition, Message, Prompt, Window
from cervella_rag.errors import PromptTooLongError
from cervella_rag.marks import MARK, disarm, escape_marks, on_one_line
from cervella_rag.memory.cleaning import clean
from cervella_rag.persona.persona import Language, Persona, VoiceExample
from cervella_rag.persona.situations import choose_examples
from cervella_rag.templates import Templates
from cervella_rag.tokens import bound_tokens

_log = logging.getLogger(__name__)

MESSAGE_TOKENS = 8
"""What a chat template adds around one message, with room to spare (Qwen's adds five)."""

STATED_CHARACTERS = 900
"""Most that a voice is reminded of what code has stated before it."""

_FEWEST_PASSAGE_TOKENS = 40
_LAST_WORDS = 60
"""In characters: of an answer that is to be gone on with; what is said again of it is left out."""

_EXAMPLES_SHARE = 4
"""Question and examples take at most a fourth of the room: memory weighs more than manner."""

_LANGUAGES: dict[str, Language] = {"it": "it", "en": "en", "pt": "pt"}

_MARGIN = 1.1
"""On top of the bound: it is closest to the truth for the persona, short sentences with many signs."""


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
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class PromptWriter:
    """Writes the messages a model is sent.

    Attributes:
        persona: Gives the persona as its file says it now.
        memory_tokens: How much memory a compact prompt may show.
        examples: How many examples of the voice a full prompt shows for the situation, at most.
    """

    persona: Callable[[], Persona]
    templates: Templates
    memory_tokens: int
    examples: int = 2

    def prefix(self, history: Sequence[Message], window: Window) -> tuple[Message, ...]:
        """Return what the next prompt of a conversation begins with, whatever is asked."""
        persona = self._told(self.persona(), window)
        return *persona, *_newest(history, _room(window, persona))

    def go_on(self, prompt: Prompt, said: str) -> str:
        """Return the words that ask for the rest of an answer, with the last words it came to."""
        last = disarm(said[-_LAST_WORDS:].partition(" ")[2] or said[-_LAST_WORDS:])
        return self.templates.render(f"chat/go_on.{prompt.language}.md.j2", last=last)

    def messages(self, prompt: Prompt, window: Window) -> tuple[Message, ...]:
        """Return the messages alone. See `compose`."""
        return self.compose(prompt, window).messages

    def compose(self, prompt: Prompt, window: Window) -> Composed:
        """Return persona, history and question, within the window, and what did not fit.

        Raises:
            PromptTooLongError: The persona and the question alone do not fit.
        """
        persona = self.persona()
        told = self._told(persona, window)
        room = _room(window, told)
        history = _newest(prompt.history, room)
        page = _Page(self.templates, persona, prompt, window, self._chosen(persona, prompt, window))
        if history and room < sum(map(_tokens, history)) + _tokens(page.bare()):
            history = ()  # a question that long is asked without what was said before
        question, passages, examples = self._question(page, room - sum(map(_tokens, history)))
        messages = (*told, *history, question)
        shown = {passage.number for passage in passages}
        composition = Composition(
            persona_sha256=persona.sha256,
            estimated_tokens=sum(map(_tokens, messages)),
            examples=tuple(str(example.situation) for example in examples),
            turns_left_out=len(prompt.history) - len(history),
            passages_left_out=tuple(one.number for one in prompt.citations if one.number not in shown),
            passages_shortened=tuple(one.number for one in passages if one.is_cut),
            examples_left_out=len(page.examples) - len(examples),
        )
        _log_what_is_missing(composition)
        return Composed(messages, composition)

    def _told(self, persona: Persona, window: Window) -> tuple[Message, ...]:
        sheet = persona.sheet
        name = "system_compact" if window.compact else f"system.{sheet.written_in}"
        text = self.templates.render(
            f"chat/{name}.md.j2", persona=sheet, partner=persona.partner, canary=persona.canary
        )
        examples = sheet.compact.examples if window.compact else []
        turns = (
            message
            for example in examples
            for message in (Message("user", example.user), Message("assistant", example.answer))
        )
        return Message("system", text), *turns

    def _chosen(self, persona: Persona, prompt: Prompt, window: Window) -> tuple[VoiceExample, ...]:
        # A small model repeats what its examples say, and what it reads costs it seconds.
        if window.compact:
            return ()
        return choose_examples(
            persona.examples, prompt.situations, prompt.language, prompt.question, self.examples
        )

    def _question(
        self, page: _Page, room: int
    ) -> tuple[Message, Sequence[Passage], Sequence[VoiceExample]]:
        examples: Sequence[VoiceExample] = page.examples
        bare = _tokens(page.bare(examples))
        while examples and bare > room // _EXAMPLES_SHARE:
            examples = examples[:-1]
            bare = _tokens(page.bare(examples))
        left = room - bare
        if left < 0:
            needed = page.window.context_tokens - left
            raise PromptTooLongError(needed=needed, window=page.window.context_tokens)
        memory = min(left, self.memory_tokens) if page.window.compact else left
        passages: Sequence[Passage] = _passages(page.prompt, page.window, memory)
        question = page.render(passages, examples)
        while passages and _tokens(question) > room:  # what stands around the passages counts too
            question = page.render(passages := passages[:-1], examples)
        return question, passages, examples


@dataclass(frozen=True, slots=True)
class _Page:
    """The last message of one prompt, with more or less on it."""

    templates: Templates
    persona: Persona
    prompt: Prompt
    window: Window
    examples: Sequence[VoiceExample]

    def bare(self, examples: Sequence[VoiceExample] = ()) -> Message:
        """Return it without passages."""
        return self.render((), examples)

    def render(self, passages: Sequence[Passage], examples: Sequence[VoiceExample]) -> Message:
        """Return it."""
        prompt, sheet = self.prompt, self.persona.sheet
        shown = {passage.number for passage in passages}
        text = self.templates.render(
            f"chat/user.{prompt.language}.md.j2",
            today=prompt.today,
            compact=self.window.compact,
            grounded=prompt.grounded,
            about_her=prompt.about_her,
            passages=passages,
            dates={passage.number: passage.date for passage in passages},
            conflicts=[pair for pair in prompt.conflicts if shown.issuperset(pair)],
            examples=examples,
            speaker=sheet.name,
            partner=self.persona.partner,
            question=disarm(prompt.question.strip()),
            stated=disarm(MARK.sub("", prompt.stated)[:STATED_CHARACTERS]).strip(),
            draft=disarm(prompt.draft.strip()),
            faults=prompt.faults,
            # A model of 1.5 billion read the anchor aloud in the long conversations it is there for.
            anchor="" if self.window.compact else sheet.anchor.get(_LANGUAGES[prompt.language], ""),
        )
        return Message("user", text)


def _log_what_is_missing(made: Composition) -> None:
    left_out = {
        "turns": made.turns_left_out,
        "passages": made.passages_left_out,
        "shortened": made.passages_shortened,
        "examples": made.examples_left_out,
    }
    if any(left_out.values()):
        _log.info("did not fit the window: %s", {name: what for name, what in left_out.items() if what})


def _room(window: Window, persona: Sequence[Message]) -> int:
    return window.context_tokens - window.answer_tokens - sum(map(_tokens, persona))


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
    for place, text in enumerate(texts):
        passage = replace(passage, text=escape_marks(disarm(text.strip())), is_cut=place > 0)
        if _passage_tokens(passage) <= room:
            return passage
    text = passage.text
    while text := text[: -max(1, len(text) // 10)]:
        # Whole words, where there are any: a line without blanks must not take all the room.
        shorter = replace(passage, text=f"{text.rpartition(' ')[0] or text} ...", is_cut=True)
        if _passage_tokens(shorter) <= room:
            return shorter
    return None


def _passage(citation: Citation, window: Window) -> Passage:
    """Return a citation's head; a small model is told the file's name, which is enough to speak of it."""
    path = citation.path.rpartition("/")[2] if window.compact else citation.path
    return Passage(
        number=citation.number,
        path=_in_place(path),
        date=citation.date,
        session=None if window.compact else citation.session and _in_place(citation.session),
        status=citation.status and _in_place(citation.status),
        retired=citation.retired,
        text="",
    )


def _in_place(text: str) -> str:
    """Return what a file says of itself as it may stand in a passage's head: one line without marks."""
    return disarm(on_one_line(text))


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


@lru_cache(maxsize=256)  # who she is comes with every question; to count her took as long as all the rest
def _count(text: str) -> int:
    return math.ceil(bound_tokens(text) * _MARGIN)
