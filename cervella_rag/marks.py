"""What has a meaning of its own in an answer or a prompt, and how text avoids looking like it.

A citation is a number in square brackets; a model's template and our own frame have marks of theirs.
"""

from __future__ import annotations

import re

MARK = re.compile(r"[ \t]?\[(\d{1,3})\]")
"""A citation mark, with the blank before it, which goes when the mark goes."""

OPEN_MARK = re.compile(r"[ \t]?(?:\[\d{0,3})?$")
"""The end of a text that the next piece of a stream may turn into a mark."""


_TEMPLATE_MARKS = (
    "<|",
    "<\uff5c",
    "<think>",
    "</think>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<s>",
    "</s>",
    "[TOOL_",
    "[AVAILABLE_TOOLS]",
    "<tool_",
    "</tool_",
    "<start_of_turn>",
    "<end_of_turn>",
)
"""What ends a message, or begins one, for Qwen and Llama, DeepSeek, Mistral, Gemma."""
_FRAME = re.compile(r"<{3,}|>{3,}")
"""What begins and ends a passage in our own frame; of any length, or one sign more would hide it."""


def escape_marks(text: str) -> str:
    """Return markdown that shows the same and holds no citation mark, and no picture to be fetched."""
    return re.sub(r"\[(\d{1,3})\]", r"\\[\1\\]", text).replace("![", r"!\[")


def on_one_line(text: str) -> str:
    """Return a name as it may stand in a sentence: a file's may hold line ends, and so forge lines."""
    return escape_marks(" ".join(text.split()))


def disarm(text: str) -> str:
    """Return `text` without what ends a message for a chat template, or a passage in our own."""
    for mark in _TEMPLATE_MARKS:
        text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return _FRAME.sub(lambda signs: " ".join(signs[0]), text)
