"""A conversation becomes the text of a file, in the form the memory's own files have, without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cervella_rag.chat.brief.records import is_replaced
from cervella_rag.domain import Conversation, Turn
from cervella_rag.marks import MARK
from cervella_rag.memory.cleaning import clean_line
from cervella_rag.memory.markdown import parse_markdown
from cervella_rag.templates import Templates

RecordKind = Literal["decision", "lesson", "handoff"]

TITLE_CHARACTERS = 100
_MOST_QUESTIONS = 12
_MOST_SOURCES = 20
_SENTENCE = re.compile(r"(.{20,}?[.!?])(?:\s|$)")
_GIST_CHARACTERS = 300
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_NUMBER = re.compile(r"^\d{1,3}[.)]\s+")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be written.

    Attributes:
        title: Without one, what was first asked.
        text: The decision, lesson or state in the person's own words; without it, her last answer.
        gist: One or two sentences that say it all; without them, the first sentence.
        day: ISO date of the file.
    """

    kind: RecordKind
    conversation_id: str
    day: str
    title: str | None = None
    text: str | None = None
    gist: str | None = None
    project: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class DraftSource:
    """A source as the file lists it, numbered anew over the whole conversation.

    Attributes:
        is_past: Whether its file is gone, or says of itself that it no longer holds.
    """

    number: int
    path: str
    start_line: int | None
    end_line: int | None
    date: str | None
    is_past: bool
    quote: str


def title_of(wish: Wish, conversation: Conversation) -> str:
    """Return the file's title, on one line."""
    told = wish.title or conversation.info.title
    return clean_line(told)[:TITLE_CHARACTERS].strip(" ?.:") or wish.kind


def draft(
    wish: Wish,
    conversation: Conversation,
    templates: Templates,
    language: str,
    redact: Callable[[str], str] = str,
) -> str:
    """Return the file's text.

    Raises:
        TemplateFileError: The frame cannot be used.
    """
    sources, numbers = _sources(conversation.turns)
    last = conversation.turns[-1]
    text = wish.text or _said(last, numbers)
    rendered = templates.render(
        f"writeback/{wish.kind}.{language}.md.j2",
        wish=wish,
        title=title_of(wish, conversation),
        gist=_one_line(wish.gist or _gist(wish.text, last)),
        questions=[_one_line(turn.question) for turn in conversation.turns[-_MOST_QUESTIONS:]],
        unanswered=[_one_line(turn.question) for turn in conversation.turns if not turn.grounded],
        text=_below(text),
        sources=sources[:_MOST_SOURCES],
    )
    return redact(rendered) + "\n"


def _sources(turns: Iterable[Turn]) -> tuple[list[DraftSource], dict[tuple[str, int], int]]:
    """Return every passage that was cited once, and the new number of each turn's own.

    What only came close to a question that memory does not answer is no source of anything.
    """
    found: dict[tuple[Any, ...], DraftSource] = {}
    numbers: dict[tuple[str, int], int] = {}
    for turn in turns:
        for told in turn.citations if turn.grounded else ():
            citation: dict[str, Any] = dict(told)
            place = citation["path"], citation.get("start_line"), citation.get("end_line")
            if place not in found:
                quote = next(filter(None, map(clean_line, _quote(citation).split("\n"))), "")
                is_past = bool(citation.get("retired")) or is_replaced(citation.get("status"))
                found[place] = DraftSource(
                    len(found) + 1, *place, citation.get("date"), is_past, quote[:120]
                )
            numbers[turn.turn_id, citation["number"]] = found[place].number
    return list(found.values()), numbers


def _said(turn: Turn, numbers: dict[tuple[str, int], int]) -> str:
    """Return her answer with the file's own numbers; of the memory's own voice, what it quoted."""
    if turn.mode == "memory_only":
        cited = turn.citations if turn.grounded else ()
        return "\n\n".join(_quoted(turn, citation, numbers) for citation in cited) or turn.answer

    def renumbered(mark: re.Match[str]) -> str:
        number = numbers.get((turn.turn_id, int(mark[1])))
        return mark[0].replace(mark[1], str(number)) if number else ""

    return MARK.sub(renumbered, turn.answer)


def _quote(citation: dict[str, Any]) -> str:
    return str(citation.get("quote") or "")


def _quoted(turn: Turn, citation: dict[str, Any], numbers: dict[tuple[str, int], int]) -> str:
    plain = _HEADING.sub(r"**\1**", _quote(citation))
    lines = "\n".join(f"> {line}".rstrip() for line in plain.split("\n"))
    return f"{lines}\n\n[{numbers[turn.turn_id, citation['number']]}]"


def _gist(text: str | None, last: Turn) -> str:
    if not text and last.mode == "memory_only" and last.grounded:
        lines = "\n".join(map(_quote, last.citations)).split("\n")
        said = [line for line in lines if not line.lstrip().startswith("#")]
        text = _NUMBER.sub("", next(filter(None, map(clean_line, said)), ""))
    plain = _one_line(MARK.sub("", text or last.answer))
    sentence = _SENTENCE.match(plain)
    return sentence[1] if sentence else plain


def _one_line(text: str) -> str:
    return " ".join(filter(None, map(clean_line, text.split("\n"))))[:_GIST_CHARACTERS]


def _below(text: str) -> str:
    """Return `text` with its headings below those of the file."""
    lines = text.strip().split("\n")
    for block in parse_markdown("\n".join(lines)):
        if block.level and lines[block.start_line - 1].lstrip().startswith("#"):
            lines[block.start_line - 1] = f"#### {block.title}"
    return "\n".join(lines)


def language_of(conversation: Conversation, detect: Callable[[str], str]) -> str:
    """Return the language of the file: English where that was asked in, else the memory's, Italian."""
    asked: Sequence[str] = [turn.question for turn in conversation.turns]
    return "en" if detect(" ".join(asked)) == "en" else "it"
