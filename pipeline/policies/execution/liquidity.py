"""Liquidity sourcing: how much the market takes, and what that costs."""

import math

from pipeline.policies.execution.monitor import SymbolState
from pipeline.policies.execution.reasons import ExecutionReason
from pipeline.policies.execution.settings import ExecutionSettings
from pipeline.policies.execution.views import EXECUTE, HOLD, View

__all__ = [
    "LIQUIDITY",
    "expected_slippage",
    "expected_volume",
    "impact",
    "liquidity",
    "widest_spread",
]

LIQUIDITY = "liquidity_sourcing"


def expected_volume(bar_volume: float, average: float) -> float:
    """Return the volume of the next bar: the smaller of the last and the average, units.

    The smaller one, since volume that is not there costs more than volume that was not used.
    Without an average, the last.
    """
    return min(bar_volume, average) if average > 0.0 else bar_volume


def impact(quantity: float, volume: float, volatility: float, settings: ExecutionSettings) -> float:
    """Return the temporary impact of a slice, share of the price: eta sigma sqrt(Q / V).

    Almgren, Thum, Hauptmann and Li, "Direct Estimation of Equity Market Impact", 2005, measure an
    exponent of 0.600 +- 0.038; the square root is the usual round value and the dearer one for
    slices below the volume. Infinite without volume.

    Args:
        quantity: Q, units.
        volume: V, units.
        volatility: sigma, of one bar.
        settings: eta.
    """
    if volume <= 0.0:
        return math.inf
    return settings.impact_coefficient * volatility * math.sqrt(quantity / volume)


def expected_slippage(
    quantity: float,
    volume: float,
    volatility: float,
    half_spread: float,
    settings: ExecutionSettings,
) -> float:
    """Return what a slice is expected to cost against the reference, share of the price."""
    return half_spread + impact(quantity, volume, volatility, settings)


def widest_spread(symbol: SymbolState, settings: ExecutionSettings) -> float:
    """Return the widest spread to trade at, share of the price.

    A multiple of the symbol's own average, once that is known, so that a jump is not traded into
    whatever the interval of the bars; never more than the absolute limit.
    """
    if symbol.bars < settings.spread_bars:
        return settings.maximum_spread
    return min(settings.maximum_spread, settings.spread_multiple * 2.0 * symbol.half_spread)


def liquidity(
    volume: float, half_spread: float, symbol: SymbolState, settings: ExecutionSettings
) -> View:
    """Return the liquidity agent's view: hold where nothing trades or the spread is too wide."""
    if volume < settings.minimum_volume:
        short = 1.0 - volume / settings.minimum_volume
        return View(LIQUIDITY, HOLD, short, (ExecutionReason.NO_LIQUIDITY,))
    wide = 2.0 * half_spread / widest_spread(symbol, settings)
    if wide > 1.0:
        return View(LIQUIDITY, HOLD, wide - 1.0, (ExecutionReason.WIDE_SPREAD,))
    return View(LIQUIDITY, EXECUTE, 1.0 - wide)
