"""What a model wrote of chunks, kept beside the index: one line of JSON a chunk, appended as it comes.

It is searched and never shown: a chunk's text stays the lines of its file. Kept by what a chunk says and
not by where it stands, so that a file that moves, or is cut a second time alike, keeps it. A program that
is killed leaves at most half a line, which is not read. Without the file nothing is enriched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cervella_rag.domain import Chunk
from cervella_rag.errors import StoreError

MOST_QUESTIONS = 3
LONGEST_LINE = 240
"""Characters of a line that is searched; what a model writes beyond is not kept."""


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What a model wrote of one chunk.

    Attributes:
        context: One line that says what it is about and where it belongs; "" where there is none.
        questions: What it answers, at most three.
        model: Who wrote it.
        prompt: Identity of the words it was asked with.
    """

    context: str
    questions: tuple[str, ...]
    model: str
    prompt: str

    @property
    def text(self) -> str:
        """The lines that are searched."""
        return "\n".join(filter(None, (self.context, *self.questions)))


def content_of(chunk: Chunk) -> str:
    """Return the identity of what a chunk says: its lines, headings and title, whatever its path."""
    parts = (chunk.metadata.title, chunk.metadata.language, *chunk.headings, chunk.text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Enrichments:
    """The file of what was written.

    Args:
        path: A file that need not be there; made when something is first kept, for its owner's eyes alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Enrichment]:
        """Return the last that was written of each content; lines that are no enrichment are passed over.

        Raises:
            StoreError: The file is there and cannot be read.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(reason=error) from error
        return dict(filter(None, map(_read, lines)))

    def keep(self, content: str, enrichment: Enrichment) -> None:
        """Add what was written; it is on the disk when this returns.

        Raises:
            StoreError: It cannot be written.
        """
        self.add(json.dumps({"content": content, **asdict(enrichment)}, ensure_ascii=False).encode())

    def add(self, rows: bytes) -> None:
        """Add lines as they were kept elsewhere; they are on the disk when this returns.

        Raises:
            StoreError: They cannot be written.
        """
        # A line break before them as well: what a killed program began stays a line of its own.
        self._write(self.path, b"\n" + rows + b"\n", os.O_APPEND)

    def forget(self, contents: Collection[str]) -> None:
        """Remove for good what was written of these contents.

        Raises:
            StoreError: The file cannot be read or written; it stays as it was.
        """
        kept = self.read()
        if kept.keys().isdisjoint(contents):
            return
        rows = [
            json.dumps({"content": content, **asdict(enrichment)}, ensure_ascii=False)
            for content, enrichment in kept.items()
            if content not in contents
        ]
        beside = self.path.with_suffix(f".{os.getpid()}")
        self._write(beside, "\n".join(rows).encode() + b"\n", os.O_TRUNC)
        beside.replace(self.path)

    def _write(self, path: Path, data: bytes, how: int) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise StoreError(reason=error) from error


def _read(line: bytes) -> tuple[str, Enrichment] | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line)
        content, context, questions = row["content"], row["context"], row["questions"]
        texts = (content, context, *questions, row["model"], row["prompt"])
    except (ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(text, str) and len(text) <= LONGEST_LINE for text in texts):
        return None
    return content, Enrichment(context, tuple(questions)[:MOST_QUESTIONS], row["model"], row["prompt"])


def text_of(chunk: Chunk, kept: Mapping[str, Enrichment]) -> str:
    """Return what is searched of a chunk besides what it says; "" where nothing was written."""
    found = kept.get(content_of(chunk))
    return found.text if found else ""
