"""A document becomes chunks: small sections packed together, long ones split, rows kept whole.

Half of the sections of an SNCP memory are shorter than 100 tokens and only one in twelve is longer
than a chunk, so the work is packing. The size is counted on the cleaned text, which is what gets
embedded; the raw lines, kept for display, are bounded apart.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from pathlib import PurePosixPath

from cervella_rag.domain import Block, Chunk, Document
from cervella_rag.memory.cleaning import clean
from cervella_rag.tokens import CHARACTERS_PER_TOKEN, estimate_tokens

RAW_TOKENS = 500
"""Most that a hit may show, in estimated tokens; it bounds every chunk, whatever the preset."""

_NAMESPACE = uuid.UUID("6f1d7f0c-9f5b-5f0e-8a51-0d6f3c1b7a2e")

SentenceSplitter = Callable[[str, int], list[str]]
"""Cuts a text into pieces of at most so many tokens, at sentence ends where it can."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """The least that is never cut: a line of a list, table or fence, a paragraph, a long line's piece.

    Attributes:
        start: Offset of its first character in the source's text.
        end: Offset after its last character.
        words: Its cleaned text; "" where it is all decoration.
        tokens_before: Estimated tokens of the source's text above it.
        tokens_after: The same with the unit, so that a run of units is a difference.
        headings: Path of the section it stands in.
        table_header: Cleaned header row of the table it is a later row of.
    """

    start: int
    end: int
    start_line: int
    end_line: int
    words: str
    tokens_before: int
    tokens_after: int
    headings: tuple[str, ...]
    table_header: str = ""


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts documents; holds only configuration.

    Attributes:
        size_tokens: Largest chunk, in estimated tokens of cleaned text.
        overlap_tokens: How much of the piece before is repeated where one section is split.
        split_sentences: How a line that is too long is cut.
    """

    size_tokens: int
    overlap_tokens: int
    split_sentences: SentenceSplitter = field(repr=False)

    def chunk(self, document: Document) -> tuple[Chunk, ...]:
        """Return the chunks of `document` in line order; together they hold every line with words.

        There is at least one, so that every document can be found by its name.
        """
        seen: Counter[str] = Counter()
        packed = list(self._pack(self._sections(document)))
        worded = [units for units in packed if any(unit.words for unit in units)]
        return tuple(_chunk(document, units, seen) for units in worded or packed[:1])

    def _pack(self, sections: Iterable[list[_Unit]]) -> Iterator[list[_Unit]]:
        """Join whole sections while they fit; split one that does not fit alone."""
        current: list[_Unit] = []
        for section in sections:
            if current and not self._fits([*current, *section]):
                yield current
                current = []
            *full, current = self._split([*current, *section])
            yield from full
        if current:
            yield current

    def _split(self, units: list[_Unit]) -> Iterator[list[_Unit]]:
        """Cut units into pieces that fit, each starting with the end of the one before."""
        current: list[_Unit] = []
        for unit in units:
            if current and not self._fits([*current, unit]):
                yield current
                tail = self._overlap(current)
                current = tail if self._fits([*tail, unit]) else []
            current = [*current, unit]
        yield current

    def _overlap(self, units: list[_Unit]) -> list[_Unit]:
        """The last units that together stay within the overlap, never all of them."""
        tail: list[_Unit] = []
        for unit in reversed(units[1:]):
            if _word_tokens([unit, *tail]) > self.overlap_tokens:
                break
            tail = [unit, *tail]
        return tail

    def _fits(self, units: Sequence[_Unit]) -> bool:
        return _raw_tokens(units) <= RAW_TOKENS and _word_tokens(units) <= self.size_tokens

    def _sections(self, document: Document) -> Iterator[list[_Unit]]:
        """Group units by heading; a section starts with its own heading line."""
        text = _Text(document.source.text)
        section: list[_Unit] = []
        path: list[tuple[int, str]] = []
        for block in document.blocks:
            if block.level:
                if section:
                    yield section
                section = []
                above = takewhile(lambda step: step[0] < block.level, path)  # noqa: B023 - used at once
                path = [*above, (block.level, block.title)]
            section.extend(self._units(block, text, tuple(title for _, title in path if title)))
        if section:
            yield section

    def _units(self, block: Block, text: _Text, headings: tuple[str, ...]) -> Iterator[_Unit]:
        if block.kind == "rule":
            return
        whole = text.unit(block.start_line, block.end_line, headings)
        if block.kind in ("paragraph", "list_item", "heading") and self._fits([whole]):
            yield whole
            return
        header = text.unit(block.start_line, block.start_line, headings).words
        for number in range(block.start_line, block.end_line + 1):
            is_row = block.kind == "table" and number > block.start_line + 1
            line = text.unit(number, number, headings, header if is_row else "")
            if line.start < line.end:
                yield from (
                    [line] if _raw_tokens([line]) <= RAW_TOKENS else self._cut(line, block.kind, text.text)
                )

    def _cut(self, line: _Unit, kind: str, text: str) -> Iterator[_Unit]:
        """Cut a line that is too long by itself: a table row between cells, others at sentences."""
        size = min(self.size_tokens, RAW_TOKENS)
        pieces = (
            _cells(text[line.start : line.end], size) if kind == "table" else [text[line.start : line.end]]
        )
        position, tokens = line.start, line.tokens_before
        for piece in pieces:
            for part in [piece] if estimate_tokens(piece) <= size else self.split_sentences(piece, size):
                start = text.index(part, position)
                position = start + len(part)
                words = clean(part)
                after = tokens + estimate_tokens(part) + 1
                yield replace(
                    line,
                    start=start,
                    end=position,
                    words=words,
                    tokens_before=tokens,
                    tokens_after=after,
                )
                tokens = after


class _Text:
    """A text and where its lines begin."""

    def __init__(self, text: str) -> None:
        self.text = text
        lines = text.split("\n")
        self._starts = [0, *accumulate(len(line) + 1 for line in lines)]
        self._tokens = [0, *accumulate(estimate_tokens(line) + 1 for line in lines)]

    def unit(
        self, start_line: int, end_line: int, headings: tuple[str, ...], table_header: str = ""
    ) -> _Unit:
        start, end = self._starts[start_line - 1], self._starts[end_line] - 1
        words = clean(self.text[start:end])
        return _Unit(
            start=start,
            end=end,
            start_line=start_line,
            end_line=end_line,
            words=words,
            tokens_before=self._tokens[start_line - 1],
            tokens_after=self._tokens[end_line] - 1,
            headings=headings,
            table_header=table_header,
        )


def _raw_tokens(units: Sequence[_Unit]) -> int:
    return units[-1].tokens_after - units[0].tokens_before


def _word_tokens(units: Iterable[_Unit]) -> int:
    return -(-sum(len(unit.words) + 1 for unit in units) // CHARACTERS_PER_TOKEN)


def _cells(row: str, size_tokens: int) -> list[str]:
    """Group a row's cells into pieces of at most `size_tokens` where the cells allow it."""
    pieces: list[str] = []
    for cell in re.findall(r"[^|]*\||[^|]+", row):
        if pieces and estimate_tokens(pieces[-1] + cell) <= size_tokens:
            pieces[-1] += cell
        else:
            pieces.append(cell)
    return pieces


def _chunk(document: Document, units: list[_Unit], seen: Counter[str]) -> Chunk:
    source = document.source
    headings = _common([unit.headings for unit in units])
    index_text = _index_text(source.path, units, headings)
    seen[index_text] += 1
    # The content's hash is part of it: a retired version and its successor may share a passage.
    key = f"{source.root}\0{source.sha256}\0{index_text}\0{seen[index_text]}"
    return Chunk(
        chunk_id=str(uuid.uuid5(_NAMESPACE, key)),
        root=source.root,
        path=source.path,
        paths=document.paths,
        sha256=source.sha256,
        headings=headings,
        start_line=units[0].start_line,
        end_line=units[-1].end_line,
        text=source.text[units[0].start : units[-1].end],
        index_text=index_text,
        metadata=document.metadata,
    )


def _common(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The headings that all units share; of sections packed side by side, their parent's."""
    steps = zip(*paths, strict=False)
    return tuple(step[0] for step in takewhile(lambda step: len(set(step)) == 1, steps))


def _index_text(path: str, units: list[_Unit], headings: tuple[str, ...]) -> str:
    """File name, headings, the header of a table that starts above, then the words."""
    name = PurePosixPath(path).stem.replace("_", " ").replace("-", " ")
    above = " > ".join(clean(title) for title in headings)
    return "\n".join(filter(None, [name, above, units[0].table_header, *(unit.words for unit in units)]))
