"""Passages that do not say the same: same subject, other figures, another date; both are to be told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

from cervella_rag.domain import Citation
from cervella_rag.memory.lexical import stems, words

_SUBJECT_SHARE = 0.6
"""Half is too little: two prices of other things share "costs" and "euro"."""
_FEWEST_STEMS = 3
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Told = tuple[frozenset[str], frozenset[str]]
"""Stems of a quote, and its figures."""


def find_conflicts(citations: Sequence[Citation]) -> tuple[tuple[int, int], ...]:
    """Return the numbers of citations that disagree, the older first.

    Two do where one's file is said to be superseded by the other's, or where both are dated, on different
    days, share most of their words, and each has a figure the other has not. What disagrees in words alone
    is not seen: that takes a reader.
    """
    dated = sorted((citation for citation in citations if citation.date), key=lambda one: str(one.date))
    told = [(citation, _told(citation.quote)) for citation in dated]
    return tuple(
        (older[0].number, newer[0].number)
        for older, newer in combinations(told, 2)
        if older[0].superseded_by == newer[0].path or _disagree(older, newer)
    )


def _disagree(older: tuple[Citation, Told], newer: tuple[Citation, Told]) -> bool:
    (one, (said, figures)), (two, (other, others)) = older, newer
    if one.date == two.date or one.path == two.path:
        return False
    fewest = min(len(said), len(other))
    if fewest < _FEWEST_STEMS or len(said & other) < fewest * _SUBJECT_SHARE:
        return False
    return bool(figures - others) and bool(others - figures)


def _told(quote: str) -> Told:
    """Return what a quote is about and its figures; its dates say when, and are no figures of it."""
    found = words(_DATE.sub(" ", quote))
    figures = frozenset(word for word in found if word[0].isdigit())
    return stems([word for word in found if word not in figures]), figures
