"""What follows an answer that did not find it, or that no passage bears out: honest words, and the closest.

The words were shown as they came and cannot be taken back, so this comes after them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cervella_rag.domain import Citation
from cervella_rag.marks import escape_marks
from cervella_rag.memory.cleaning import clean
from cervella_rag.templates import Templates

ADMITTED, UNFOUNDED, DOUBTFUL = "admitted", "unfounded", "doubtful"

_LONGEST_QUOTE = 160


def words_after(
    refusal: str, citations: Sequence[Citation], templates: Templates, language: str, partner: str
) -> str:
    """Return what is said after such an answer.

    Args:
        refusal: `ADMITTED` where she said herself that it is not there, `UNFOUNDED` where nothing she
            said is in a passage, `DOUBTFUL` where she claims something and the search had found no answer.
        citations: The closest there is, best first.
        templates: Hold `answers/not_found.LANGUAGE.md.j2`.
        language: "it", "en" or "pt".
        partner: Who is spoken to.
    """
    return templates.render(
        f"answers/not_found.{language}.md.j2",
        refusal=refusal,
        partner=partner,
        citations=[(citation, _in_short(citation.quote)) for citation in citations],
    )


def _in_short(quote: str) -> str:
    line = " ".join(clean(quote).split())
    if len(line) > _LONGEST_QUOTE:
        line = f"{line[:_LONGEST_QUOTE].rpartition(' ')[0] or line[:_LONGEST_QUOTE]} ..."
    return escape_marks(line)
