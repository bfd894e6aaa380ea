"""Over-long lines become pieces that end with a sentence, by LlamaIndex's splitter.

Its own sentence finder is an untrained Punkt that cuts after "dott." and "ing."; the abbreviations
below keep those together.
"""

from __future__ import annotations

import re

from llama_index.core.node_parser import SentenceSplitter

from cervella_rag.tokens import estimate_tokens

_ABBREVIATIONS = frozenset(
    """
    art artt avv ca cap cfr co corp dott dr ecc ed es etc fig gen ing inc ltd max min mr mrs ms n no nr
    num p pag pagg prof s sess sez sig sigg tel vol vs
    """.split()
)
_LONGEST_ABBREVIATION = 10
_ENDLESS_CHARACTERS = 7_000
"""A run without a blank that no sentence has, of base64 or the like."""
_END = re.compile(r"(?<=[.!?…;])[\"'»)\]*_]*\s+(?=[^\s.,;:])")


def split_at_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, white space kept, so that joining them gives `text` again."""
    pieces: list[str] = []
    start = 0
    for match in _END.finditer(text):
        before = text[max(start, match.start() - _LONGEST_ABBREVIATION) : match.start()]
        last_word = re.split(r"[\s('\"*]", before)[-1].rstrip(".").lower()
        if text[match.start() - 1] == "." and last_word in _ABBREVIATIONS:
            continue
        pieces.append(text[start : match.end()])
        start = match.end()
    return [*pieces, text[start:]] if start < len(text) else pieces


def split_long_text(text: str, size_tokens: int) -> list[str]:
    """Return consecutive pieces of `text`, each at most `size_tokens` estimated tokens long.

    Every piece is found in `text` as it stands; what lies between two pieces is white space.
    """
    splitter = SentenceSplitter(
        chunk_size=size_tokens,
        chunk_overlap=0,
        tokenizer=_countable,
        chunking_tokenizer_fn=split_at_sentences,
    )
    return [
        piece
        for part in _bounded(text, size_tokens)
        for piece in splitter.split_text(part)
        if piece.strip()
    ]


def _bounded(text: str, size_tokens: int) -> list[str]:
    """Cut a text with an endless word anywhere: the splitter takes 15 seconds for a megabyte of one.

    A character is never more than a token, so every piece is within the size.
    """
    if not re.search(rf"\S{{{_ENDLESS_CHARACTERS}}}", text):
        return [text]
    return [text[start : start + size_tokens] for start in range(0, len(text), size_tokens)]


def _countable(text: str) -> range:
    # The splitter only takes the length of what its tokenizer returns.
    return range(estimate_tokens(text))
