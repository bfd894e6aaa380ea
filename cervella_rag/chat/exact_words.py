"""An exact fact in words: a fixed frame in the asker's language, with its sources as citations.

Code speaks it, whichever voice is configured: a model that words a number can get it wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cervella_rag.domain import Citation, Exact, ExactSource
from cervella_rag.templates import Templates


@dataclass(frozen=True, slots=True)
class Stated:
    """What is said, with the citations its marks stand for."""

    text: str
    citations: tuple[Citation, ...]


def state(exact: Exact, templates: Templates, language: str) -> Stated:
    """Put a fact into words; its sources are numbered from 1.

    Args:
        exact: The fact.
        templates: Hold one for each language, `answers/exact.LANGUAGE.md.j2`.
        language: "it", "en" or "pt".
    """
    numbers = {source: number for number, source in enumerate(dict.fromkeys(exact.sources), 1)}
    parts = [_part(part, numbers) for part in exact.parts or (exact,)]
    text = templates.render(
        f"answers/exact.{language}.md.j2",
        parts=parts,
        several=bool(exact.parts),
        total=exact.details.get("total") if exact.parts else None,
    )
    citations = (_citation(number, source) for source, number in numbers.items())
    return Stated(text, tuple(citation for citation in citations if f"[{citation.number}]" in text))


def _part(exact: Exact, numbers: Mapping[ExactSource, int]) -> dict[str, object]:
    marks = [f" [{numbers[source]}]" for source in exact.sources]
    return {
        "operation": exact.operation,
        "value": exact.value,
        "about": exact.details,
        "marks": marks,
        "mark": marks[0] if marks else "",
    }


def _citation(number: int, source: ExactSource) -> Citation:
    first = source.start_line or 1
    return Citation(
        number=number,
        path=source.path,
        title=source.title,
        headings=(),
        start_line=first,
        end_line=source.end_line or first,
        date=source.date,
        session=source.session,
        status=source.status,
        retired=None,
        quote=source.text,
    )
