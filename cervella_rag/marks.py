"""How an answer carries a citation: a number in square brackets, and how text avoids looking like one."""

from __future__ import annotations

import re

MARK = re.compile(r"[ \t]?\[(\d{1,3})\]")
"""A citation mark, with the blank before it, which goes when the mark goes."""

OPEN_MARK = re.compile(r"[ \t]?(?:\[\d{0,3})?$")
"""The end of a text that the next piece of a stream may turn into a mark."""


def escape_marks(text: str) -> str:
    """Return markdown that shows the same and holds no citation mark."""
    return re.sub(r"\[(\d{1,3})\]", r"\\[\1\\]", text)
