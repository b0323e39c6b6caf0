"""Whether a series rises or falls, how fast, and when it will reach a limit; pure.

The slope is the median of the slopes between all pairs of points (Theil 1950, Sen 1968): up to 29 %
of the points may be outliers. Whether it means anything is decided by the rank test of Mann (1945)
and Kendall (1975), its variance corrected for what neighbouring points have in common (Hamed and
Rao 1998): without it, a series that merely wanders slowly would count as a trend.

A series is first averaged over up to `BUCKETS` equal stretches of time, for two reasons: the number
of pairs grows with the square, and neighbouring samples share their noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUCKETS", "FEWEST", "Trend", "TrendDirection", "trend_of"]

Floats = NDArray[np.float64]

BUCKETS: Final = 60
"""Most points that a trend is worked out from."""

FEWEST: Final = 8
"""Fewest points of a trend: of fewer, the test cannot tell chance from a trend at 1 %."""

_SIGNIFICANCE = 0.01
_LEAST_CHANGE = 0.05
_ROUNDING = 1e-9


class TrendDirection(StrEnum):
    """Where a series goes; NO_DATA where there are too few points to say."""

    RISING = "rising"
    FALLING = "falling"
    STEADY = "steady"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series does; in the unit of the series.

    Attributes:
        direction: Where it goes.
        slope_per_s: Change a second.
        level: Value of the trend line at its end.
        p_value: How likely chance alone gives such a trend; 1 without data.
        change: Change over the span, as a ratio of the series' median; infinite if that is 0.
        span_s: Length of the series, seconds.
        points: Points that it was worked out from.
    """

    direction: TrendDirection
    slope_per_s: float = 0.0
    level: float = math.nan
    p_value: float = 1.0
    change: float = 0.0
    span_s: float = 0.0
    points: int = 0

    def seconds_to(self, limit: float) -> float | None:
        """Return in how many seconds the trend line reaches a limit.

        Returns:
            None where there is no trend, or it leads away from the limit, which may be passed.
        """
        if self.direction not in (TrendDirection.RISING, TrendDirection.FALLING):
            return None
        ahead_s = (limit - self.level) / self.slope_per_s
        return ahead_s if ahead_s >= 0.0 else None


def trend_of(
    times_s: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    *,
    significance: float = _SIGNIFICANCE,
    least_change: float = _LEAST_CHANGE,
) -> Trend:
    """Return the trend of a series.

    Args:
        times_s: Moments, seconds, ascending.
        values: Values, as many.
        significance: Largest p-value of a trend.
        least_change: Least change over the span that counts, as a ratio of the median: with enough
            points the test finds changes that matter to nobody.
    """
    times, series = _averaged(
        np.asarray(times_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    )
    count = len(times)
    if count < FEWEST:
        return Trend(TrendDirection.NO_DATA, points=count)
    later, earlier = np.triu_indices(count, k=1)[::-1]
    slope = float(np.median((series[later] - series[earlier]) / (times[later] - times[earlier])))
    span_s = float(times[-1] - times[0])
    level = float(np.median(series - slope * times)) + slope * float(times[-1])
    middle = abs(float(np.median(series)))
    moved = abs(slope) * span_s
    change = moved / middle if middle > 0.0 else (math.inf if moved > 0.0 else 0.0)
    p_value = _p_value(series, slope * times)
    direction = TrendDirection.STEADY
    if p_value <= significance and change >= least_change and slope != 0.0:
        direction = TrendDirection.RISING if slope > 0.0 else TrendDirection.FALLING
    return Trend(direction, slope, level, p_value, change, span_s, count)


def _averaged(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the means over equal stretches of time, where a stretch has a value."""
    known = ~np.isnan(values)
    times, values = times[known], values[known]
    if len(times) < FEWEST or times[-1] <= times[0]:
        return np.empty(0), np.empty(0)
    share = (times - times[0]) / (times[-1] - times[0])
    buckets = np.minimum((share * BUCKETS).astype(np.intp), BUCKETS - 1)
    counts = np.bincount(buckets, minlength=BUCKETS)
    filled = counts > 0
    means = (
        np.bincount(buckets, weights=each, minlength=BUCKETS)[filled] / counts[filled]
        for each in (times, values)
    )
    return next(means), next(means)


def _p_value(series: Floats, line: Floats) -> float:
    """Return the two-sided p-value of the Mann-Kendall test, corrected by Hamed and Rao."""
    count = len(series)
    later, earlier = np.triu_indices(count, k=1)[::-1]
    score = float(np.sign(series[later] - series[earlier]).sum())
    _, tied = np.unique(series, return_counts=True)
    ties = float((tied * (tied - 1) * (2 * tied + 5)).sum())
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    variance *= _inflation(series - line)
    if variance <= 0.0:
        return 1.0
    z = (abs(score) - 1.0) / math.sqrt(variance) if score else 0.0
    return math.erfc(max(z, 0.0) / math.sqrt(2.0))


def _inflation(residuals: Floats) -> float:
    """Return by how much autocorrelation widens the variance, at least 1.

    1 + 2 / (n (n-1) (n-2)) * sum over significant lags i of (n-i) (n-i-1) (n-i-2) * r(i), where r
    is the autocorrelation of the ranks of the residuals (Hamed and Rao 1998, equation 16). Lags up
    to a quarter of the points; a correction below 1 would only make alarms of noise.
    """
    count = len(residuals)
    if float(np.ptp(residuals)) <= _ROUNDING * float(np.abs(residuals).max(initial=1.0)):
        return 1.0
    ranks = np.argsort(np.argsort(residuals)).astype(np.float64)
    ranks -= ranks.mean()
    power = float((ranks * ranks).sum())
    lags = np.arange(1, count // 4 + 1)
    r = np.array([float((ranks[:-lag] * ranks[lag:]).sum()) / power for lag in lags])
    significant = np.abs(r) > 1.96 / math.sqrt(count)
    weights = (count - lags) * (count - lags - 1.0) * (count - lags - 2.0)
    extra = 2.0 / (count * (count - 1.0) * (count - 2.0)) * float((weights * r)[significant].sum())
    return max(1.0, 1.0 + extra)
