"""What risk remembers of the market: marks, volatilities, and a short history of returns.

The history has one row per step. A step ends when a symbol that has already moved in it moves
again, so that bars of one moment stand in one row although they come one by one; a symbol that did
not move has a 0 there (previous-tick sampling). Returns are stored in units of the volatility that
was forecast for them, and scaled to today's when used: Hull and White, "Incorporating Volatility
Updating into the Historical Simulation Method for Value-at-Risk", 1998.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.policies.actions import FloatArray

__all__ = ["Market"]

_FAST = 0.94  # RiskMetrics' decay (J.P. Morgan, "RiskMetrics Technical Document", 1996)
_SLOW = 0.99
_LARGEST_SCALED = 8.0  # one broken bar must not fill the history
_FIRST_CAPACITY = 64


class Market:
    """Marks and returns of all symbols; changed by `update` alone.

    Args:
        history_bars: Steps that are remembered.
    """

    def __init__(self, history_bars: int) -> None:
        self._index: dict[str, int] = {}
        self._close: list[float] = []
        self._time: list[int] = []
        self._bars: list[int] = []
        self._fast: list[float] = []
        self._slow: list[float] = []
        self._volume: list[float] = []
        self._moved: list[int] = []
        self._step = 0
        self._scaled = np.zeros((history_bars, _FIRST_CAPACITY))

    def update(self, symbol: str, time_us: int, close: float, volume: float) -> tuple[float, float]:
        """Take in a bar, unless a newer one of the symbol is known.

        Args:
            symbol: Instrument.
            time_us: Event time, microseconds since the Unix epoch, UTC.
            close: > 0.
            volume: >= 0, units.

        Returns:
            The mark before and after; before is 0 for the first bar, and both are equal where the
            bar was too old to count.
        """
        position = self._position(symbol)
        before = self._close[position]
        if time_us < self._time[position]:
            return before, before
        if before > 0.0:
            self._learn(position, close / before - 1.0)
            self._volume[position] = _FAST * self._volume[position] + (1.0 - _FAST) * volume
        else:
            self._volume[position] = volume
        self._close[position] = close
        self._time[position] = time_us
        self._bars[position] += 1
        return before, close

    def mark(self, symbol: str) -> float:
        """Return the last close; 0 where there is none."""
        position = self._index.get(symbol)
        return 0.0 if position is None else self._close[position]

    def time_us(self, symbol: str) -> int:
        """Return the event time of the last bar; 0 where there is none."""
        position = self._index.get(symbol)
        return 0 if position is None else self._time[position]

    def bars(self, symbol: str) -> int:
        """Return how many bars were taken in."""
        position = self._index.get(symbol)
        return 0 if position is None else self._bars[position]

    def average_volume(self, symbol: str) -> float:
        """Return the exponential average of the bars' volumes, units."""
        position = self._index.get(symbol)
        return 0.0 if position is None else self._volume[position]

    def stress(self, symbol: str) -> float:
        """Return fast over slow volatility; 1 where either is not known."""
        position = self._index.get(symbol)
        if position is None or self._slow[position] <= 0.0:
            return 1.0
        return math.sqrt(self._fast[position] / self._slow[position])

    def history(self, symbols: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return the scaled returns [history_bars, k] and volatilities [k] of known symbols.

        Rows are in no order of time.

        Raises:
            KeyError: A symbol without a bar.
        """
        positions = [self._index[symbol] for symbol in symbols]
        fast = np.array([self._fast[position] for position in positions])
        return self._scaled.take(positions, axis=1), np.sqrt(fast)

    def dump(self) -> dict[str, Any]:
        """Return the content as plain values; exact."""
        known = len(self._index)
        return {
            "symbols": list(self._index),
            "close": self._close,
            "time": self._time,
            "bars": self._bars,
            "fast": self._fast,
            "slow": self._slow,
            "volume": self._volume,
            "moved": self._moved,
            "step": self._step,
            "history_bars": len(self._scaled),
            "scaled": np.ascontiguousarray(self._scaled[:, :known], dtype="<f8").tobytes(),
        }

    @classmethod
    def load(cls, content: dict[str, Any]) -> "Market":
        """Return the market that `content` is the dump of."""
        market = cls(content["history_bars"])
        market._index = {symbol: i for i, symbol in enumerate(content["symbols"])}
        for name in ("close", "time", "bars", "fast", "slow", "volume", "moved"):
            setattr(market, f"_{name}", list(content[name]))
        market._step = content["step"]
        known = len(market._index)
        market._grow(known)
        scaled = np.frombuffer(content["scaled"], dtype="<f8")
        market._scaled[:, :known] = scaled.reshape(content["history_bars"], known)
        return market

    def _position(self, symbol: str) -> int:
        position = self._index.get(symbol)
        if position is None:
            position = self._index[symbol] = len(self._index)
            self._grow(position + 1)
            for column in (self._close, self._fast, self._slow, self._volume):
                column.append(0.0)
            for counter in (self._time, self._bars):
                counter.append(0)
            self._moved.append(-1)
        return position

    def _grow(self, known: int) -> None:
        rows, capacity = self._scaled.shape
        if known > capacity:
            larger = np.zeros((rows, max(known, 2 * capacity)))
            larger[:, :capacity] = self._scaled
            self._scaled = larger

    def _learn(self, position: int, change: float) -> None:
        if self._moved[position] == self._step:
            self._step += 1
            self._scaled[self._step % len(self._scaled)] = 0.0
        self._moved[position] = self._step
        fast, square = self._fast[position], change * change
        scaled = change / math.sqrt(fast) if fast > 0.0 else 0.0
        bounded = max(-_LARGEST_SCALED, min(_LARGEST_SCALED, scaled))
        self._scaled[self._step % len(self._scaled), position] = bounded
        self._fast[position] = _FAST * fast + (1.0 - _FAST) * square if fast > 0.0 else square
        slow = self._slow[position]
        self._slow[position] = _SLOW * slow + (1.0 - _SLOW) * square if slow > 0.0 else square
