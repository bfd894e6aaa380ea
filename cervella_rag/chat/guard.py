"""What a voice must not say, taken out as it speaks: secrets, instructions, emoji, what loads itself."""

from __future__ import annotations

import base64
import codecs
import logging
import re

from cervella_rag.memory.redaction import StreamRedactor
from cervella_rag.persona.hard_rules import Cleaner

_log = logging.getLogger(__name__)

_BETWEEN = r"[\W_]{0,6}"
"""What may stand between two letters of a sign that is spelt out, or has something invisible in it."""

_URL = re.compile(r"https?://[^\s<>\"'\])}]+", re.IGNORECASE)
_HOST = re.compile(r"https?://[^/?#\s]*", re.IGNORECASE)
_LOADS = re.compile(
    r"!(?=\[)|<(?=/?(?:img|image|iframe|object|embed|video|audio|svg|script|style|link)\b)", re.I
)
"""What begins a picture, in markdown or HTML: a reader's program would fetch it, and tell its address."""
_OPEN_LOAD = re.compile(r"(?:!|<[/a-zA-Z]{0,8})\Z")


class Guard:
    """Takes out of an answer what no answer may hold.

    An address whose host nobody named keeps nothing behind its host: what a poisoned file may have had a
    model put there would be sent to whoever owns it. What is in the host's own name is not looked at.

    Args:
        redactor: Takes secrets out.
        cleaner: Takes out what no answer of hers may hold, or None.
        canary: The sign of her instructions.
        known: What was asked and found; the addresses in it may be said.

    Attributes:
        has_sung: Whether the sign was said.
        has_cut_links: Whether an address was shortened, or a picture made text.
    """

    def __init__(
        self, redactor: StreamRedactor, cleaner: Cleaner | None, canary: str = "", known: str = ""
    ) -> None:
        self._redactor = redactor
        self._cleaner = cleaner
        self._sign = _sign(canary) if canary else None
        self._open_sign = _open_sign(canary) if canary else None
        self._hosts = {found.casefold() for found in _HOST.findall(known)}
        self._held = ""
        self.has_sung = False
        self.has_cut_links = False

    def feed(self, piece: str) -> str:
        """Return what may be shown now; what may be the beginning of something to take out is held."""
        text = self._checked(self._held + self._redactor.feed(piece))
        cut = min(self._open_at(text, pattern) for pattern in (self._open_sign, _OPEN_LOAD))
        ready, self._held = text[:cut], text[cut:]
        return self._cleaner.feed(ready) if self._cleaner else ready

    def finish(self) -> str:
        """Return what was held."""
        rest = self._checked(self._held + self._redactor.finish())
        self._held = ""
        return self._cleaner.feed(rest) + self._cleaner.finish() if self._cleaner else rest

    @property
    def removed(self) -> list[str]:
        """Names of the rules that something was taken out for."""
        return sorted(self._cleaner.removed) if self._cleaner else []

    @staticmethod
    def _open_at(text: str, pattern: re.Pattern[str] | None) -> int:
        found = pattern.search(text) if pattern else None
        return found.start() if found else len(text)

    def _checked(self, text: str) -> str:
        if self._sign:
            text, count = self._sign.subn("[redacted:canary]", text)
            if count and not self.has_sung:
                self.has_sung = True
                _log.warning("a voice was reading its instructions aloud")
        plain = _LOADS.sub(lambda found: "" if found[0] == "!" else "&lt;", text)
        plain = _URL.sub(self._shortened, plain)
        self.has_cut_links = self.has_cut_links or plain != text
        return plain

    def _shortened(self, found: re.Match[str]) -> str:
        host = _HOST.match(found[0])
        return found[0] if host is None or host[0].casefold() in self._hosts else host[0]


def _sequences(canary: str) -> list[list[str]]:
    """Return what the sign is spelt with, piece by piece: plain, backwards, by 13, in hexadecimal."""
    texts = (canary, canary[::-1], codecs.encode(canary, "rot13"))
    spelt = [[letter for letter in text if letter.isalnum()] for text in texts]
    return [*spelt, [f"{byte:02x}" for byte in canary.encode()]]


def _sign(canary: str) -> re.Pattern[str]:
    """Return the sign as it may be said: spelt out in some way, or in base64."""
    spelt = (_BETWEEN.join(pieces) for pieces in _sequences(canary))
    return re.compile("|".join([*spelt, *_in_base64(canary.encode())]), re.IGNORECASE)


def _in_base64(data: bytes) -> list[str]:
    """Return what the sign is in base64 wherever in a text it stands: in three shifts, without edges."""
    shifted = (base64.b64encode(b"\0" * shift + data).decode().rstrip("=") for shift in range(3))
    return [re.escape(text[4 if shift else 0 : -2]) for shift, text in enumerate(shifted)]


def _open_sign(canary: str) -> re.Pattern[str]:
    """Return what finds the beginning of a sign that is spelt out at the end of a text."""
    beginnings = []
    for pieces in _sequences(canary):
        pattern = ""
        for piece in reversed(pieces):
            pattern = f"{piece}{_BETWEEN}(?:{pattern})?" if pattern else piece
        beginnings.append(pattern)
    return re.compile(rf"(?:{'|'.join(beginnings)})\Z", re.IGNORECASE)
