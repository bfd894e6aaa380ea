"""Is what was found enough to answer from, or is it only the closest there is?

Who asks for one thing (how much, who, when, which) gets no answer where that thing was never written down,
however much is written about the rest. A weighted sum of what question and hits show tells how likely that
is: learned from 925 such questions that a real memory answers and 206 that it does not, about its own
subjects in its own words. Those are hard: no single sign tells them apart (similarity is best, with an area
under the curve of .65), because the passages do speak of what is asked; the sum has .78. Who asks what is
known of a thing is turned away only where nothing found has to do with it.

`cervella eval calibrate` draws the line for the memory at hand.

Reference: training/README.md tells how the weights were learned, docs/retrieval.md what else was tried.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cervella_rag.domain import Hit, Understood
from cervella_rag.memory.lexical import fold, numbered, stems
from cervella_rag.retrieval.answer_types import asked_type, asks_reason
from cervella_rag.retrieval.reading import stems_in

WEIGHED = 10
"""Hits that are looked at, however many are shown."""
NO_EMBEDDER = "none"
_LOOKED_AT = 5
_FEWEST_WORDS = 5
"""A shorter question counts as one of so many: short ones were rare among those learned from."""
_NEAR = 0.7
"""Least coverage plus twice the similarity of a question about anything at all. Below it lies one in a
hundred of those that a memory can answer."""
_NEAR_IN_WORDS = 0.34
"""Least coverage where there are no vectors: more than a third of the words."""
_WHO = re.compile(r"\b(?:chi|who|quem)\b")
_WHICH = re.compile(
    r"\b(?:che|quale|qual|which)\s+(?!cos|e\b|problem|lezion|punto\b|tipo\b"
    r"|abbiamo|era\b|sono\b)\w{3,}"
)
"""Not "che cosa", "a che punto", "che problemi", "quali lezioni": those ask what there is."""
_OURS = re.compile(r"\b(?:abbiamo|nostr\w*|ci|noi|our|we|us|nos\w*|temos)\b")
"""Who asks so takes for granted that it happened; of a plan that was never carried out, wrongly."""
_ONE_THING = ("asks_who", "asks_money", "asks_date", "asks_number", "asks_which", "other_days")


@dataclass(frozen=True)
class Gate:
    """What the signs weigh, and above which chance of having no answer a question is turned away.

    Attributes:
        weights: Of each sign of `signs`.
        bias: Added to their sum, in logits.
        line: From 0 to 1.
    """

    weights: Mapping[str, float]
    bias: float
    line: float

    def doubt(self, understood: Understood, hits: Sequence[Hit]) -> float:
        """Return the chance, from 0 to 1, that the hits do not hold the answer."""
        if not hits:
            return 1.0
        shown = signs(understood, hits)
        if not asks_one_thing(shown):
            return float(_is_far(shown, hits))
        total = self.bias + sum(weight * shown[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-total))


GATES = {
    "use-multilingual-v3+maps-1": Gate(
        {
            "words": -4.31,
            "ours": 0.728,
            "asks_who": 0.125,
            "asks_money": -0.428,
            "asks_date": 0.0365,
            "asks_number": 0.494,
            "asks_reason": -2.48,
            "lexical": 0.104,
            "missing": 0.657,
            "ranker": -0.122,
            "other_days": 3.5,
            "dense": -3.91,
            "dense_of_all": -1.74,
            "window": 2.1,
        },
        bias=8.79,
        line=0.7,
    ),
}
"""One an embedder: similarities of two models are not on one scale."""
WORDS_ALONE = Gate(
    {
        "words": -4.81,
        "ours": 0.648,
        "asks_who": 0.0282,
        "asks_money": -0.524,
        "asks_date": -0.0271,
        "asks_number": 0.419,
        "asks_reason": -2.37,
        "lexical": 0.00448,
        "missing": 1.05,
        "other_days": 3.54,
    },
    bias=8.19,
    line=0.75,
)
"""For every other embedder, and for none: learned on an index without vectors, without the ranker's score,
which is on another scale there. Its line is drawn higher, where it turns away 3 % wrongly."""


def gate_for(embedder: str) -> Gate:
    """Return the gate of an embedder by its name."""
    return GATES.get(embedder, WORDS_ALONE)


def signs(understood: Understood, hits: Sequence[Hit]) -> dict[str, float]:
    """Return what question and hits show.

    Args:
        understood: What is asked.
        hits: What was found, best first; at least one.
    """
    asked = stems(numbered(understood.searched))
    also = {stem: stems(names) for word, names in understood.also for stem in stems([word])}
    best = hits[:_LOOKED_AT]

    def is_said(stem: str, said: frozenset[str]) -> bool:
        return stem in said or not also.get(stem, frozenset()).isdisjoint(said)

    shown = [stems_in(hit.chunk) for hit in best]
    together = frozenset[str]().union(*shown)
    folded = fold(understood.searched)
    kind = asked_type(folded)
    count = max(1, len(asked))
    return {
        "words": math.log(max(count, _FEWEST_WORDS)),
        "ours": float(bool(_OURS.search(folded))),
        "asks_who": float(bool(_WHO.search(folded))),
        "asks_money": float(kind == "money"),
        "asks_date": float(kind == "date"),
        "asks_number": float(kind == "number"),
        "asks_which": float(bool(_WHICH.search(folded))),
        "asks_reason": float(asks_reason(folded)),
        "lexical": max(hit.scores.lexical or 0.0 for hit in best) / count,
        "missing": sum(not is_said(stem, together) for stem in asked) / count,
        "coverage": max(sum(is_said(stem, one) for stem in asked) for one in shown) / count,
        "ranker": hits[0].scores.rerank or 0.0,
        "other_days": float(_is_of_other_days(understood, best)),
        "dense": max(hit.scores.dense or 0.0 for hit in best),
        "dense_of_all": fmean(hit.scores.dense or 0.0 for hit in hits),
        "window": max(hit.scores.window or hit.scores.dense or 0.0 for hit in best),
    }


def asks_one_thing(shown: Mapping[str, float]) -> bool:
    """Tell whether one thing is asked for, that may simply not be written down."""
    return any(shown[name] for name in _ONE_THING)


def _is_far(shown: Mapping[str, float], hits: Sequence[Hit]) -> bool:
    if all(hit.scores.dense is None for hit in hits):
        return shown["coverage"] < _NEAR_IN_WORDS
    return shown["coverage"] + 2 * shown["dense"] < _NEAR


def _is_of_other_days(understood: Understood, hits: Sequence[Hit]) -> bool:
    """Tell whether days are named and nothing found was written then."""
    if not (understood.since or understood.until):
        return False
    first, last = understood.since or "", understood.until or "9"
    return not any(first <= hit.chunk.metadata.date <= last for hit in hits if hit.chunk.metadata.date)
