"""Indicators over bar columns, shared by the stages.

Smoothing over a window is linear in the window, so where only the last value counts it is one sum
with constant weights, worked out once; where the whole series counts it is a scan in log2(W) steps.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.policies.actions import BoolArray, FloatArray, IntArray
from pipeline.policies.windows import BAR_FIELDS

__all__ = [
    "BarColumns",
    "average_true_range",
    "check_windows",
    "columns",
    "decayed_sums",
    "ewma_weights",
    "weighted_last",
    "wilder_weights",
]

_MAX_PRICE_RANGE = 1e4  # highest / lowest price in a window; beyond it the data is broken
_MIN_PRICE, _MAX_PRICE = 1e-200, 1e200
_MAX_VOLUME = 1e18


@dataclass(frozen=True, slots=True)
class BarColumns:
    """The bars of a batch by column; all [n, W], contiguous, oldest first.

    Rows that are not `ready` hold ones everywhere, so that arithmetic on them stays quiet; what
    comes out for them has no meaning and is to be overwritten.
    """

    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    ready: BoolArray


def check_windows(windows: FloatArray, counts: IntArray, width: int) -> None:
    """Check that there is a window of `width` bars for each count.

    Raises:
        ConfigurationError: Arrays of another shape.
    """
    if windows.shape != (len(counts), width, len(BAR_FIELDS)):
        raise ConfigurationError(
            f"Expected windows of shape ({len(counts)}, {width}, 5), one per count, was "
            f"{windows.shape}; make the windows with BarWindows({width})"
        )


def columns(windows: FloatArray, counts: IntArray, width: int) -> BarColumns:
    """Split windows into columns and find the rows that can be decided on.

    A row is ready if it is full and sound: prices positive (1e-200 to 1e200) and within a factor
    of 10,000 of each other, volumes between 0 and 1e18, nothing NaN or infinite. Within these
    bounds no agent overflows.

    Args:
        windows: [n, width, 5]: open, high, low, close, volume; the latest bar last.
        counts: [n]: bars in each window.
        width: Bars that the stage needs.

    Raises:
        ConfigurationError: Arrays of another shape.
    """
    check_windows(windows, counts, width)
    parts = np.ascontiguousarray(windows.transpose(2, 0, 1), dtype=np.float64)
    lowest, highest = parts.min(axis=2), parts.max(axis=2)
    bottom, top = lowest[:4].min(axis=0), highest[:4].max(axis=0)
    ready = (
        (np.asarray(counts) >= width)
        & (bottom >= _MIN_PRICE)
        & (top <= _MAX_PRICE)
        & (top <= _MAX_PRICE_RANGE * bottom)
        & (lowest[4] >= 0.0)
        & (highest[4] <= _MAX_VOLUME)
    )
    if not ready.all():
        parts[:, ~ready] = 1.0
    return BarColumns(parts[1], parts[2], parts[3], parts[4], ready)


def decayed_sums(values: FloatArray, decay: FloatArray) -> FloatArray:
    """Return y[i] = sum over j of decay^j x[i - j] along the last axis.

    Done by doubling (Hillis and Steele, "Data Parallel Algorithms", 1986): after step k each y[i]
    covers 2^k terms. All steps are elementwise, so a row never depends on its neighbours.

    Args:
        values: [..., W].
        decay: Broadcastable to [..., 1]; in [0, 1).
    """
    sums, factor, shift = values.copy(), decay, 1
    while shift < values.shape[-1]:
        sums[..., shift:] += factor * sums[..., :-shift]
        factor = factor * factor
        shift *= 2
    return sums


def weighted_last(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted sum of the last `len(weights)` columns of `values` ([n, W] to [n])."""
    total: FloatArray = (values[:, -len(weights) :] * weights).sum(axis=-1)
    return total


@functools.lru_cache(maxsize=64)
def ewma_weights(length: int, decay: float) -> FloatArray:
    """Return the weights, summing to 1, of an exponentially weighted mean over `length` values."""
    raw = [decay ** (length - 1 - i) for i in range(length)]
    return _frozen([value / math.fsum(raw) for value in raw])


@functools.lru_cache(maxsize=64)
def wilder_weights(length: int, period: int) -> FloatArray:
    """Return weights that unroll Wilder's recursion over `length` values, seeded by a mean."""
    decay = 1.0 - 1.0 / period
    seed = [decay ** (length - period) / period] * period
    return _frozen(seed + [decay ** (length - 1 - i) / period for i in range(period, length)])


def average_true_range(bars: BarColumns, period: int) -> FloatArray:
    """Return Wilder's average true range at the last bar, in price units ([n]).

    TR[i] = max(high[i], close[i-1]) - min(low[i], close[i-1]); ATR starts as the mean of the first
    `period` of them and goes on as ATR[i] = ATR[i-1] + (TR[i] - ATR[i-1]) / period
    (Wilder, "New Concepts in Technical Trading Systems", 1978).
    """
    before = bars.close[:, :-1]
    ranges = np.maximum(bars.high[:, 1:], before) - np.minimum(bars.low[:, 1:], before)
    return weighted_last(ranges, wilder_weights(ranges.shape[1], period))


def _frozen(values: list[float]) -> FloatArray:
    array = np.array(values)
    array.flags.writeable = False
    return array
