"""Is what was found enough to answer from, or is it only the closest there is?

A weighted sum of what question and hits show, learned from 1,500 questions that a real memory answers and 290
that it does not, in its own words and about its own subjects. Those are hard: no single sign tells them apart
(similarity is best, with an area under the curve of .64), because the passages do speak of what is asked. The
sum has .81. Of questions it had not seen it turns away a quarter of the unanswerable and four in a hundred of
the others; `cervella calibrate` finds the line for the memory at hand.

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

WEIGHED = 10
"""Hits that are looked at, however many are shown."""
NO_EMBEDDER = "none"
_LOOKED_AT = 5
_WHO = re.compile(r"\b(?:chi|who|quem)\b")
_OURS = re.compile(r"\b(?:abbiamo|nostr\w*|ci|noi|our|we|us|nos\w*|temos)\b")
"""Who asks takes for granted that it happened: of a plan that was never carried out, that is often wrong."""


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
        total = self.bias + sum(weight * shown[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-total))


_OF_THE_QUESTION = {
    "words": -3.22,
    "ours": 0.43,
    "asks_who": 0.528,
    "asks_money": 0.473,
    "asks_date": 0.811,
    "asks_number": 1.03,
    "asks_reason": -1.37,
}
GATES = {
    "use-multilingual-v3+maps-1": Gate(
        _OF_THE_QUESTION
        | {
            "lexical": 0.224,
            "missing": 0.442,
            "ranker": -0.23,
            "other_days": 3.77,
            "dense": -3.16,
            "dense_of_all": -3.77,
            "window": 1.62,
        },
        bias=7.28,
        line=0.825,
    ),
}
"""One an embedder: similarities of two models are not on one scale."""
WORDS_ALONE = Gate(
    {
        "words": -3.45,
        "ours": 0.392,
        "asks_who": 0.371,
        "asks_money": 0.336,
        "asks_date": 0.843,
        "asks_number": 1.03,
        "asks_reason": -1.32,
        "lexical": 0.219,
        "missing": 0.271,
        "ranker": -0.264,
        "other_days": 3.92,
    },
    bias=6.5,
    line=0.825,
)
"""For every other embedder, and for none."""


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
    present = frozenset[str]().union(*(stems(hit.chunk.index_text) for hit in best))
    missing = [stem for stem in asked - present if also.get(stem, frozenset()).isdisjoint(present)]
    folded = fold(understood.searched)
    kind = asked_type(folded)
    count = max(1, len(asked))
    return {
        "words": math.log(count),
        "ours": float(bool(_OURS.search(folded))),
        "asks_who": float(bool(_WHO.search(folded))),
        "asks_money": float(kind == "money"),
        "asks_date": float(kind == "date"),
        "asks_number": float(kind == "number"),
        "asks_reason": float(asks_reason(folded)),
        "lexical": max(hit.scores.lexical or 0.0 for hit in best) / count,
        "missing": len(missing) / count,
        "ranker": hits[0].scores.rerank or 0.0,
        "other_days": float(_is_of_other_days(understood, best)),
        "dense": max(hit.scores.dense or 0.0 for hit in best),
        "dense_of_all": fmean(hit.scores.dense or 0.0 for hit in hits),
        "window": max(hit.scores.window or hit.scores.dense or 0.0 for hit in best),
    }


def _is_of_other_days(understood: Understood, hits: Sequence[Hit]) -> bool:
    """Tell whether days are named and nothing found was written then."""
    if not (understood.since or understood.until):
        return False
    first, last = understood.since or "", understood.until or "9"
    return not any(first <= hit.chunk.metadata.date <= last for hit in hits if hit.chunk.metadata.date)
