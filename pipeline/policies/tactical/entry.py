"""Agent entry: whether this is the moment to go the strategic way, and at which price."""

import numpy as np

from pipeline.policies.actions import FloatArray, clip
from pipeline.policies.indicators import BarColumns
from pipeline.policies.tactical.fvg import NearestGaps
from pipeline.policies.tactical.settings import TacticalSettings

__all__ = ["average_price", "entry_price", "entry_score", "timeliness"]


def average_price(bars: BarColumns, settings: TacticalSettings) -> FloatArray:
    """Return the volume-weighted average price of the last `value_bars` bars ([n]).

    sum(p v) / sum(v) with p = (high + low + close) / 3 (Berkowitz, Logue and Noser, "The Total
    Cost of Transactions on the NYSE", 1988); the plain mean of p where nothing was traded.
    """
    last = slice(-settings.value_bars, None)
    typical = (bars.high[:, last] + bars.low[:, last] + bars.close[:, last]) / 3.0
    volume = bars.volume[:, last]
    total = volume.sum(axis=-1)
    traded = total > 0.0
    weighted = (typical * volume).sum(axis=-1) / np.where(traded, total, 1.0)
    average: FloatArray = np.where(traded, weighted, typical.sum(axis=-1) / settings.value_bars)
    return average


def timeliness(
    close: FloatArray,
    average: FloatArray,
    atr: FloatArray,
    direction: FloatArray,
    settings: TacticalSettings,
) -> FloatArray:
    """Return how timely an entry is, in (0, 1] ([n]).

    1 / (1 + e^2) with e = how far beyond `free_extension_atr` the price has run from its average
    in `direction` (+1 or -1), in ATR: buying after the run is late, after a pullback it is not.
    """
    # Without any range there is no run either, only the rounding of the average.
    extension = direction * (close - average) / np.where(atr > 0.0, atr, np.inf)
    late = np.maximum(extension - settings.free_extension_atr, 0.0)
    return 1.0 / (1.0 + late * late)


def entry_score(bias: FloatArray, timing: FloatArray, settings: TacticalSettings) -> FloatArray:
    """Return the strategic direction, discounted by its timing, in [-1, 1] ([n])."""
    return clip(settings.entry_gain * bias, -1.0, 1.0) * timing


def entry_price(
    close: FloatArray,
    reach: FloatArray,
    gaps: NearestGaps,
    timing: FloatArray,
    direction: FloatArray,
) -> FloatArray:
    """Return the price to enter at ([n], price units): at the close or a little behind it.

    A timely entry takes the close. The later it is, the further back it waits, up to `reach`;
    where an open gap's level lies within reach, it waits there, because prices tend to turn where
    a gap begins. Without direction (0) it is the close.

    Args:
        close: [n], price units.
        reach: [n], how far back the price may wait at most, price units.
        gaps: From `nearest_gaps`.
        timing: [n], from `timeliness`.
        direction: [n], +1, -1 or 0.
    """
    level = np.where(direction > 0.0, gaps.distance[0], gaps.distance[1])
    step = np.where(level <= reach, level, (1.0 - timing) * reach)
    # Half the price is a bound for markets so wild that the step would go below zero.
    return close - direction * np.minimum(step, 0.5 * close)
