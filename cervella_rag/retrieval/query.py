"""What is asked: the text to search with, the sort of question, and the session or days it names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cervella_rag.domain import Message, Understood
from cervella_rag.memory.exact.period import span_in
from cervella_rag.memory.lexical import NUMBERS, fold, words
from cervella_rag.retrieval.answer_types import asked_type
from cervella_rag.retrieval.dictionary import dictionary

_OPENS_WITH_CONJUNCTION = re.compile(r"(?i)^\W*(?:e|ed|ma|o|allora|invece|and|but|so|mas|ou)\b")
_FEWEST_WORDS = 2
_ANSWER_CHARACTERS = 300
_SESSION = re.compile(
    r"(?i)\b(?:sessione|session|sessao|sess\.)\s*(?:n[.°]?\s*)?(\d{1,4}[a-z]?)\b|\bS(\d{2,4}[a-z]?)\b"
)
_NIGHT = r"(?:di|della|da|de|at) (?:notte|noite|madrugada|night)"
_EARLY = r"(?:di|del|della|da|de|in the) (?:mattin[ao]|manha|morning)|a\.?m\b"
_LATE = r"(?:di|del|della|da|de|in the) (?:pomeriggio|sera|tarde|afternoon|evening)|p\.?m\b"
_HOUR = re.compile(
    r"\b(?:all[ae] |all'|at |as )(?:ore )?(?P<hour>\d{1,2}|[a-z]+)(?P<minutes>[:.][0-5]\d)? ?"
    rf"(?:h\b ?)?(?:(?P<night>{_NIGHT})|(?P<early>{_EARLY})|(?P<late>{_LATE}))?"
)
_MORE = {"una": 1, "uma": 1, "one": 1, "sei": 6, "seis": 6}
"""Beside `NUMBERS`: what is a number where an hour stands."""
_HOURS, _NOON, _EVENING = 24, 12, 6
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
    is_one_day = since is not None and since == until
    return Understood(
        searched=searched,
        words=tuple(words(searched)),
        also=tuple(dictionary().translations(searched).items()),
        asks=next((name for name, rule in _SORT_RULES if rule.search(folded)), "fact"),
        answer=asked_type(folded),
        session=(session[1] or session[2]).lower() if session else None,
        since=since,
        until=until,
        hour=_hour_in(folded) if is_one_day else None,
    )


def _hour_in(question: str) -> int | None:
    """Return the hour that a folded question names: with its minutes, or with the part of the day."""
    for match in _HOUR.finditer(question):
        said, is_night, is_late = match["hour"], match["night"], match["late"]
        hour = int(NUMBERS.get(said) or _MORE.get(said) or (said if said.isdigit() else _HOURS))
        if hour >= _HOURS or not (match["minutes"] or is_night or match["early"] or is_late):
            continue
        if hour < _NOON and (is_late or (is_night and hour >= _EVENING)):
            return hour + _NOON
        return 0 if is_night and hour == _NOON else hour
    return None


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
