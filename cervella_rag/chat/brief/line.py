"""One line of a brief, with the place it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from cervella_rag.chat.brief.records import Item, Record


@dataclass(frozen=True, slots=True)
class BriefLine:
    """What a brief says, and where that stands.

    Attributes:
        text: One line.
        more: What may be added to it where there is room.
        path: File, relative to its root.
        start_line: First line of it that says so, 1-based.
        end_line: Last line, inclusive.
    """

    text: str
    root: str
    path: str
    start_line: int
    end_line: int
    more: str = ""

    @property
    def source(self) -> str:
        """Path and lines, as a reader opens them; a name's control characters shown as "?"."""
        path = "".join(character if character.isprintable() else "?" for character in self.path)
        lines = (
            f"{self.start_line}"
            if self.start_line == self.end_line
            else f"{self.start_line}-{self.end_line}"
        )
        return f"{path}:{lines}"


def of_item(record: Record, item: Item, text: str | None = None) -> BriefLine:
    """Return the line that says an item."""
    return BriefLine(text or item.text, record.root, record.path, item.start_line, item.end_line)


def of_lines(record: Record, text: str, first: int, last: int | None = None, more: str = "") -> BriefLine:
    """Return a line about some lines of a record."""
    return BriefLine(text, record.root, record.path, first, last or first, more)
