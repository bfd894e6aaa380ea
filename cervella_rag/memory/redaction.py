"""Secrets and personal data leave a text before it is embedded, stored, logged or shown.

What goes is replaced by a typed placeholder, `[redacted:email]`; lines stay where they were.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cervella_rag.memory.redaction_rules import FINDERS

_VERSION = 1
"""Raised with every change of what the rules find: an index that was made by other rules is then known."""

PRIVATE_KEY = "private_key"
RULES = (PRIVATE_KEY, *FINDERS)
"""Names of all rules in the order they are applied."""
_PRIVATE_KEYS = "PEM, OpenSSH and PGP private key blocks, line by line, also without an end."

_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# Base64, also with the line ends of JSON and of shells written out.
_BODY_INLINE = re.compile(r"(?:[A-Za-z0-9+/=]|[ \t]|\\[nr])*")
_BODY = re.compile(r"([\s>|│]*)(?:[A-Za-z0-9+/=]|\\[nr])+[\s\\\"'|│]*")
_BODY_HEADER = re.compile(r"([\s>|│]*)(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): .*")

# What, at the end of an unfinished line, may still grow into a match that began before the last word.
_KEYED = r"(?i:pass|pwd|parola|palavra|senha|secret|token|key|chiave|chave)[^\n]{0,80}?"
_QUOTED = r"(?P<value>\\?[\"'`][^\"'`\n]{0,122}(?:[\"'`]\S*)?)"
_HOLDS = tuple(
    re.compile(pattern + r"\Z")
    for pattern in (
        r"[+(]?\d[\d ().\-/]*(?: |(?<! )\S*)",  # telephones, cards
        r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}[A-Za-z0-9]*(?:[ -][A-Za-z0-9]{1,4})*(?:[ -]\S*)?",  # IBANs
        # A name of two words.
        r"[A-Za-z]:[\\/]{1,4}Users[\\/]{1,4}[^\s\\]{1,80}(?: [A-Z][^\s\\]{0,40}){0,2} ?(?:\\\S*)?",
        # A quoted value of several words.
        _KEYED + r"(?:[:=|>]|\b(?:is|was|era)|[èé'’]|--\S+ )[* \t]{0,30}" + _QUOTED,
        rf"{_KEYED}:[ \t]+(?P<value>\S+\s*)",  # a value that may be alone on its line
    )
)
_HELD_MOST = 300
_CONTEXT = 1_000
"""Characters of an unfinished line that are looked at again when it goes on; rules look back 200."""
_MORE = "…"
"""Stands for the rest of an unfinished line: without it a value would seem to end the line."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text after redaction.

    Attributes:
        found: How many placeholders were put, by rule; a rule that found nothing is absent.
    """

    text: str
    found: Mapping[str, int]


class Redactor:
    """Applies the rules.

    Args:
        off: Names of rules that are not applied.

    Attributes:
        name: Identity of the rules that are on and of their version; kept with an index.

    Raises:
        ValueError: A name in `off` is no rule.
    """

    def __init__(self, off: Collection[str] = ()) -> None:
        if unknown := sorted(set(off) - set(RULES)):
            raise ValueError(f"no such rule: {', '.join(unknown)}")
        active = [rule for rule in RULES if rule not in off]
        self._keys = PRIVATE_KEY in active
        self._finders = [(rule, FINDERS[rule]) for rule in active if rule in FINDERS]
        digest = hashlib.sha256(",".join(active).encode()).hexdigest()
        self.name = f"redaction-{_VERSION}:{digest[:8]}"

    def redact(self, text: str) -> Redacted:
        """Replace what the rules find; line n of `text` is line n of the result."""
        return self.resume(text, _Block())

    def resume(self, text: str, block: _Block) -> Redacted:
        """Redact lines that follow others; `block` is how those ended, and becomes how these do."""
        found: Counter[str] = Counter()
        if self._keys and (block.is_open or "-----BEGIN" in text):
            text = "\n".join(block.redact(line, found) for line in text.split("\n"))
        before = -1
        # Until nothing is left to find: a placeholder may set free what stood beside it.
        while before != found.total():
            before = found.total()
            for rule, find in self._finders:
                text = _replace(text, rule, list(find(text)), found)
        return Redacted(text, MappingProxyType(dict(found)))


def _replace(text: str, rule: str, spans: list[tuple[int, int]], found: Counter[str]) -> str:
    if not spans:
        return text
    found[rule] += len(spans)
    parts, position = [], 0
    for start, end in spans:
        parts += [text[position:start], _placeholder(rule)]
        position = end
    return "".join([*parts, text[position:]])


def meaning(rule: str) -> str:
    """Return what a rule takes out, in words."""
    text = _PRIVATE_KEYS if rule == PRIVATE_KEY else FINDERS[rule].__doc__ or ""
    return " ".join(text.split())


def _placeholder(rule: str) -> str:
    return f"[redacted:{rule}]"


class _Block:
    """Whether the lines so far end inside a private key; one that never ends, ends with its base64."""

    def __init__(self) -> None:
        self.is_open = False
        self._has_body = False

    def redact(self, line: str, found: Counter[str]) -> str:
        """Return the line with a placeholder for its part of a key."""
        if self.is_open:
            prefix, line = self._go_on(line, found)
        else:
            prefix = ""
        return prefix + self._begin(line, found)

    def _go_on(self, line: str, found: Counter[str]) -> tuple[str, str]:
        """Return what is done of the line, and the rest."""
        if end := _END.search(line):
            indent = line[: len(line) - len(line.lstrip(" \t>|│"))] if end.start() else ""
            self.is_open = False
            found[PRIVATE_KEY] += 1
            return indent + _placeholder(PRIVATE_KEY), line[end.end() :]
        if body := _BODY.fullmatch(line) or (None if self._has_body else _BODY_HEADER.fullmatch(line)):
            self._has_body = self._has_body or body.re is _BODY
            found[PRIVATE_KEY] += 1
            return body[1] + _placeholder(PRIVATE_KEY), ""
        self.is_open = not self._has_body and not line.strip(" \t>|│")
        return "", line

    def _begin(self, line: str, found: Counter[str]) -> str:
        parts, position = [], 0
        begins = list(_BEGIN.finditer(line))
        for number, begin in enumerate(begins, 1):
            limit = begins[number].start() if number < len(begins) else len(line)
            end = _END.search(line, begin.end(), limit)
            body = _BODY_INLINE.match(line, begin.end(), limit)
            stop = end.end() if end else body.end() if body else begin.end()
            rest = line[stop:limit].strip(" \t\\\"'|│")
            has_body = stop - begin.end() > 40
            self.is_open, self._has_body = not end and not rest, has_body
            if end or has_body or not rest:
                found[PRIVATE_KEY] += 1
                parts += [line[position : begin.start()], _placeholder(PRIVATE_KEY)]
                position = stop
        return "".join([*parts, line[position:]])


class StreamRedactor:
    """Redacts an answer while it is written, as the whole would be.

    Held back is the unfinished word, and what before it may still be part of a match: a number, a quoted
    value, the line of a private key.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._block = _Block()
        self._line = ""  # what came of the line, as far as later words can change what is found
        self._ready = 0  # how many characters of it are final
        self._shown = 0  # how many characters of it are shown, counted after redaction

    def feed(self, piece: str) -> str:
        """Return what may be shown now."""
        self._line += piece
        shown = []
        if "\n" in piece:
            lines, self._line = self._line.rsplit("\n", 1)
            shown.append(self._show(lines + "\n", self._block))
            self._shown = self._ready = 0
        ready = self._line[: self._cut()]
        if len(ready) > self._ready:
            self._ready = len(ready)
            # A line inside a private key is held whole, so what is ready changes no block.
            shown.append(self._show(ready, _Block(), more=_MORE))
            self._forget(len(ready))
        return "".join(shown)

    def finish(self) -> str:
        """Return what was held to the end."""
        rest, self._line = self._line, ""
        shown = self._show(rest, self._block)
        self._ready = self._shown = 0
        return shown

    def _show(self, text: str, block: _Block, *, more: str = "") -> str:
        redacted = self._redactor.resume(text + more, block).text.removesuffix(more)
        shown = redacted[self._shown :]
        self._shown = len(redacted)
        return shown

    def _cut(self) -> int:
        """Return how much of the line no later word can change."""
        if self._block.is_open:
            return 0
        line = self._line.split("-----BEGIN", 1)[0]  # what follows may be a key to the end of the line
        cut = len(line) + 1
        while cut > (cut := _hold(line)):
            # The word that is held from here may in turn be the end of something longer.
            line = line[:cut] + (line[cut:].split(maxsplit=1) or [""])[0]
        return cut

    def _forget(self, ready: int) -> None:
        """Drop the beginning of a line that has become too long to be looked at with every word."""
        if ready > _CONTEXT and (start := _word_start(self._line, ready - _HELD_MOST)):
            self._line = self._line[start:]
            self._ready = ready - start
            self._shown = 0
            self._show(self._line[: ready - start], _Block(), more=_MORE)


def _hold(line: str) -> int:
    """Return where the last word of the line starts, or what it may be the end of."""
    cut = _word_start(line, len(line))
    for hold in _HOLDS:
        if held := hold.search(line, max(len(line) - _HELD_MOST, 0)):
            cut = min(cut, _word_start(line, held.start("value" if "value" in hold.groupindex else 0)))
    return cut


def _word_start(line: str, end: int) -> int:
    while end and not line[end - 1].isspace():
        end -= 1
    return end
