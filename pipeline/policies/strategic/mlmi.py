"""Agent mlmi: the nearest neighbours of this moment's momentum vote on what follows."""

import functools

import numpy as np

from pipeline.policies.actions import FloatArray
from pipeline.policies.indicators import decayed_sums
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["mlmi_score", "smoothing"]


def mlmi_score(returns: FloatArray, settings: StrategicSettings) -> FloatArray:
    """Return the weighted vote of the k nearest past bars, in [-1, 1].

    Features of a bar: fast and slow relative strength index, avg gain / (avg gain + avg loss) with
    Wilder's smoothing (Wilder, "New Concepts in Technical Trading Systems", 1978), and momentum,
    fast average return / slow average absolute return. Each past bar of the window whose following
    `horizon_bars` have passed is labelled with the sign of its return over them. The k nearest by
    Euclidean distance d (all that share the k-th distance) vote with weight 1 / (d^2 + floor):
    Fix and Hodges, "Discriminatory Analysis", 1951; Dudani, "The Distance-Weighted
    k-Nearest-Neighbor Rule", 1976.

    Args:
        returns: [n, W - 1].
        settings: See `StrategicSettings`.

    Returns:
        [n].
    """
    distances = _squared_distances(returns, settings)
    labels = _labels(returns, settings)
    k = settings.neighbours - 1
    kth = np.partition(distances, k, axis=-1)[:, k, None]
    weights = (distances <= kth) / (distances + settings.distance_floor)
    score: FloatArray = (weights * labels).sum(axis=-1) / weights.sum(axis=-1)
    return score


def _squared_distances(returns: FloatArray, settings: StrategicSettings) -> FloatArray:
    """Distance of each candidate bar from the last one in feature space, squared ([n, K])."""
    n, length = returns.shape
    decays, corrections = smoothing(length, settings.fast_period, settings.slow_period)
    moves = np.empty((2, 2, n, length))  # period, gain or loss
    moves[:, 0] = np.maximum(returns, 0.0)
    moves[:, 1] = moves[:, 0] - returns
    sums = decayed_sums(moves, decays)
    net, total = sums[:, 0] - sums[:, 1], sums[:, 0] + sums[:, 1]
    total[total <= 0.0] = 1.0  # nothing moved, so net is 0: an index of 1/2, no momentum
    strength = 0.5 * (net / total)  # the index - 1/2; the constant drops out of a distance
    momentum = net[0] / total[1] * corrections
    candidates = slice(settings.slow_period, length - settings.horizon_bars)
    squared = np.zeros((n, length - settings.horizon_bars - settings.slow_period))
    parts = (strength[0], strength[1], momentum)
    for feature, scale in zip(parts, settings.feature_scales, strict=True):
        difference = scale * (feature[:, candidates] - feature[:, -1:])
        squared += difference * difference
    return squared


@functools.lru_cache(maxsize=16)
def smoothing(length: int, fast: int, slow: int) -> tuple[FloatArray, FloatArray]:
    """Return what Wilder's smoothing over both periods needs.

    Returns:
        Decay per period; and what turns sums into averages in fast sum / slow sum, per bar.
    """
    decays = np.array([1.0 - 1.0 / fast, 1.0 - 1.0 / slow])
    # Sum of decay^j for j = 0 ... i: the weight that the first i + 1 bars carry.
    covered = np.array([[sum(d**j for j in range(i + 1)) for i in range(length)] for d in decays])
    return decays.reshape(2, 1, 1, 1), covered[1] / covered[0]


def _labels(returns: FloatArray, settings: StrategicSettings) -> FloatArray:
    """Sign of the growth over the bars that follow each candidate ([n, K])."""
    growth = 1.0 + returns[:, settings.slow_period + 1 :]
    size = growth.shape[1] - settings.horizon_bars + 1
    after = growth[:, :size].copy()
    for ahead in range(1, settings.horizon_bars):
        after *= growth[:, ahead : ahead + size]
    return np.sign(after - 1.0)
