"""Agent fvg: fair-value gaps that the price has not yet filled."""

import functools
from dataclasses import dataclass

import numpy as np

from pipeline.policies.actions import FloatArray, IntArray, clip
from pipeline.policies.indicators import BarColumns
from pipeline.policies.tactical.settings import TacticalSettings

__all__ = ["NearestGaps", "fading", "fvg_score", "nearest_gaps"]

_SIGNS = np.array([1.0, -1.0]).reshape(2, 1, 1)


@dataclass(frozen=True, slots=True)
class NearestGaps:
    """The open gap nearest to the price per side; [2, n], bullish first.

    Attributes:
        level: Edge of the open part that faces the price, in price units; NaN where none is open.
        distance: From the close to `level`, in price units, at least 0; infinite where none.
        age: Bars since the gap's third bar.
        mitigation: Part of the gap already traded through, in [0, 1).
    """

    level: FloatArray
    distance: FloatArray
    age: IntArray
    mitigation: FloatArray


def nearest_gaps(bars: BarColumns, atr: FloatArray, settings: TacticalSettings) -> NearestGaps:
    """Find the nearest open fair-value gaps.

    Bars i - 2, i - 1, i leave a bullish gap where low[i] > high[i - 2], a bearish one where
    high[i] < low[i - 2]: prices that one side skipped. It counts from `gap_min_atr` upwards and up
    to an age of `gap_max_age_bars`. Later lows inside a bullish gap mitigate it from the top; when
    they reach its bottom it is closed. (Three-bar gaps are traders' practice, popularised by
    M. Huddleston as "fair value gap"; there is no paper to cite.) Of gaps equally near the
    youngest counts.

    Args:
        bars: The bars.
        atr: [n], price units.
        settings: See `TacticalSettings`.
    """
    # Bearish gaps are bullish gaps of the prices' negatives. Latest bar first from here on.
    ages = settings.gap_max_age_bars + 1
    n, width = bars.close.shape
    lower, upper = np.empty((2, n, width)), np.empty((2, n, width))
    lower[0], lower[1] = bars.low[:, ::-1], -bars.high[:, ::-1]
    upper[0], upper[1] = bars.high[:, ::-1], -bars.low[:, ::-1]
    top = lower[:, :, :ages]
    size = top - upper[:, :, 2 : ages + 2]
    later = np.full((2, n, ages), np.inf)
    np.minimum.accumulate(top[:, :, :-1], axis=-1, out=later[:, :, 1:])
    edge = np.minimum(top, later)
    real = (size > 0.0) & (size >= (settings.gap_min_atr * atr)[:, None])
    mitigation = (top - edge) / np.where(real, size, 1.0)
    close = bars.close[:, -1:] * _SIGNS
    distance = np.where(real & (mitigation < 1.0), np.maximum(close - edge, 0.0), np.inf)

    age = distance.argmin(axis=-1)
    picked = age.ravel() + np.arange(0, 2 * n * ages, ages)
    nearest = distance.ravel()[picked].reshape(2, n)
    level = np.where(np.isfinite(nearest), edge.ravel()[picked].reshape(2, n), np.nan)
    return NearestGaps(
        level * _SIGNS[:, :, 0], nearest, age, mitigation.ravel()[picked].reshape(2, n)
    )


def fvg_score(gaps: NearestGaps, atr: FloatArray, settings: TacticalSettings) -> FloatArray:
    """Return the direction that the open gaps speak for, in [-1, 1] ([n]).

    A gap's strength is (1 - mitigation) * gap_decay^age / (1 + distance / reach); an open bullish
    gap below the price supports it, a bearish one above presses on it.
    """
    reach = settings.gap_reach_atr * np.where(atr > 0.0, atr, 1.0)
    faded = fading(settings.gap_max_age_bars, settings.gap_decay)[gaps.age]
    strength = (1.0 - gaps.mitigation) * faded / (1.0 + gaps.distance / reach)
    return clip(settings.gap_gain * (strength[0] - strength[1]), -1.0, 1.0)


@functools.lru_cache(maxsize=64)
def fading(max_age: int, decay: float) -> FloatArray:
    """Return what is left of a gap's strength at each age from 0 to `max_age`."""
    return np.array([decay**age for age in range(max_age + 1)])
