"""A chunk becomes windows: runs of its lines, each short enough to be about one thing.

A sentence encoder sums up a whole chunk and loses the line that answers. Of the windows, the best one
counts. Measured on 1,390 questions about a real memory, the best window finds the passage among the first
five as often as the whole chunk does (.22), both together more often than either.
"""

from __future__ import annotations

from cervella_rag.domain import Chunk

CHARACTERS = 160
"""Most a window holds unless one line is longer: 240, and three lines overlapping, were no better."""


def windows(chunk: Chunk) -> tuple[str, ...]:
    """Return the windows of a chunk in line order, at least one; each opens with the nearest heading.

    What a model wrote of it follows, every line a window: a question is near to a question.
    """
    heading = chunk.headings[-1] if chunk.headings else ""
    lines = chunk.index_text.split("\n")[1 + bool(heading) :]  # below the file's name and the headings
    written = chunk.enrichment.split("\n") if chunk.enrichment else ()
    return (
        *(
            text if not heading or text.startswith(heading) else f"{heading} . {text}"
            for text in map(" ".join, _runs(lines))
        ),
        *written,
    )


def _runs(lines: list[str]) -> list[list[str]]:
    runs: list[list[str]] = []
    current: list[str] = []
    for line in filter(str.strip, lines):
        if current and sum(map(len, current)) + len(line) > CHARACTERS:
            runs.append(current)
            current = []
        current.append(line)
    return [*runs, current] if current or not runs else runs
