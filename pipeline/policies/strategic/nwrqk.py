"""Agent nwrqk: where a kernel regression of the price stands and where it is going."""

import functools
import math

import numpy as np

from pipeline.policies.actions import FloatArray, squash
from pipeline.policies.indicators import weighted_last
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["kernel_estimates", "kernel_weights", "nwrqk_score"]


def kernel_estimates(close: FloatArray, settings: StrategicSettings) -> tuple[FloatArray, ...]:
    """Return the kernel estimates of the price at the last bar and `slope_bars` before it.

    y = sum K(j) close[t - j] / sum K(j) over the lags j (Nadaraya, "On Estimating Regression",
    1964; Watson, "Smooth Regression Analysis", 1964) with the rational quadratic kernel
    K(d) = (1 + d^2 / (2 alpha l^2))^-alpha (Rasmussen and Williams, "Gaussian Processes for
    Machine Learning", 2006, eq. 4.19). Only past bars are looked at, so an estimate is never
    repainted. Both estimates span `width` - `slope_bars` bars.

    Args:
        close: [n, W].
        settings: See `StrategicSettings`.

    Returns:
        Now and before, [n] each, in price units.
    """
    weights = kernel_weights(
        close.shape[1] - settings.slope_bars, settings.kernel_length_bars, settings.kernel_alpha
    )
    return (
        weighted_last(close, weights),
        weighted_last(close[:, : -settings.slope_bars], weights),
    )


def nwrqk_score(
    close: FloatArray, volatility: FloatArray, settings: StrategicSettings
) -> FloatArray:
    """Return the direction that the kernel regression speaks for, in (-1, 1).

    x / (1 + |x|) with x = slope_gain * slope + value_gain * (price - estimate), both in units of
    the volatility per bar: a rising estimate and a price above it speak for BUY.

    Args:
        close: [n, W].
        volatility: [n], per bar, positive.
        settings: See `StrategicSettings`.

    Returns:
        [n].
    """
    now, before = kernel_estimates(close, settings)
    last = close[:, -1]
    unit = volatility * last
    slope = (now - before) / (settings.slope_bars * unit)
    value = (last - now) / unit
    return squash(settings.slope_gain * slope + settings.value_gain * value)


@functools.lru_cache(maxsize=64)
def kernel_weights(length: int, length_bars: float, alpha: float) -> FloatArray:
    """Return the kernel at the last `length` bars, oldest first, summing to 1."""
    raw = [(1.0 + lag**2 / (2.0 * alpha * length_bars**2)) ** -alpha for lag in range(length)]
    total = math.fsum(raw)
    return np.array([value / total for value in reversed(raw)])
