"""Text becomes weighted terms for BM25: Italian first, accents and apostrophes folded.

The memory spells one word three ways (`perche'`, `perché`, `perche`), so both sides are folded to
plain letters before anything else. The inverse document frequency is left to the vector store, which
knows the whole index; here stands the other half of BM25, term saturation and length.

Reference: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence

import Stemmer

from cervella_rag.domain import SparseVector

SATURATION = 1.2
LENGTH_WEIGHT = 0.4
"""Below the usual 0.75: chunks are packed to one size, so a long one is dense rather than verbose."""
AVERAGE_TERMS = 230
"""Terms of an average chunk. Fixed, so that a chunk's weights never depend on its neighbours."""

_ACCENT = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
"""Combining marks of the scripts that words are read in."""
_WORD = re.compile(r"\d+(?:[.,]\d+)+|[a-z0-9]+")
STOP_WORDS = {
    language: frozenset(words.split())
    for language, words in {
        "it": """
            a ad agli ai al alla alle allo anche c che chi ci come con cosa cui d da dagli dai dal dalla
            dalle de degli dei del della delle dello di e ed era erano essere fa ha hai hanno ho i il in
            io l la le lei lo loro lui m ma mi ne negli nei nel nella nelle nello noi non nostra nostre
            nostri nostro o oppure per perche piu poi qual quale quali quando quanta quante quanti
            quanto quella quelle quelli quello questa queste questi questo s se sei si siamo sia sono su
            sua sue sui sul sulla sulle suo suoi t ti tra tu tuo un una uno v vi voi abbiamo avete
            avevamo stata stati stato
        """,
        "en": """
            a an and are as at be by did do does for from had has have how in is it its of on or our
            that the their them then there they this to us was we were what when where which who why
            will with you your
        """,
        "pt": """
            a ao aos as com como da das de do dos e em essa esse esta este eu foi mais mas na nas no nos
            nosso nossa num numa o os ou para pela pelo por porque qual quando quanto quantos que quem
            se seu sua sem ser uma um
        """,
    }.items()
}
"""Words that say nothing of what is asked, and much of the language it is asked in."""
_STOP_WORDS = frozenset().union(*STOP_WORDS.values())

_STEMMER = Stemmer.Stemmer("italian")


def fold(text: str) -> str:
    """Return `text` in lower case without accents."""
    lower = text.lower()
    return lower if lower.isascii() else _ACCENT.sub("", unicodedata.normalize("NFKD", lower))


NUMBERS = {
    name: str(number)
    for number, names in {
        2: "due two dois duas", 3: "tre three tres", 4: "quattro four quatro", 5: "cinque five cinco",
        6: "six", 7: "sette seven sete", 8: "otto eight oito", 9: "nove nine", 10: "dieci ten dez",
        11: "undici eleven onze", 12: "dodici twelve doze", 13: "tredici thirteen treze",
        14: "quattordici fourteen quatorze", 15: "quindici fifteen quinze", 16: "sedici sixteen dezesseis",
        17: "diciassette seventeen dezessete", 18: "diciotto eighteen dezoito",
        19: "diciannove nineteen dezenove", 20: "venti twenty vinte", 30: "trenta thirty trinta",
        40: "quaranta forty quarenta", 50: "cinquanta fifty cinquenta", 60: "sessanta sixty sessenta",
        70: "settanta seventy setenta", 80: "ottanta eighty oitenta", 90: "novanta ninety noventa",
        100: "cento hundred cem",
    }.items()
    for name in names.split()
}  # fmt: skip
"""Numbers in words; without "sei", which is also "you are" and "you know"."""


def numbered(text: str) -> str:
    """Return `text` with the figures of the numbers it says in words after it: who asks says "sedici"."""
    figures = [NUMBERS[word] for word in _WORD.findall(fold(text)) if word in NUMBERS]
    return " ".join([text, *figures])


def words(text: str) -> list[str]:
    """Return the folded words of `text` in order, stop words left out."""
    return [word for word in _WORD.findall(fold(text)) if word not in _STOP_WORDS]


def terms(text: str) -> list[str]:
    """Return every word of `text` twice: as it stands and, marked with "~", as its Italian stem.

    A question that has the very word scores above one that shares only the stem; measured on 86 real
    questions, MRR@10 of BM25 goes from .328 (stems) and .342 (words) to .361 (both).
    """
    found = words(text)
    return found + ["~" + stem for stem in _STEMMER.stemWords(found)]


def stems(text: str | Sequence[str]) -> frozenset[str]:
    """Return the distinct stems of a text, or of words that were taken from one."""
    return frozenset(_STEMMER.stemWords(words(text) if isinstance(text, str) else list(text)))


def term_number(term: str) -> int:
    """Return the number that stands for `term` in a sparse vector, the same on every machine."""
    return zlib.crc32(term.encode())


def encode_document(text: str) -> SparseVector:
    """Return BM25 weights of a chunk, without the inverse document frequency."""
    counts = Counter(map(term_number, terms(text)))
    length = sum(counts.values()) / AVERAGE_TERMS
    penalty = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * length)
    weights = (count * (SATURATION + 1) / (count + penalty) for count in counts.values())
    return SparseVector(tuple(counts), tuple(weights))


def encode_query(text: str, also: Sequence[str] = (), weight: float = 1.0) -> SparseVector:
    """Return the terms of a question.

    Args:
        text: What is asked; each of its terms has weight 1.
        also: Words that mean the same.
        weight: Of the terms that only they have.
    """
    weights = dict.fromkeys(map(term_number, terms(" ".join(also))), weight)
    weights |= dict.fromkeys(map(term_number, terms(text)), 1.0)
    return SparseVector(tuple(weights), tuple(weights.values()))
