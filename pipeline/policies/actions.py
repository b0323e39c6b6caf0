"""Distributions over the actions BUY, HOLD and SELL as arrays with named columns.

The array twin of `pipeline.packets.superposition`: the last axis of a distribution has one column
per name in `ACTIONS`, confidence is the probability of the most probable action (ties go to the
first in the order of `ACTIONS`), coherence is 1 - H(p) / log(3) with Shannon's entropy H (Shannon,
"A Mathematical Theory of Communication", 1948).
"""

import math

import numpy as np
import numpy.typing as npt

from pipeline.policies.kernels import compiled_module

__all__ = [
    "ACTIONS",
    "BUY",
    "HOLD",
    "SELL",
    "BoolArray",
    "FloatArray",
    "IntArray",
    "clip",
    "coherence",
    "directional",
    "hold_all",
    "mix",
    "squash",
]

ACTIONS = ("BUY", "HOLD", "SELL")
BUY, HOLD, SELL = range(3)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_SMALLEST = 1e-300  # p * log(p) is 0 for p = 0; log(0) would be a warning
_LOG_ACTIONS = math.log(len(ACTIONS))


def clip(values: FloatArray, lowest: float, highest: float) -> FloatArray:
    """Return the values kept within bounds; np.clip takes twice as long for small arrays."""
    return np.minimum(np.maximum(values, lowest), highest)


def squash(values: FloatArray) -> FloatArray:
    """Map the real line to (-1, 1) by x / (1 + |x|): no transcendental function, so exact."""
    return values / (1.0 + np.abs(values))


def directional(scores: FloatArray, ambiguity: float) -> FloatArray:
    """Turn scores into distributions over `ACTIONS`.

    P(BUY) = max(s, 0) + a (1 - |s|), P(SELL) = max(-s, 0) + a (1 - |s|), the rest is HOLD.

    Args:
        scores: Any shape, in [-1, 1]; the sign is the direction, the size the conviction.
        ambiguity: a, in [0, 1/3]: what each direction keeps of the undecided mass.

    Returns:
        Shape of `scores` + [3].
    """
    undecided = 1.0 - np.abs(scores)
    floor = ambiguity * undecided
    distribution = np.empty((*scores.shape, len(ACTIONS)))
    distribution[..., BUY] = np.maximum(scores, 0.0) + floor
    distribution[..., HOLD] = undecided - 2.0 * floor
    distribution[..., SELL] = np.maximum(-scores, 0.0) + floor
    return distribution


def coherence(distribution: FloatArray) -> FloatArray:
    """Return 1 - normalised entropy over the last axis: 1 if certain, 0 if uniform."""
    logarithms = np.log(np.maximum(distribution, _SMALLEST))
    rows = compiled_module("rows")
    if rows is not None and distribution.flags.c_contiguous:
        found = np.empty(distribution.shape[:-1])
        rows.coherence(distribution, logarithms, _LOG_ACTIONS, found)
        return found
    terms = distribution * logarithms
    entropy = -(terms[..., BUY] + terms[..., HOLD] + terms[..., SELL])
    return clip(1.0 - entropy / _LOG_ACTIONS, 0.0, 1.0)


def mix(parts: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted mixture of distributions; rows without any weight are all HOLD.

    Args:
        parts: [agents, n, 3].
        weights: [agents, n], not negative.

    Returns:
        [n, 3].
    """
    weighted = weights[:, :, None] * parts
    total, mixed = weights[0].copy(), weighted[0]
    for agent in range(1, len(parts)):  # term by term: the order of the sum never changes
        total += weights[agent]
        mixed += weighted[agent]
    empty = total <= 0.0
    mixed /= np.where(empty, 1.0, total)[:, None]
    hold_all(mixed, empty)
    return np.asarray(mixed)


def hold_all(distribution: FloatArray, rows: BoolArray) -> None:
    """Put all of the probability of the rows chosen on HOLD, in place."""
    if rows.any():
        distribution[..., rows, :] = 0.0
        distribution[..., rows, HOLD] = 1.0
