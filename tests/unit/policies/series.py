"""Made-up bars for the tests of the policies: seeded regimes, windows cut from them."""

import numpy as np

from pipeline.policies.actions import FloatArray, IntArray

MINUTE_US = 60_000_000
START_US = 1_700_000_000_000_000

# Drift per bar in units of volatility, volatility per bar, chance to leave the regime per bar.
_REGIMES = (
    (0.0, 0.0008, 0.02),
    (0.35, 0.0010, 0.04),
    (-0.35, 0.0010, 0.04),
    (0.0, 0.0020, 0.05),
)


def bars(count: int, seed: int, start_price: float = 100.0) -> FloatArray:
    """Return one-minute bars [count, 5] that switch between calm, two trends and wild."""
    rng = np.random.default_rng(seed)
    rows, price, regime = [], start_price, 0
    for _ in range(count):
        drift, volatility, leave = _REGIMES[regime]
        if rng.random() < leave:
            regime = int(rng.integers(len(_REGIMES)))
        steps = drift * volatility / 8 + volatility / 8**0.5 * rng.standard_normal(8)
        path = price * np.exp(np.concatenate(([0.0], np.cumsum(steps))))
        volume = rng.lognormal(8.0, 0.5) * (1.0 + 400.0 * abs(path[-1] / price - 1.0))
        rows.append((price, path.max(), path.min(), path[-1], volume))
        price = float(path[-1])
    return np.array(rows)


def windows_of(series: FloatArray, width: int) -> tuple[FloatArray, IntArray, IntArray]:
    """Return every full window of a series, their counts and event times."""
    count = len(series) - width + 1
    rows = np.arange(count)[:, None] + np.arange(width)
    last = np.arange(width - 1, len(series), dtype=np.int64)
    return (
        np.ascontiguousarray(series[rows]),
        np.full(count, width),
        START_US + last * MINUTE_US,
    )


def random_windows(count: int, width: int, seed: int) -> tuple[FloatArray, IntArray, IntArray]:
    """Return unrelated full windows at all price levels, volatilities and times of day."""
    rng = np.random.default_rng(seed)
    volatility = 10.0 ** rng.uniform(-4, -2, (count, 1))
    drift = volatility * rng.normal(0.0, 0.3, (count, 1))
    moves = rng.normal(drift, volatility * rng.choice([0.5, 1.0, 2.0], (count, width)))
    close = 10.0 ** rng.uniform(0, 4, (count, 1)) * np.exp(np.cumsum(moves, axis=1))
    opened = np.concatenate((close[:, :1], close[:, :-1]), axis=1)
    above = 1.0 + volatility * rng.exponential(0.3, (count, width))
    below = 1.0 - volatility * rng.exponential(0.3, (count, width))
    high, low = np.maximum(opened, close) * above, np.minimum(opened, close) * below
    volume = rng.lognormal(6.0, 1.0, (count, width))
    windows = np.stack((opened, high, low, close, volume), axis=-1)
    times = START_US + rng.integers(0, 86_400_000_000, count)
    return np.ascontiguousarray(windows), np.full(count, width), times
