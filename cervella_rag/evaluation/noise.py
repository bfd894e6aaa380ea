"""How much of a figure is chance: intervals by the bootstrap, drops by a paired randomisation test.

Reference: Smucker, Allan and Carterette, A Comparison of Statistical Significance Tests for Information
Retrieval Evaluation (2007). Both draw from a fixed seed, so the same outcomes give the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test

_SEED = 20_260_112
_DRAWS = 2_000
_PERMUTATIONS = 9_999
CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the bounds within which the mean lies in 95 of 100 drawn samples; None below two values."""
    if len(values) < 2:
        return None
    found = bootstrap(
        (np.asarray(values, np.float64),),
        np.mean,
        n_resamples=_DRAWS,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return round(float(found.low), 4), round(float(found.high), 4)


def chance_of_drop(before: Sequence[float], now: Sequence[float]) -> float:
    """Return how likely chance alone makes the mean drop this much; 1 where it did not drop.

    Args:
        before: One value a question.
        now: The same questions', in the same order.
    """
    changes = np.asarray(now, np.float64) - np.asarray(before, np.float64)
    moved = changes[changes != 0]  # what did not change says nothing, and would be drawn all the same
    if not moved.size or moved.mean() >= 0:
        return 1.0
    if moved.size == 1:
        return 0.5  # one question says no more than a coin
    found = permutation_test(
        (moved, np.zeros_like(moved)),
        _mean_change,
        permutation_type="samples",
        alternative="less",
        n_resamples=_PERMUTATIONS,
        vectorized=True,
        rng=np.random.default_rng(_SEED),
    )
    return round(float(found.pvalue), 4)


def _mean_change(now: NDArray[np.float64], before: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    change: NDArray[np.float64] = np.mean(now - before, axis=axis)
    return change
