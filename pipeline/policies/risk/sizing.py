"""Position sizing and stop/target: what depends on the signal alone, for a whole round at once.

Everything is a share of equity, so nothing here depends on the fills in between. Only operations
that IEEE 754 rounds exactly are used, element by element: a row's result is the same to the last
bit in whatever round it comes.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.policies.actions import BoolArray, FloatArray, IntArray
from pipeline.policies.risk.settings import RiskSettings

__all__ = ["SizingBatch", "daytime_scale", "kelly_stake", "size", "stop_and_target"]

_DAY_US = 86_400_000_000
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class SizingBatch:
    """Sizes, one per row; 0 where there is none.

    Attributes:
        stop: [n], price.
        target: [n], price.
        stop_distance: [n], share of the price.
        volatility_share: [n], position by volatility target, share of equity.
        kelly_share: [n], position by capped fractional Kelly, share of equity.
        share: [n], the position to open: the smaller of both, scaled by regime and time of day.
    """

    stop: FloatArray
    target: FloatArray
    stop_distance: FloatArray
    volatility_share: FloatArray
    kelly_share: FloatArray
    share: FloatArray


def stop_and_target(
    price: FloatArray, atr: FloatArray, direction: IntArray, settings: RiskSettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return stop, target and the stop's distance as a share of the price.

    stop = p - d m_s ATR, target = p + d m_t ATR, with d = 1 for a buy and -1 for a sale (Wilder,
    "New Concepts in Technical Trading Systems", 1978). A target of a sale below zero is zero.

    Args:
        price: [n], reference price, > 0.
        atr: [n], average true range, price units, >= 0.
        direction: [n], 1 or -1.
        settings: Multiples.
    """
    distance = settings.stop_multiple * atr
    stop = np.maximum(price - direction * distance, 0.0)
    target = np.maximum(price + direction * (settings.target_multiple * atr), 0.0)
    return stop, target, distance / price


def kelly_stake(probability: FloatArray, settings: RiskSettings) -> FloatArray:
    """Return the share of equity to stake on the way to the stop.

    Kelly's f* = p - (1 - p) / b for a bet that wins b with probability p and loses 1 otherwise
    (Kelly, "A New Interpretation of Information Rate", 1956), b = m_t / m_s; then a fraction of
    it, capped.

    Args:
        probability: [n], p, in [0, 1].
        settings: Multiples, fraction and cap.
    """
    odds = settings.target_multiple / settings.stop_multiple
    best = np.maximum(probability - (1.0 - probability) / odds, 0.0)
    return np.minimum(settings.kelly_fraction * best, settings.kelly_cap)


def daytime_scale(event_time_us: IntArray, settings: RiskSettings) -> FloatArray:
    """Return the size by time of day: smaller just after the open and just before the close.

    Volatility and spreads are highest there (Admati and Pfleiderer, "A Theory of Intraday
    Patterns", 1988).

    Args:
        event_time_us: [n], microseconds since the Unix epoch, UTC.
        settings: Session and edges.
    """
    second = (event_time_us % _DAY_US) // _SECOND_US
    since_open = second - settings.session_open_s
    before_close = settings.session_close_s - second
    opening = (since_open >= 0) & (since_open < settings.edge_s)
    closing = (before_close > 0) & (before_close <= settings.edge_s)
    return np.where(opening | closing, settings.edge_scale, 1.0)


def size(
    *,
    price: FloatArray,
    atr: FloatArray,
    probability: FloatArray,
    volatility: FloatArray,
    direction: IntArray,
    high_volatility: BoolArray,
    event_time_us: IntArray,
    settings: RiskSettings,
) -> SizingBatch:
    """Return how much of equity to put into each signal, by two rules and the smaller of both.

    Volatility target: w = s / sigma, so that each position adds the same standard deviation s a
    bar (Moskowitz, Ooi and Pedersen, "Time Series Momentum", 2012). Kelly: w = stake / distance of
    the stop. Both are capped at `maximum_order`; a row without volatility, true range or price
    gets 0.

    Args:
        price: [n], reference price.
        atr: [n], average true range, price units.
        probability: [n], of the signal's action.
        volatility: [n], standard deviation of the return of one bar.
        direction: [n], 1 to buy, -1 to sell.
        high_volatility: [n], whether the regime is HIGH_VOLATILITY.
        event_time_us: [n], microseconds since the Unix epoch, UTC.
        settings: Limits.
    """
    with np.errstate(all="ignore"):
        stop, target, distance = stop_and_target(price, atr, direction, settings)
        known = (price > 0.0) & (atr > 0.0) & (volatility > 0.0) & (stop >= 0.0)
        by_volatility = np.where(known, settings.target_bar_risk / volatility, 0.0)
        by_kelly = np.where(known, kelly_stake(probability, settings) / distance, 0.0)
    by_volatility = np.minimum(by_volatility, settings.maximum_order)
    by_kelly = np.minimum(by_kelly, settings.maximum_order)
    regime = np.where(high_volatility, settings.high_volatility_scale, 1.0)
    scale = regime * daytime_scale(event_time_us, settings)
    share = np.minimum(by_volatility, by_kelly) * scale
    return SizingBatch(stop, target, distance, by_volatility, by_kelly, share)
