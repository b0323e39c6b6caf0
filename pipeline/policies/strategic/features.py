"""What several strategic agents look at: returns, volatility, time of day, volume nodes."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.indicators import BarColumns, ewma_weights, weighted_last
from pipeline.policies.strategic.settings import StrategicSettings

__all__ = ["Features", "features", "node_distance", "season", "season_factors", "time_of_day"]

_DAY_US = 86_400_000_000
# Keeps quotients finite for prices that do not move; far below any tick of a real market.
_MIN_VOLATILITY = 1e-9


@dataclass(frozen=True, slots=True)
class Features:
    """Shared features of a batch.

    Attributes:
        returns: [n, W - 1], close[i + 1] / close[i] - 1.
        volatility: [n], of one bar now (a ratio, not percent), at least 1e-9.
        baseline: [n], root mean square return of the window, at least 1e-9.
        activity: [n], activity expected at this time of day; 1 on the average of a day.
        forecast: [n], volatility per bar expected for the near future.
    """

    returns: FloatArray
    volatility: FloatArray
    baseline: FloatArray
    activity: FloatArray
    forecast: FloatArray


def features(bars: BarColumns, event_time_us: IntArray, settings: StrategicSettings) -> Features:
    """Work out the shared features.

    Volatility is the root of an exponentially weighted mean of squared returns (J.P. Morgan,
    "RiskMetrics Technical Document", 1996). The forecast moves it along the daily curve of
    activity, a first-order Fourier form (Andersen and Bollerslev, "Intraday periodicity and
    volatility persistence in financial markets", 1997).
    """
    returns = bars.close[:, 1:] / bars.close[:, :-1] - 1.0
    squares = returns * returns
    length = returns.shape[1]
    weights = ewma_weights(length, settings.volatility_decay)
    volatility = np.maximum(np.sqrt(weighted_last(squares, weights)), _MIN_VOLATILITY)
    baseline = np.maximum(np.sqrt(squares.sum(axis=-1) / length), _MIN_VOLATILITY)
    activity, later = season(event_time_us, settings)
    return Features(returns, volatility, baseline, activity, volatility * (later / activity))


def season(event_time_us: IntArray, settings: StrategicSettings) -> tuple[FloatArray, FloatArray]:
    """Return the expected activity at a time of day and `season_horizon_s` later ([n] each).

    1 + a sin(x) + b cos(x), x = 2 pi t / day with t since midnight UTC; the later value by the
    addition theorem, so sine and cosine are taken once.
    """
    sine, cosine = time_of_day(event_time_us)
    a, b, later_a, later_b = season_factors(
        settings.season_sine, settings.season_cosine, settings.season_horizon_s
    )
    return 1.0 + a * sine + b * cosine, 1.0 + later_a * sine + later_b * cosine


def time_of_day(event_time_us: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return sine and cosine of the angle of a time of day, midnight UTC at 0 ([n] each)."""
    angle = (np.asarray(event_time_us) % _DAY_US) * (2.0 * math.pi / _DAY_US)
    return np.sin(angle), np.cos(angle)


@functools.lru_cache(maxsize=64)
def season_factors(a: float, b: float, horizon_s: float) -> tuple[float, float, float, float]:
    """Return the factors of sine and cosine now, and those of `horizon_s` seconds later."""
    turn = 2.0 * math.pi * horizon_s * 1e6 / _DAY_US
    sine, cosine = math.sin(turn), math.cos(turn)
    return a, b, a * cosine - b * sine, a * sine + b * cosine


def node_distance(bars: BarColumns, settings: StrategicSettings) -> FloatArray:
    """Return the way from the close to the nearest volume node, relative to the close ([n]).

    The volume profile (Steidlmayer, "Markets and Market Logic", 1986) puts each bar's volume into
    the price bin of (high + low + close) / 3; a node is a bin with at least `node_share` of the
    largest bin's volume. Positive: the node lies above. Ties go to the lower node. 0 without
    volume.
    """
    size = settings.volume_bins
    typical = (bars.high + bars.low + bars.close) / 3.0
    bottom = typical.min(axis=-1)
    step = (typical.max(axis=-1) - bottom) / size
    flat_step = np.where(step > 0.0, step, 1.0)
    bins = ((typical - bottom[:, None]) / flat_step[:, None]).astype(np.int64)
    np.minimum(bins, size - 1, out=bins)
    rows = len(typical)
    bins += np.arange(0, rows * size, size)[:, None]
    profile = np.bincount(bins.ravel(), bars.volume.ravel(), rows * size).reshape(rows, size)
    largest = profile.max(axis=-1)
    close = bars.close[:, -1]
    ways = (bottom[:, None] + step[:, None] * _bin_centres(size)) - close[:, None]
    reach = np.where(profile >= settings.node_share * largest[:, None], np.abs(ways), np.inf)
    nearest: FloatArray = ways.ravel()[reach.argmin(axis=-1) + np.arange(0, rows * size, size)]
    way: FloatArray = np.where(largest > 0.0, nearest, 0.0)
    return way / close


@functools.lru_cache(maxsize=64)
def _bin_centres(size: int) -> FloatArray:
    return np.arange(size, dtype=np.float64) + 0.5
