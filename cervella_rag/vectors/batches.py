"""Work in portions of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` items, none of them empty."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
