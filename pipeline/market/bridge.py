"""Intraday bars from a daily one: a seeded Brownian bridge that keeps the day's figures exactly.

A day's open, high, low, close and volume leave open how the price went. This draws one way that
fits: first open, highest high, lowest low, last close and total volume are the day's own, to the
last bit; all between is made up and must be labelled derived.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["IntradayBars", "expand_day"]

_STEPS = 8  # points of the path per bar: enough for wicks on both ends
_CENT = 2
_LEAST_BARS = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class IntradayBars:
    """Bars of one day; arrays of the same length, oldest first.

    Attributes:
        open: First price of each bar.
        high: Highest.
        low: Lowest.
        close: Last.
        volume: Units traded, whole numbers.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: NDArray[np.int64]


def expand_day(
    prices: tuple[float, float, float, float], volume: int, bars: int, rng: np.random.Generator
) -> IntradayBars:
    """Return `bars` bars that together make up the day.

    1. A Brownian path over the logarithm of price, its variance and the volume higher at both ends
       of the session (Wood, McInish and Ord 1985), scaled by the day's range,
       sigma = ln(high / low) / (2 sqrt(ln 2)) (Parkinson 1980).
    2. Where it is highest and lowest, the day's high and low are put. Between open, those two and
       close it is tied down: x(t) + straight line between the errors at both ends (Brownian
       bridge), and reflected at high and low.
    3. Prices are rounded to the cent, and the four known ones put in as they are.
    4. Each bar's volume is its share of the total by time of day, move and chance, in whole units
       by the largest remainder.

    Args:
        prices: Open, high, low, close of the day; low <= open, close <= high, all positive.
        volume: Units traded over the day.
        bars: How many bars, at least 2.
        rng: Where chance comes from.

    Raises:
        ValueError: Prices that contradict one another, or too few bars.
    """
    opened, high, low, close = prices
    if not 0.0 < low <= min(opened, close) <= max(opened, close) <= high < math.inf:
        raise ValueError(f"Expected 0 < low <= open, close <= high, was {prices}")
    if bars < _LEAST_BARS or volume < 0:
        raise ValueError(f"Expected >= 2 bars and volume >= 0, was {bars} and {volume}")
    weights = _u_shape(bars)
    path = _path(prices, np.repeat(weights / _STEPS, _STEPS), rng)
    # Each bar spans its points and the one that it shares with the bar before.
    inner = path[1:].reshape(bars, _STEPS)
    firsts, lasts = path[:-1:_STEPS], path[_STEPS::_STEPS]
    return IntradayBars(
        open=firsts.copy(),
        high=np.maximum(firsts, inner.max(axis=1)),
        low=np.minimum(firsts, inner.min(axis=1)),
        close=lasts.copy(),
        volume=_volumes(volume, weights, lasts - firsts, rng),
    )


def _u_shape(bars: int) -> Floats:
    """Return the share of the day's activity in each bar: 1 at noon, 3.5 at open and close."""
    middle = (np.arange(bars) + 0.5) / bars * 2.0 - 1.0
    weights: Floats = 1.0 + 2.5 * middle**4
    weights /= weights.sum()
    return weights


def _path(
    prices: tuple[float, float, float, float], variance: Floats, rng: np.random.Generator
) -> Floats:
    opened, high, low, close = prices
    sigma = math.log(high / low) / (2.0 * math.sqrt(math.log(2.0)))
    walk = np.zeros(len(variance) + 1)
    np.cumsum(rng.standard_normal(len(variance)) * np.sqrt(variance) * sigma, out=walk[1:])
    walk += np.linspace(0.0, math.log(close / opened) - walk[-1], len(walk))
    anchors = _anchors(prices, walk)
    known = sorted(anchors)
    errors = [math.log(anchors[index] / opened) - walk[index] for index in known]
    walk += np.interp(np.arange(len(walk)), known, errors)
    path = np.round(opened * np.exp(_reflected(walk, opened, high, low)), _CENT)
    np.clip(path, low, high, out=path)
    for index, price in anchors.items():
        path[index] = price
    return path


def _anchors(prices: tuple[float, float, float, float], walk: Floats) -> dict[int, float]:
    """Return the known prices by index of the path."""
    opened, high, low, close = prices
    inner = walk[1:-1]
    top, bottom = 1 + int(inner.argmax()), 1 + int(inner.argmin())
    anchors = {0: opened, len(walk) - 1: close}
    # A high or low that is the open or the close needs no point of its own.
    if high > max(opened, close):
        anchors[top] = high
    if low < min(opened, close):
        anchors[bottom] = low
    return anchors


def _reflected(walk: Floats, opened: float, high: float, low: float) -> Floats:
    top, bottom = math.log(high / opened), math.log(low / opened)
    mirrored = np.where(walk > top, 2.0 * top - walk, walk)
    return np.where(mirrored < bottom, 2.0 * bottom - mirrored, mirrored)


def _volumes(
    total: int, weights: Floats, moves: Floats, rng: np.random.Generator
) -> NDArray[np.int64]:
    typical = float(np.abs(moves).mean())
    activity = 1.0 + (np.abs(moves) / typical if typical > 0.0 else 0.0)
    shares = weights * activity * np.exp(0.4 * rng.standard_normal(len(weights)))
    exact = shares / shares.sum() * total
    volumes: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(volumes - exact, kind="stable")
    volumes[order[: total - int(volumes.sum())]] += 1
    return volumes
