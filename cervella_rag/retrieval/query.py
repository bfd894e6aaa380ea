"""What is asked: the text to search with, the sort of question, and the session or days it names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cervella_rag.domain import Message, Understood
from cervella_rag.memory.exact.period import span_in
from cervella_rag.memory.lexical import fold, words
from cervella_rag.retrieval.answer_types import asked_type
from cervella_rag.retrieval.dictionary import dictionary

_OPENS_WITH_CONJUNCTION = re.compile(r"(?i)^\W*(?:e|ed|ma|o|allora|invece|and|but|so|mas|ou)\b")
_FEWEST_WORDS = 2
_ANSWER_CHARACTERS = 300
_SESSION = re.compile(
    r"(?i)\b(?:sessione|session|sessao|sess\.)\s*(?:n[.°]?\s*)?(\d{1,4}[a-z]?)\b|\bS(\d{2,4}[a-z]?)\b"
)
_SORTS = (
    (
        "state",
        (
            r"a che punto|come siamo mess|com'?e mess|\bstato (?:attuale|d[ei])|situazione|come procede"
            r"|where do we stand|status of|em que pe\b"
        ),
    ),
    ("why", r"\b(?:perche|come mai|why|por que|motivo|ragion[ei])\b"),
    ("decision", r"\bdecis|\bdecid|\bscelt|\bsceglie|\bchose|\bchoose|\bdecided|\bescolh"),
    ("lesson", r"\blezion|\bimparat|\blesson|\blearn|\bapren"),
    ("research", r"\bricerch|\bricerca\b|\bstudio\b|\bstudi\b|\bresearch|\bpesquis"),
)
_SORT_RULES = tuple((name, re.compile(pattern)) for name, pattern in _SORTS)


def understand(question: str, history: Sequence[Message], today: str, longest: int) -> Understood:
    """Return what a question asks, by rules alone.

    Args:
        question: As it was typed.
        history: What was said before, oldest first.
        today: ISO date that "ieri" counts from, the newest of the memory; "" where there is none.
        longest: Most characters to search with; the last ones count.
    """
    searched = search_text(question, history)[-longest:]
    folded = fold(question)
    session = _SESSION.search(question)
    since, until = (today and span_in(folded, today)) or (None, None)
    return Understood(
        searched=searched,
        words=tuple(words(searched)),
        also=tuple(dictionary().translations(searched).items()),
        asks=next((name for name, rule in _SORT_RULES if rule.search(folded)), "fact"),
        answer=asked_type(folded),
        session=(session[1] or session[2]).lower() if session else None,
        since=since,
        until=until,
    )


def search_text(question: str, history: Sequence[Message]) -> str:
    """Return the text to search with.

    A question that leans on the one before ("E quanto costava?") is searched together with it and with
    how its answer began; one that stands alone is left as it is. Of 84 such questions the passage is among
    the first five for 71; without the answer for 58, by themselves for 22.
    """
    asked = [place for place, said in enumerate(history) if said.role == "user"]
    if not asked or not _is_elliptic(question):
        return question
    before = [history[asked[-1]].content, *(said.content for said in history[asked[-1] + 1 :])]
    return "\n".join([before[0], *(text[:_ANSWER_CHARACTERS] for text in before[1:]), question])


def _is_elliptic(question: str) -> bool:
    return bool(_OPENS_WITH_CONJUNCTION.match(question)) or len(words(question)) < _FEWEST_WORDS
