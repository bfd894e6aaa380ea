"""What is searched for becomes a pattern, bounded in time: whoever writes it, and whatever it meets.

Reference: the package regex, whose matching takes a time limit; the standard library's does not.
"""

from __future__ import annotations

import time
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import regex

from cervella_rag.errors import InvalidRequestError
from cervella_rag.memory.lexical import fold

LONGEST_PATTERN = 200
"""Characters of what is searched for."""
TIME_LIMIT_SECONDS = 2.0
"""For all files of one request together."""
LONGEST_LINE = 20_000
"""Characters of one line that a regular expression sees: what it remembers grows with them."""
_PLACES_KEPT = 1000
_RECURSION = regex.compile(r"\(\?(?:R|[+-]?\d|&|P>)")

How = Literal["literal", "regex"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What to count.

    Attributes:
        term: Words, a phrase, or a regular expression.
        how: "literal" finds `term` where no word goes on before or after it.
        numbered: Only where a number follows, "Sessione 150" or "Sessione #150".
        any_spelling: Letters of either case, with or without accents; None takes a term without capitals
            to mean it.
        inside: A literal also within longer words.
    """

    term: str
    how: How = "literal"
    numbered: bool = False
    any_spelling: bool | None = None
    inside: bool = False

    @property
    def means_any_spelling(self) -> bool:
        """Whether the value is the count in any spelling."""
        if self.any_spelling is not None:
            return self.any_spelling
        return self.how == "literal" and self.term == self.term.lower()


@dataclass(frozen=True, slots=True)
class Matches:
    """How often a pattern was found in one text, and on which lines (1-based, each once, the first)."""

    count: int
    lines: tuple[int, ...]


class Clock:
    """The time that is left for one request."""

    def __init__(self, seconds: float = TIME_LIMIT_SECONDS) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left.

        Raises:
            InvalidRequestError: None are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise _too_slow()
        return left


class Matcher:
    """A compiled pattern, as written and in any spelling.

    Raises:
        InvalidRequestError: The pattern is empty, too long, or not a regular expression.
    """

    def __init__(self, pattern: Pattern, clock: Clock) -> None:
        if not pattern.term.strip():
            raise InvalidRequestError(field="pattern", reason="it is empty")
        if pattern.how == "regex" and _RECURSION.search(pattern.term):
            raise InvalidRequestError(field="pattern", reason="it may not call itself")
        if len(pattern.term) > LONGEST_PATTERN:
            raise InvalidRequestError(field="pattern", reason=f"longer than {LONGEST_PATTERN} characters")
        self._clock = clock
        self._is_regex = pattern.how == "regex"
        self._exact = _compile(_expression(pattern, unicodedata.normalize("NFC", pattern.term)), 0)
        folded = pattern.term if pattern.how == "regex" else fold(pattern.term)
        flags = regex.IGNORECASE if pattern.how == "regex" else 0
        self._folded = _compile(_expression(pattern, folded), flags)

    def as_written(self, text: str) -> Matches:
        """Count what has the same letters."""
        return self._count(self._exact, unicodedata.normalize("NFC", text))

    def any_spelling(self, text: str) -> Matches:
        """Count what has the same letters apart from case and accents."""
        return self._count(self._folded, fold(text))

    def _count(self, compiled: regex.Pattern[str], text: str) -> Matches:
        """Count; a literal may go over the end of a line, a regular expression sees one line at a time."""
        try:
            return self._by_line(compiled, text) if self._is_regex else self._in_text(compiled, text)
        except TimeoutError as error:
            raise _too_slow() from error
        except (MemoryError, RecursionError) as error:
            raise InvalidRequestError(field="pattern", reason="it takes too much memory") from error

    def _by_line(self, compiled: regex.Pattern[str], text: str) -> Matches:
        count = 0
        lines: list[int] = []
        for number, line in enumerate(text.split("\n"), 1):
            matches = compiled.finditer(line[:LONGEST_LINE], timeout=self._clock.left())
            found = sum(match.end() > match.start() for match in matches)  # nothing is found everywhere
            count += found
            if found and len(lines) < _PLACES_KEPT:
                lines.append(number)
        return Matches(count, tuple(lines))

    def _in_text(self, compiled: regex.Pattern[str], text: str) -> Matches:
        starts = [match.start() for match in compiled.finditer(text, timeout=self._clock.left())]
        places = starts[:_PLACES_KEPT]
        ends = [place for place, character in enumerate(text) if character == "\n"] if places else []
        return Matches(len(starts), tuple(dict.fromkeys(bisect_left(ends, place) + 1 for place in places)))


def _too_slow() -> InvalidRequestError:
    return InvalidRequestError(field="pattern", reason=f"it takes longer than {TIME_LIMIT_SECONDS:g} s")


def _expression(pattern: Pattern, term: str) -> str:
    if pattern.how == "regex":
        return term
    words = r"\s+".join(map(regex.escape, term.split()))
    if pattern.inside:
        return words
    before = r"(?<!\w)" if term.strip()[0].isalnum() else ""
    if pattern.numbered:
        # "Sessione 150", "Sessione: 150", "**Sessione** #150": signs of the same line between.
        return rf"{before}{words}[^\w\n]{{0,6}}\d+"
    after = r"(?!\w)" if term.strip()[-1].isalnum() else ""
    return before + words + after


def _compile(expression: str, flags: int) -> regex.Pattern[str]:
    try:
        return regex.compile(expression, flags | regex.MULTILINE)
    except (regex.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
        raise InvalidRequestError(field="pattern", reason=f"not a regular expression: {error}") from error
