"""The figures of a cost question: what an API charges, how much is asked of it, what a machine costs.

Prices, volumes and names are whatever the question gives, in any order, in Italian, English or Portuguese;
what a figure is for is told by the clause it stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from cervella_rag.memory.lexical import fold

LONGEST_QUESTION = 2000
MOST_OPTIONS = 10

_NUMBER = r"(?>\d{1,12}(?:[.,]\d{1,9}){0,4})"  # atomic: 3.75/M is no 3.7 for something else
_CURRENCY = r"[$€£]|\busd\b|\beur(?:o)?\b|\bdollar[io]s?\b"
_AMOUNT = rf"(?:(?P<before>{_CURRENCY}) ?(?P<left>{_NUMBER})|(?P<right>{_NUMBER}) ?(?P<after>{_CURRENCY}))"
_PER_MILLION = (
    r" ?(?:(?:/|per|al|a|por|por cada) ?(?:1 ?)?(?:m\b|mtok\b|mln\b|million[ei]?\b|milione\b|milhao\b)"
    r"(?: ?(?:di |de |of )?tokens?\b)?)"
)
_UNIT_PRICE = re.compile(_AMOUNT + _PER_MILLION)
_PLAIN_PRICE = re.compile(_AMOUNT + rf"(?!{_PER_MILLION})")
_CLAUSE_END = re.compile(r"[,;](?= |$)|\.(?= |$)|\n|\(|\)| (?:e|ed|and) (?=[^,;]{0,40}[$€£])")
_ROLES = (
    ("cache_write", re.compile(r"\b(?:scrittur[ae]|scritt[oi]|writes?|escrita|cache creation)\b")),
    (
        "cache_read",
        re.compile(r"\b(?:lettur[ae]|lett[oi]|reads?|leitura|cache hits?|cached input|dalla cache)\b"),
    ),
    ("output", re.compile(r"\b(?:uscita|output|outputs|saida|completion|generat[io])\b")),
    ("input", re.compile(r"\b(?:ingresso|input|inputs|entrata|entrada|prompt)\b")),
)
_HIT_RATE = re.compile(
    rf"(?P<a>{_NUMBER}) ?% ?(?:di |de |of |dei |dos )?(?:successi?|successo|hit|hits|cache hits?|cache|"
    rf"acertos?|dalla cache|riuscite?|lettur[ae])"
    rf"|(?:hit rate|cache hits?|successi|tasso di successo|acertos?)(?: of| di| de| del|:|"
    rf" =)? ?(?P<b>{_NUMBER}) ?%"
)
_TOKENS = (
    (
        "input",
        re.compile(
            rf"(?<![$€£\d.,])(?P<n>{_NUMBER}) ?(?P<k>k\b)? ?(?:tokens? )?(?:di |in |de |of |"
            rf"em )?(?:ingresso|input|entrata|entrada|prompt)\b"
        ),
    ),
    (
        "output",
        re.compile(
            rf"(?<![$€£\d.,])(?P<n>{_NUMBER}) ?(?P<k>k\b)? ?(?:tokens? )?(?:di |in |de |of |"
            rf"em )?(?:uscita|output|saida|completion)\b"
        ),
    ),
)
_REQUESTS = r"(?:richieste|richiesta|requests?|pedidos?|chiamate|calls?|req)\b"
_VOLUME = rf"{_NUMBER} ?(?:k\b|m\b|mila\b|thousand\b|mil\b)?"
_VOLUMES = re.compile(
    rf"(?<![$€£\d.,])(?P<list>{_VOLUME}(?:(?: ?, ?(?:e |and )?| e | and | o | or ){_VOLUME})*) {_REQUESTS}"
)
_ONE_VOLUME = re.compile(rf"({_NUMBER}) ?(k\b|m\b|mila\b|thousand\b|mil\b)?")
_KEEPING = re.compile(
    r"\b(?:manutenzione|maintenance|manutencao|gestione|assistenza|ops|supporto|support)\b"
)
_ONCE = re.compile(
    r"\b(?:una tantum|one[- ]off|once|one[- ]time|setup|iniziali?|unic[ao]s?|configurazione)\b"
)
_SPREAD = re.compile(
    r"(?:su|in|over|across|em|durante|spalmat[ioae] su|ammortizzat[ioae] (?:in|su)) (?P<n>\d{1,3}) "
    r"(?:(?P<m>mesi|mese|months?|meses)|(?P<y>anni|anno|years?|anos?))\b"
)
_WANTED = re.compile(
    r"\b(?:pareggio|break[- ]?even|cost[oi]|quanto cost\w+|costs?|convien\w+|cheaper|custos?|custa|"
    r"ponto de equilibrio)\b"
)
_NAME = re.compile(
    r"(?:^|[:,;(]|\be\b|\band\b|\bo\b|\bor\b|\bvs\b) *(?P<name>[^\W\d_][\w.+-]*(?: [\w.+-]+){0,3}?)(?: a|"
    r" at| per| costa| costs| for| da| por|:|=)? *$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Hosting:
    """A machine that could be rented, by the month."""

    name: str
    monthly: Decimal


@dataclass(frozen=True, slots=True)
class CostQuestion:
    """The figures a question gives; prices are for a million tokens.

    Attributes:
        cache_write, cache_read: Prices of a cache; None without one.
        hit_rate: Share of the tokens in that the cache holds.
        volumes: Requests a month.
        keeping: Monthly cost beside every rent.
        once: What is paid once, and over how many months it is spread.
        decimal_comma: Whether the question writes 3,75.
    """

    currency: str
    input_price: Decimal
    output_price: Decimal
    input_tokens: Decimal
    output_tokens: Decimal
    cache_write: Decimal | None
    cache_read: Decimal | None
    hit_rate: Decimal
    volumes: tuple[int, ...]
    hostings: tuple[Hosting, ...]
    keeping: Decimal
    once: Decimal
    months: int
    decimal_comma: bool


def read_cost(question: str) -> CostQuestion | None:
    """Return the figures, or None where the question does not give all that a cost needs."""
    if len(question) > LONGEST_QUESTION:
        return None
    text = " ".join(_fold_keeping_length(question).split())
    original = " ".join(question.split())
    if len(text) != len(original) or not _WANTED.search(text):
        return None
    comma = bool(re.search(r"\d,\d{1,2}(?!\d)", text)) and not re.search(r"\d\.\d{1,2}(?!\d)", text)
    try:
        return _read(text, original, comma)
    except InvalidOperation:
        return None


def _read(text: str, original: str, comma: bool) -> CostQuestion | None:
    prices: dict[str, Decimal] = {}
    for price in _UNIT_PRICE.finditer(text):
        role = _role(*_around(text, price), has_cache="cache" in text)
        if role:
            prices.setdefault(role, _amount(price, comma))
    tokens = {
        role: _decimal(found["n"], comma) * (1000 if found["k"] else 1)
        for role, rule in _TOKENS
        if (found := rule.search(text))
    }
    volumes = tuple(
        dict.fromkeys(
            _volume(number, unit, comma)
            for found in _VOLUMES.finditer(text)
            for number, unit in _ONE_VOLUME.findall(found["list"])
        )
    )[:MOST_OPTIONS]
    hostings, keeping, once, months = _fixed(text, original, comma)
    if not {"input", "output"} <= prices.keys() or not {"input", "output"} <= tokens.keys():
        return None
    if not volumes and not hostings:
        return None
    hit = _HIT_RATE.search(text)
    rate = _decimal(hit["a"] or hit["b"], comma) / 100 if hit else Decimal(0)
    symbol = next((s for s in "$€£" if s in text), "€" if re.search(r"\beuro?\b", text) else "$")
    has_cache = "cache_read" in prices and 0 < rate <= 1
    return CostQuestion(
        currency=symbol,
        input_price=prices["input"],
        output_price=prices["output"],
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
        cache_write=prices.get("cache_write", prices["input"]) if has_cache else None,
        cache_read=prices["cache_read"] if has_cache else None,
        hit_rate=rate if has_cache else Decimal(0),
        volumes=tuple(volume for volume in volumes if volume > 0),
        hostings=hostings,
        keeping=keeping,
        once=once,
        months=months,
        decimal_comma=comma,
    )


def _around(text: str, found: re.Match[str]) -> tuple[str, str]:
    """Return what the clause says before and after a price."""
    ends = [end.end() for end in _CLAUSE_END.finditer(text, 0, found.start())]
    start = ends[-1] if ends else 0
    after = _CLAUSE_END.search(text, found.end())
    return text[start : found.start()], text[found.end() : after.start() if after else len(text)]


def _role(before: str, after: str, *, has_cache: bool) -> str | None:
    """Return what a price is for: what follows it tells first, then what stands before it."""
    for part in (after, before):
        for role, words in _ROLES:
            if words.search(part) and (has_cache or not role.startswith("cache")):
                return role
    return None


def _fixed(text: str, original: str, comma: bool) -> tuple[tuple[Hosting, ...], Decimal, Decimal, int]:
    hostings, keeping, once, months = [], Decimal(0), Decimal(0), 1
    for found in _PLAIN_PRICE.finditer(text):
        before, after = _around(text, found)
        amount = _amount(found, comma)
        if _ONCE.search(after) or _ONCE.search(before):
            once += amount
            spread = _SPREAD.search(after) or _SPREAD.search(text, found.end())
            if spread:
                months = int(spread["n"]) * (12 if spread["y"] else 1) or 1
        elif _KEEPING.search(after) or _KEEPING.search(before):
            keeping += amount
        elif name := _NAME.search(original[max(0, found.start() - 60) : found.start()]):
            hostings.append(Hosting(name["name"], amount))
    return tuple(hostings[:MOST_OPTIONS]), keeping, once, months


def _amount(found: re.Match[str], comma: bool) -> Decimal:
    return _decimal(found["left"] or found["right"], comma)


def _volume(number: str, unit: str, comma: bool) -> int:
    factor = {"k": 1000, "mila": 1000, "thousand": 1000, "mil": 1000, "m": 1_000_000}.get(unit, 1)
    return int(_decimal(number, comma) * factor)


def _decimal(text: str, comma: bool) -> Decimal:
    """Return a number as it was meant: three digits behind every sign are thousands."""
    groups = re.split(r"[.,]", text)
    point = "," if comma else "."
    is_grouped = len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and groups[0] != "0"
    if is_grouped and (len(groups) > 2 or point not in text or len(groups[0]) < 4):
        return Decimal("".join(groups))
    return Decimal(text.replace("," if point == "." else ".", "").replace(point, "."))


def _fold_keeping_length(text: str) -> str:
    return "".join(letter if len(letter := fold(character)) == 1 else character for character in text)
