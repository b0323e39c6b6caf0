"""Made-up bars of any number of symbols: a seeded random walk that changes its regime."""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.market.feed import MarketBar, Rejections
from pipeline.packets.models import Bar

__all__ = ["MarketRegime", "SyntheticFeed"]

_MOST_SYMBOLS = 10_000
_START_US = 1_704_205_800_000_000  # 2024-01-02 14:30 UTC
_SECOND_US = 1_000_000
_LEAST_PRICE = 0.0001
_PLACES = 4
# Pulls the logarithm of price back to where it began, so that no price is lost at 0 or infinity.
_PULL = 2e-5
_RANGE_PULL = 0.05

Floats = NDArray[np.float64]


class MarketRegime(IntEnum):
    """What a synthetic symbol is doing."""

    TREND_UP = 0
    TREND_DOWN = 1
    RANGE = 2
    HIGH_VOLATILITY = 3
    CRASH = 4


# By regime: drift and volatility of a bar's log return, volume as a multiple of the usual.
_DRIFT = np.array([4e-4, -4e-4, 0.0, 0.0, -6e-3])
_VOLATILITY = np.array([8e-4, 8e-4, 6e-4, 2.5e-3, 4e-3])
_VOLUME = np.array([1.2, 1.2, 0.8, 2.0, 5.0])
# By regime: chance that it ends with a bar (mean lengths 80, 80, 120, 40 and 8 bars) and, if so,
# the chances of what comes next, cumulated.
_END = 1.0 / np.array([80.0, 80.0, 120.0, 40.0, 8.0])
_NEXT = np.cumsum(
    [
        [0.00, 0.20, 0.55, 0.20, 0.05],
        [0.20, 0.00, 0.55, 0.20, 0.05],
        [0.40, 0.40, 0.00, 0.19, 0.01],
        [0.25, 0.25, 0.40, 0.00, 0.10],
        [0.10, 0.10, 0.10, 0.70, 0.00],
    ],
    axis=1,
)


class SyntheticFeed:
    """Bars of symbols SYN00000, SYN00001 and so on, interleaved by time, without end.

    The logarithm of price walks: log close' = log close + drift(regime) + volatility(regime) * z -
    pull. Regimes follow a Markov chain of their own per symbol; in RANGE price is pulled back to
    where the regime began. High and low go beyond open and close by half-normal amounts.

    Args:
        symbols: How many, 1 to 10,000.
        seed: Of everything.
        interval_s: Length of a bar, seconds.
        bars: Bars in all; None for no end.

    Raises:
        UsageError: A number of symbols that is out of range.
    """

    def __init__(
        self,
        symbols: int = 10,
        *,
        seed: int = 1,
        interval_s: int = 60,
        bars: int | None = None,
    ) -> None:
        if not 1 <= symbols <= _MOST_SYMBOLS:
            raise UsageError(f"Expected 1 to {_MOST_SYMBOLS:,} synthetic symbols, was {symbols}")
        if interval_s < 1:
            raise UsageError(f"Expected an interval of at least 1 s, was {interval_s}")
        self.symbols = tuple(f"SYN{index:05d}" for index in range(symbols))
        self.rejections = Rejections()
        self._seed = seed
        self._interval_s = interval_s
        self._bars = bars

    @property
    def label(self) -> str:
        """`synthetic`."""
        return "synthetic"

    @property
    def expected_bars(self) -> int | None:
        """Bars in all, if there is an end."""
        return self._bars

    def __iter__(self) -> Iterator[MarketBar]:
        """Return the bars, one step of all symbols after another."""
        left = self._bars
        walk = _Walk(len(self.symbols), np.random.default_rng(self._seed))
        time_us = _START_US
        while left is None or left > 0:
            time_us += self._interval_s * _SECOND_US
            columns = zip(self.symbols, *(column.tolist() for column in walk.step()), strict=True)
            for symbol, opened, high, low, close, volume in columns:
                if left is not None:
                    left -= 1
                    if left < 0:
                        return
                bar = Bar(opened, high, low, close, volume, self._interval_s)
                yield MarketBar(symbol, time_us, bar)

    def regimes(self, steps: int) -> NDArray[np.int64]:
        """Return the regime of each symbol in each of the first steps, shape (steps, symbols)."""
        walk = _Walk(len(self.symbols), np.random.default_rng(self._seed))
        rows = np.empty((steps, len(self.symbols)), dtype=np.int64)
        for row in rows:
            walk.step()
            row[:] = walk.regime
        return rows


class _Walk:
    """All symbols' prices and regimes; one step is one bar of each."""

    def __init__(self, symbols: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self.regime = rng.integers(0, MarketRegime.CRASH, symbols)
        self._start = np.log(rng.uniform(20.0, 400.0, symbols))
        self._log_price = self._start.copy()
        self._anchor = self._start.copy()
        self._usual_volume = np.exp(rng.normal(9.0, 1.0, symbols))
        self._last = self._price(self._log_price)

    def step(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Return open, high, low, close and volume of the next bar of each symbol."""
        rng, symbols = self._rng, len(self._log_price)
        self._switch(rng.random(symbols), rng.random(symbols))
        volatility = _VOLATILITY[self.regime]
        moves, up, down, chance = rng.standard_normal((4, symbols))
        self._log_price += _DRIFT[self.regime] + volatility * moves + self._pull()
        opened, close = self._last, self._price(self._log_price)
        wick = 0.5 * volatility
        high = self._price(np.log(np.maximum(opened, close)) + wick * np.abs(up))
        low = self._price(np.log(np.minimum(opened, close)) - wick * np.abs(down))
        self._last = close
        volume = np.rint(
            self._usual_volume
            * _VOLUME[self.regime]
            * (1.0 + 0.5 * np.abs(moves))
            * np.exp(0.3 * chance)
        )
        high, low = (
            np.maximum.reduce([high, opened, close]),
            np.minimum.reduce([low, opened, close]),
        )
        return opened, high, low, close, volume

    def _switch(self, ends: Floats, chance: Floats) -> None:
        ended = ends < _END[self.regime]
        # The last column of the cumulated chances is 1 up to rounding: never look past it.
        following = (chance[:, None] >= _NEXT[self.regime][:, :-1]).sum(axis=1)
        self.regime = np.where(ended, following, self.regime)
        self._anchor = np.where(ended, self._log_price, self._anchor)

    def _pull(self) -> Floats:
        to_start = _PULL * (self._start - self._log_price)
        to_anchor = _RANGE_PULL * (self._anchor - self._log_price)
        return to_start + np.where(self.regime == MarketRegime.RANGE, to_anchor, 0.0)

    @staticmethod
    def _price(log_price: Floats) -> Floats:
        price: Floats = np.maximum(np.round(np.exp(log_price), _PLACES), _LEAST_PRICE)
        return price
