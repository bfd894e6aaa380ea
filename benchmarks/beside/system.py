"""What every system that is compared can do: index a folder, and find passages in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HIT_TOKENS = 500
"""Most that a hit shows, and that is scored of it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What was found: the file, relative to the folder, and the text that is shown of it."""

    path: str
    text: str


class System(Protocol):
    """One way to find passages."""

    def index(self, folder: Path) -> int:
        """Make the folder searchable; return how many pieces it was cut into."""
        ...

    def search(self, question: str) -> list[Passage]:
        """Return ten passages at most, best first."""
        ...
