"""Numbered citations: which lines a hit is quoted by, and which numbers an answer may carry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

from cervella_rag.domain import Citation, Hit
from cervella_rag.marks import MARK, OPEN_MARK
from cervella_rag.memory.lexical import fold, stems, words

_HEADING = re.compile(r"\s*#{1,6}\s")
_KEY_AND_VALUE = re.compile(r"\s*(?:>\s*)?(?:[-*]\s+)?\*\*[^*\n]{1,40}:?\*\*:?\s*\S.{0,80}$")
"""A line of a header, `> **Data:** 2026-01-11`: a citation gives most of it anyway."""
_WHY = re.compile(r"\b(?:perche|come mai|motiv\w*|ragion[ei]|why|reasons?|por ?que|motivos?)\b")
"""What asks for a reason, and what a section with reasons is called; folded."""
_WHY_WEIGHT = 5
"""More than two stems that text and heading share: what announces a reason repeats the topic."""

_END = r"""[.!?]+["»”)]*"""
_MARK_OR_END = re.compile(MARK.pattern + rf"|{_END}(?=\s+(?!\s*\[\d))|\n")
_OPEN_END = re.compile(rf"(?:{_END})?\s*(?:\[\d{{0,3}}\]?)?$")
"""The end of a text that the next piece may turn into a mark, or into the end of a sentence."""

_REPORT = re.compile(
    r"\b(?:abbiamo|avevamo|avevi|avevate|hanno|decis[oaie]|scelt[oaie]|stabilit[oaie]|e stat[oa]"
    r"|sono stat[ie]|erano?|risulta(?:no)?"
    r"|(?:we|you) (?:decided|chose|had|agreed|learned|wrote)|was|were|decided|chosen"
    r"|decidimos|escolhemos|tinhamos|foi|foram|ficou)\b"
)
"""What tells of something that was: a sentence about the memory; folded."""
_ADMITS = re.compile(
    r"\b(?:non (?:lo |la |li |le |ne |l'?)?(?:trovo|trova|ho|risulta|so)\b|non c'?e"
    r"|(?:do|can|could)(?: not|n'?t| ?not) (?:find|say|know)|nothing about"
    r"|nao (?:o |a |os |as )?(?:encontro|encontrei|tenho|sei))"
)
"""What says that something is not there; folded."""
_MEMORY = r"\b(?:(?:in|nella) memoria|(?:na|em) memoria|(?:in|from) (?:the |my |our )?memory)\b"
_NOT = r"(?:\b(?:non|nao|nada|niente|nulla|not|no|nothing)\b|n't\b)"
_NOT_IN_MEMORY = re.compile(
    rf"{_MEMORY}.{{0,90}}{_NOT}|{_NOT}.{{0,60}}{_MEMORY}|\bmemory (?:holds|has|says) (?:no|nothing)\b"
)
"""What says so of the memory itself, whatever else the sentence says; folded."""
_NOT_FOUND = re.compile(
    r"\bnon (?:lo |la |li |le |ne |l'?)?(?:trov|risult)"
    r"|\bnon (?:e|sono) (?:stat[aoie] )?(?:trovat|registrat|indicat|menzionat|specificat|riportat|present)"
    r"|(?:\b(?:not|cannot)|n't) (?:find|found)\b"
    r"|\b(?:is|are|was|were)(?: not|n't) (?:mentioned|recorded|found|stated|given)"
    r"|\bnao (?:[oa]s? )?encontr|\bnao (?:esta|estao|foi|foram) (?:registad|indicad|mencionad|encontrad)"
)
"""What says so even with a citation, which then stands for where she looked; folded."""
UNSUPPORTED_MARK = " [?]"

_SUPPORT_SHARE = 0.6
_FEWEST_STEMS = 3

QUOTE_LINES = 6
"""Most lines that may hold words in one quote; enough for a short table or list with its answer."""


def cite(hits: Iterable[Hit], question: str) -> tuple[Citation, ...]:
    """Number the hits from 1, each with the lines that tell most about the question."""
    return tuple(_citation(number, hit, question) for number, hit in enumerate(hits, 1))


def _citation(number: int, hit: Hit, question: str) -> Citation:
    chunk = hit.chunk
    lines = chunk.text.split("\n")
    first, last = _telling_lines(lines, question)
    return Citation(
        number=number,
        path=chunk.path,
        title=chunk.metadata.title,
        headings=chunk.headings,
        start_line=chunk.start_line + first,
        end_line=chunk.start_line + last,
        date=chunk.metadata.date,
        session=chunk.metadata.session,
        status=chunk.metadata.status,
        retired=chunk.retired,
        quote="\n".join(lines[first : last + 1]),
        why=hit.why,
        superseded_by=chunk.metadata.superseded_by,
    )


def _telling_lines(lines: Sequence[str], question: str) -> tuple[int, int]:
    """Return the first and last of the consecutive lines that share most with the question.

    A heading may open a quote and never stands inside one. Every distinct stem of the question counts
    twice where the text has it and once where only the heading does, and a section of reasons counts
    where one is asked for; at equal counts the window that starts with the match wins, since an answer
    follows the words that announce it.
    """
    asked, asks_why = stems(words(question)), bool(_WHY.search(fold(question)))
    filled = [number for number, line in enumerate(lines) if words(line) or _HEADING.match(line)]
    if not filled:
        return 0, len(lines) - 1
    shared = {number: asked & stems(lines[number]) for number in filled}
    best = (-1, False, 0, 0, 0)
    for position, first in enumerate(filled):
        following = takewhile(
            lambda number: not _HEADING.match(lines[number]),
            filled[position + 1 : position + QUOTE_LINES],
        )
        window = [first, *following]
        body = window[bool(_HEADING.match(lines[first])) :]
        # A title above nothing but its header says nothing, however well it matches.
        says = any(not _KEY_AND_VALUE.match(lines[number]) for number in body)
        opening = shared[first] if says else frozenset[str]()
        text = frozenset[str]().union(*(shared[number] for number in body))
        gives_reasons = asks_why and says and len(body) < len(window) and _WHY.search(fold(lines[first]))
        score = len(text) + len(text | opening) + _WHY_WEIGHT * bool(gives_reasons)
        best = max(best, (score, says, len(opening), -first, window[-1]))
    return -best[3], best[4]


class CitationCheck:
    """Lets through the citations that were given, takes out all others, and adds one that was forgotten.

    A sentence without a mark gets the number of the passage that holds most of its words, where that is
    most of the sentence and every number in it: a small model tells what it read and forgets to cite.

    Attributes:
        used: Numbers that the answer carried and was entitled to, in order of appearance.
        removed: Numbers that it was not entitled to.
        added: Numbers that were added.
        unsupported: Sentences about the memory that no passage supports: they tell of what was or give a
            figure, and carry no citation; or they carry one to a passage without that figure, or without
            any word that the question did not bring.
        supported: How many sentences a passage supports, be it another than the one they cite.
        admitted: How many say that something is not in memory.

    Args:
        citations: Those that were given.
        hits: Their hits, in the same order; without them nothing is added and nothing called unsupported.
        question: What was asked, and the names of those who speak; its figures and words may be repeated.
        language: The answer's; words are compared with passages in the same one.
        marks: Whether an unsupported sentence is marked in the text.
    """

    def __init__(
        self,
        citations: Sequence[Citation],
        hits: Sequence[Hit] = (),
        question: str = "",
        *,
        language: str = "",
        marks: bool = False,
    ) -> None:
        self._marks = marks
        asked = words(question)
        self._asked, self._asked_stems = _figures(asked), stems(asked)
        self._numbers = frozenset(citation.number for citation in citations)
        self._passages = [
            (citation.number, _figures(told), stems(told))
            for citation, hit in zip(citations, hits, strict=False)
            for told in (
                words(f"{' '.join(hit.chunk.headings)} {hit.chunk.metadata.date} {hit.chunk.text}"),
            )
        ]
        self._known = {number: figures for number, figures, _ in self._passages}
        self._told = {
            citation.number: told
            for citation, hit, (_, _, told) in zip(citations, hits, self._passages, strict=False)
            if hit.chunk.metadata.language == language
        }
        self._held = ""
        self._sentence = ""
        self._cited: list[int] = []
        self.used: list[int] = []
        self.removed: list[int] = []
        self.added: list[int] = []
        self.unsupported: list[str] = []
        self.supported = 0
        self.admitted = 0

    def feed(self, piece: str, *, is_quote: bool = False) -> str:
        """Return what may be shown now; what may be the beginning of a mark is held.

        Nothing is added where `is_quote` says that the piece is the memory's own text in its frame.
        """
        text = self._held + piece
        cut = (OPEN_MARK if is_quote else _OPEN_END).search(text)
        ready, self._held = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
        return self._checked(ready, is_quote)

    def finish(self) -> str:
        """Return what was held to the end; the end of the answer ends its last sentence too."""
        held, self._held = self._held, ""
        return (
            self._checked(held + "\n", is_quote=not self._sentence)[:-1] if held or self._sentence else ""
        )

    def _checked(self, text: str, is_quote: bool) -> str:
        if is_quote:
            return MARK.sub(lambda mark: self._judge(int(mark[1]), mark[0]), text)
        shown, position = [], 0
        for found in _MARK_OR_END.finditer(text):
            between = text[position : found.start()]
            self._sentence += between
            shown.append(between)
            shown.append(
                self._judge(int(found[1]), found[0]) if found[1] else self._end(found[0]) + found[0]
            )
            position = found.end()
        self._sentence += text[position:]
        return "".join([*shown, text[position:]])

    def _judge(self, number: int, mark: str) -> str:
        if number not in self._numbers:
            self.removed.append(number)
            return ""
        self._cited.append(number)
        if number not in self.used:
            self.used.append(number)
        return mark

    def _end(self, end: str) -> str:
        """Return the mark a sentence should have had, and begin the next."""
        sentence, cited = self._sentence + end.strip(), self._cited
        self._sentence, self._cited = "", []
        if self._passages and _admits(sentence, is_cited=bool(cited)):
            self.admitted += 1
            return ""
        number = None if cited else self._support(sentence)
        if number is None:
            return self._doubt(sentence, cited)
        self.supported += 1
        self.added.append(number)
        if number not in self.used:
            self.used.append(number)
        return f" [{number}]"

    def _doubt(self, sentence: str, cited: Sequence[int]) -> str:
        """Remember a sentence without support; return the mark it gets."""
        if not self._lacks_support(sentence, cited):
            self.supported += bool(cited)
            return ""
        self.unsupported.append(" ".join(sentence.split()))
        self.supported += self._is_elsewhere(sentence, cited)
        return UNSUPPORTED_MARK if self._marks else ""

    def _lacks_support(self, sentence: str, cited: Sequence[int]) -> bool:
        said = words(sentence)
        figures = _figures(said) - self._asked
        if cited:
            known = frozenset[str]().union(*(self._known.get(number, figures) for number in cited))
            return not figures <= known or self._is_nowhere(said, cited)
        if not self._passages or len(stems(said)) < _FEWEST_STEMS or sentence.rstrip().endswith("?"):
            return False
        folded = fold(sentence)
        return not _ADMITS.search(folded) and bool(figures or _REPORT.search(folded))

    def _is_elsewhere(self, sentence: str, cited: Sequence[int]) -> bool:
        """Tell whether a sentence cites the wrong passage: its figures stand in another it was given."""
        said = words(sentence)
        known = frozenset[str]().union(*self._known.values())
        return bool(cited) and _figures(said) - self._asked <= known and not self._is_nowhere(said, cited)

    def _is_nowhere(self, said: Sequence[str], cited: Sequence[int]) -> bool:
        """Tell whether all that a cited sentence adds to the question is in no passage it was given."""
        if not all(number in self._told for number in cited):
            return False
        new = stems([word for word in said if not word[0].isdigit()]) - self._asked_stems
        return bool(new) and new.isdisjoint(frozenset[str]().union(*self._told.values()))

    def _support(self, sentence: str) -> int | None:
        """Return the passage that holds the sentence, or None."""
        said = words(sentence)
        numbers, asked = _figures(said), stems(said)
        if len(asked) < _FEWEST_STEMS:
            return None
        shares = [
            (len(asked & known) / len(asked), -number)
            for number, figures, known in self._passages
            if numbers <= figures
        ]
        share, number = max(shares, default=(0.0, 0))
        return -number if share >= _SUPPORT_SHARE else None


def _admits(sentence: str, *, is_cited: bool) -> bool:
    folded = fold(sentence)
    return bool(_NOT_FOUND.search(folded) or (not is_cited and _NOT_IN_MEMORY.search(folded)))


def _figures(found: Iterable[str]) -> frozenset[str]:
    """Return the figures among words; "09" of a date is the 9 of the month."""
    return frozenset(word.lstrip("0") or "0" for word in found if word[0].isdigit())
