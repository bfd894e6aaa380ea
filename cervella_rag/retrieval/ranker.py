"""Candidates become hits in order: a weighted sum of the features, with weights learned from questions.

Learned once, by the softmax of the right passage among the candidates, from 1,390 questions written about a
real memory; each question was scored by an encoder that had not seen its file. Linear, because it can be
read, and because boosted trees on the same features found less in files they had not seen (.50 against
.53 among the first five).

Reference: training/README.md; docs/retrieval.md has what each feature gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cervella_rag.domain import Chunk, Scores
from cervella_rag.retrieval.features import NAMES, NO_NAMES, OtherNames, features

WEIGHTS = {
    "lexical": 3.32,
    "dense": 0.58,
    "window": 0.89,
    "window_coverage": 4.49,
    "answer_type": 0.83,
    "reason": 0.84,
    "number": 1.19,
    "specification": -2.35,
}
_VECTOR = np.array([WEIGHTS[name] for name in NAMES], np.float32)


def rerank(
    question: str, candidates: Sequence[tuple[Chunk, Scores]], also: OtherNames = NO_NAMES
) -> list[tuple[Chunk, Scores]]:
    """Return the candidates best first, each with its `rerank` score; equal ones keep their order.

    Args:
        question: What is asked.
        candidates: What was found.
        also: What words of the question are called in other languages.
    """
    if not candidates:
        return []
    values = features(question, candidates, also) @ _VECTOR
    order = np.argsort(-values, kind="stable")
    return [
        (candidates[place][0], replace(candidates[place][1], rerank=float(values[place])))
        for place in order
    ]
