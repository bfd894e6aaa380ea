"""What a voice is told, and the answer that comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from cervella_rag.domain.hits import Hit, Message


@dataclass(frozen=True, slots=True)
class Citation:
    """A numbered pointer from the answer's text to lines of a source.

    Attributes:
        number: What stands between brackets in the answer, from 1.
        start_line: First line of `quote` in the file, 1-based.
        end_line: Its last line, inclusive.
        quote: Those lines as they are in the file.
        why: What matched, in a person's words.
        superseded_by: Path of the file that took this one's place, where it says so.
    """

    number: int
    path: str
    title: str
    headings: tuple[str, ...]
    start_line: int
    end_line: int
    date: str | None
    session: str | None
    status: str | None
    retired: str | None
    quote: str
    why: str = ""
    superseded_by: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a voice is given to speak from.

    Attributes:
        language: "it", "en" or "pt": the question's.
        hits: What the answer may use, in the order of the citations.
        citations: The same, numbered, each with its most telling lines.
        grounded: False where the memory holds no answer and only comes close.
        history: What was said before, oldest first.
        today: ISO date of the turn.
        stated: What code has already answered in words, before the voice; mostly nothing.
        situations: What the question asks of a voice besides a fact, the first weighing most.
        about_her: The question is who she is: nothing of the memory belongs in the answer.
        conflicts: Numbers of two citations that do not say the same, the older first.
        draft: An answer that broke a rule and is to be said again; `faults` names the rules.
    """

    question: str
    language: str
    hits: tuple[Hit, ...]
    citations: tuple[Citation, ...]
    grounded: bool
    history: tuple[Message, ...] = ()
    today: str = ""
    stated: str = ""
    situations: tuple[str, ...] = ()
    about_her: bool = False
    conflicts: tuple[tuple[int, int], ...] = ()
    draft: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Composition:
    """What a prompt was made of, and what did not fit.

    Attributes:
        persona_sha256: The persona as it was told; "" where none was.
        estimated_tokens: Length of the messages, by our own count.
        examples: The situations of the examples that were shown.
        turns_left_out: Earlier turns that did not fit, each half counted as one.
        passages_left_out: Numbers of citations that did not fit.
        passages_shortened: Numbers of citations of which only a part was shown.
        examples_left_out: Examples that did not fit.
    """

    persona_sha256: str = ""
    estimated_tokens: int = 0
    examples: tuple[str, ...] = ()
    turns_left_out: int = 0
    passages_left_out: tuple[int, ...] = ()
    passages_shortened: tuple[int, ...] = ()
    examples_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Composed:
    """The messages a model is sent, and what they were made of."""

    messages: tuple[Message, ...]
    composition: Composition | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What a model can take and give, in tokens.

    Attributes:
        context_tokens: Prompt and answer together.
        answer_tokens: Longest answer.
        compact: True for a small or slow model: the short persona, and quotes instead of chunks.
        continuations: How often an answer that reached its limit is gone on with, at most.
    """

    context_tokens: int
    answer_tokens: int
    compact: bool = False
    continuations: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer and everything needed to check it.

    Attributes:
        conversation_id: Where the turn is kept; None for a client that keeps the history itself.
        finish_reason: "stop" where she had said all, "length" where the answer was cut at its limit,
            "incomplete" where the voice ended without saying that it was done.
        degraded: Parts that failed and were done without: "embedder" (searched by words alone), "voice"
            (another than the first spoke), "conversations" (the turn could not be kept).
    """

    answer: str
    grounded: bool
    mode: str
    citations: tuple[Citation, ...]
    conversation_id: str | None
    turn_id: str
    model: str
    finish_reason: str
    usage: dict[str, int]
    timings_ms: dict[str, float]
    provenance: dict[str, object]
    degraded: tuple[str, ...] = ()
