"""How many tokens a text has by Qwen's own vocabulary, where a package that ships it is installed.

`dashscope` carries `qwen.tiktoken` as a data file; it is read as a file and the package never imported,
so that none of what it would install is needed (`pip install --no-deps dashscope`). The vocabulary of
Qwen 1 to 3 is the same for ordinary text. Without it `cervella_rag.tokens` estimates.
"""

from __future__ import annotations

import base64
import importlib.util
from functools import cache
from pathlib import Path

import tiktoken

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""Reference: PAT_STR of tokenization_qwen.py in the model's own repository."""


@cache
def _encoding() -> tiktoken.Encoding | None:
    package = importlib.util.find_spec("dashscope")  # finds, does not import
    folders = (package and package.submodule_search_locations) or []
    files = (Path(folder, "resources/qwen.tiktoken") for folder in folders)
    file = next((path for path in files if path.is_file()), None)
    if file is None:
        return None
    lines = (line.split() for line in file.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    return tiktoken.Encoding("qwen", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})


def has_vocabulary() -> bool:
    """Tell whether counts are true or cannot be made."""
    return _encoding() is not None


def count_tokens(text: str) -> int | None:
    """Return the tokens of `text` for Qwen, or None where its vocabulary is not installed."""
    encoding = _encoding()
    return None if encoding is None else len(encoding.encode_ordinary(text))
