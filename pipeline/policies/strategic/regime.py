"""Agent regime: volatility and trend state, which gates the other two."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.policies.actions import FloatArray, clip, squash
from pipeline.policies.indicators import BarColumns
from pipeline.policies.strategic.features import Features, node_distance
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["REGIMES", "RegimeCode", "efficiency_ratio", "regime_score"]


class RegimeCode(IntEnum):
    """Volatility and trend state, as it stands in arrays."""

    WARMUP = 0
    TREND_UP = 1
    TREND_DOWN = 2
    RANGE = 3
    HIGH_VOLATILITY = 4


REGIMES = tuple(code.name for code in RegimeCode)

_UP, _DOWN, _RANGE, _HIGH = (np.int8(code) for code in list(RegimeCode)[1:])


def efficiency_ratio(close: FloatArray, bars: int) -> FloatArray:
    """Return net move / sum of moves over the last bars, in [-1, 1] (close: [n, W] to [n]).

    +1 is a straight way up, -1 a straight way down, 0 no net move (Kaufman, "Smarter Trading",
    1995, where it has no sign).
    """
    recent = close[:, -bars - 1 :]
    way = np.abs(recent[:, 1:] - recent[:, :-1]).sum(axis=-1)
    ratio: FloatArray = (recent[:, -1] - recent[:, 0]) / np.where(way > 0.0, way, 1.0)
    return ratio


def regime_score(
    bars: BarColumns, shared: Features, settings: StrategicSettings
) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return the regime of each row and the direction it speaks for ([n] each).

    HIGH_VOLATILITY: volatility above `max_volatility` or above `high_volatility_ratio` times that
    of the window, the latter scaled by the activity expected at this time of day. Else a trend
    where the efficiency ratio reaches `trend_threshold`, else RANGE. Trends speak for going with
    them, high volatility does so feebly; in a range the score is the pull towards the nearest
    volume node, whose distance is measured in volatilities over `trend_bars` bars.
    """
    ratio = efficiency_ratio(bars.close, settings.trend_bars)
    limit = settings.high_volatility_ratio * shared.activity * shared.baseline
    high = (shared.volatility > limit) | (shared.volatility > settings.max_volatility)
    trending = np.abs(ratio) >= settings.trend_threshold
    trend = np.where(ratio > 0.0, _UP, _DOWN)
    code = np.where(high, _HIGH, np.where(trending, trend, _RANGE))

    unit = shared.volatility * settings.trend_bars**0.5
    pull = settings.range_gain * squash(node_distance(bars, settings) / unit)
    score = np.where(trending, clip(settings.trend_gain * ratio, -1.0, 1.0), pull)
    feeble = clip(settings.high_volatility_gain * ratio, -1.0, 1.0)
    return code, np.where(high, feeble, score)
