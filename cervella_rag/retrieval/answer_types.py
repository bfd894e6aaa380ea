"""What sort of thing would answer: money, a time, a share, a date, a number, a reason.

A passage that has such a thing where it speaks of what is asked is likelier the answer. Patterns are
bounded and read folded text (lower case, no accents), in Italian, English and Portuguese.
"""

from __future__ import annotations

import re

_ASKS_AND_GIVES: dict[str, tuple[str, str]] = {
    "money": (
        r"cost[aoi]?\b|costa|spend|spes[ae]\b|prezz|pag[ah]|dollar|euro|ricav|guadagn|price|spent|paid|gast",
        r"[$€£]\s?\d|\d\s?(?:[$€£]|eur|usd)",
    ),
    "time": (
        (
            r"quanto (?:tempo|dura|ci )|(?:dopo|in|per|entro|ogni) quanto|how (?:long|often)|durat"
            r"|quant[ie] (?:giorn|mes|ann|min|sec|or|set)"
        ),
        r"\d+\s?[-–]?\s?\d*\s?(?:ms|sec|min|or[ae]\b|h\b|giorn|settim|mes[ei]|ann[oi]|hour|day|week|month|year)",
    ),
    "share": (
        r"percent|di quanto|quota|che parte|share|tasso|quanto (?:cala|cresce|scende|sale|aument|risparmi)",
        r"\d\s?%|%\s?\d",
    ),
    "date": (
        r"quando\b|che giorno|in che data|when\b|que dia|\bdata\b|a che ora|what day",
        r"\b20\d\d\b|\d{1,2}\s(?:genn|febb|mar|apr|mag|giu|lug|ago|sett|ott|nov|dic)|\d{1,2}:\d\d|\d(?:am|pm)\b",
    ),
    "number": (
        r"quant[aoie]\b|how (?:many|much)|quantos?|quantas?|che (?:voto|punteggio|media)|score|numero",
        r"\d",
    ),
    "reason": (
        r"\b(?:perche|come mai|why|por que|motiv\w*|ragion[ei])\b",
        r"perche|motiv|ragion|because|why|reason|rationale|vantagg|svantagg|scartat|\bpro\b|contro",
    ),
}
_RULES = {name: (re.compile(asks), re.compile(gives)) for name, (asks, gives) in _ASKS_AND_GIVES.items()}

TYPES = tuple(_RULES)


def asked_type(folded: str) -> str | None:
    """Return the first type that a folded question asks for, or None."""
    return next((name for name, (asks, _) in _RULES.items() if asks.search(folded)), None)


def asks_reason(folded: str) -> bool:
    """Tell whether a folded question asks why."""
    return bool(_RULES["reason"][0].search(folded))


def gives(name: str, folded: str) -> bool:
    """Tell whether a folded text has something of the named type."""
    return bool(_RULES[name][1].search(folded))
