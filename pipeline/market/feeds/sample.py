"""The sample: real daily prices of five stocks, spread over each session by a seeded bridge.

Labelled derived: only a day's open, high, low, close and volume are real (`pipeline.market.data`).
"""

import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from pipeline.errors import UsageError
from pipeline.market.bridge import expand_day
from pipeline.market.data import Day, read_days
from pipeline.market.feed import MarketBar, Rejections
from pipeline.packets.models import Bar

__all__ = ["SampleFeed"]

# FB comes last: it began in May 2012, so four symbols or fewer have a longer common history.
_SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT", "FB")
_SESSION_S = 23_400  # 09:30 to 16:00 in New York
# Opening at 14:30 UTC all year round: New York's winter time, so that bars line up across days.
_OPENING = timedelta(hours=14, minutes=30)
_SECOND_US = 1_000_000


class SampleFeed:
    """Intraday bars of AAPL, GOOG, IBM, MSFT and FB, interleaved by time.

    Only days on which all chosen symbols were traded. A symbol's bars depend on seed, symbol, day
    and interval alone, not on what else is chosen (and on numpy keeping its random streams, as it
    does within a release).

    Args:
        symbols: How many of the five, all by default; or which.
        seed: Of the way prices take within a day.
        interval_s: Length of a bar; divides the session of 23,400 s into at least 2 bars.
        first_day: Days before are left out.
        last_day: Days after are left out.

    Raises:
        UsageError: If there are no such symbols, intervals or days.
    """

    def __init__(
        self,
        symbols: int | Sequence[str] | None = None,
        *,
        seed: int = 1,
        interval_s: int = 60,
        first_day: date = date(2011, 1, 1),
        last_day: date = date.max,
    ) -> None:
        if interval_s < 1 or _SESSION_S % interval_s or interval_s * 2 > _SESSION_S:
            raise UsageError(
                f"Expected an interval that divides {_SESSION_S} s into at least 2 bars, such as"
                f" 60 or 300, was {interval_s}"
            )
        self.symbols = _chosen(symbols)
        self.rejections = Rejections()
        self._seed = seed
        self._interval_s = interval_s
        self._days = _common_days(self.symbols, first_day, last_day)

    @property
    def label(self) -> str:
        """`sample-derived`."""
        return "sample-derived"

    @property
    def bars_per_day(self) -> int:
        """Bars of one symbol on one day."""
        return _SESSION_S // self._interval_s

    @property
    def expected_bars(self) -> int:
        """Bars of all symbols on all days."""
        return len(self._days) * len(self.symbols) * self.bars_per_day

    def __iter__(self) -> Iterator[MarketBar]:
        """Return the bars in order of time, made day by day."""
        for days in self._days:
            columns = [
                self._bars(symbol, day) for symbol, day in zip(self.symbols, days, strict=True)
            ]
            for row in zip(*columns, strict=True):
                yield from row

    def _bars(self, symbol: str, day: Day) -> list[MarketBar]:
        name = zlib.crc32(symbol.encode())
        rng = np.random.default_rng([self._seed, name, day.day.toordinal()])
        bars = expand_day(day[1:5], day.volume, self.bars_per_day, rng)
        opening = datetime.combine(day.day, datetime.min.time(), UTC) + _OPENING
        step_us = self._interval_s * _SECOND_US
        first_us = int(opening.timestamp()) * _SECOND_US + step_us
        columns = zip(
            bars.open.tolist(),
            bars.high.tolist(),
            bars.low.tolist(),
            bars.close.tolist(),
            bars.volume.astype(np.float64).tolist(),
            strict=True,
        )
        return [
            MarketBar(symbol, first_us + index * step_us, Bar(*column, self._interval_s))
            for index, column in enumerate(columns)
        ]


def _chosen(symbols: int | Sequence[str] | None) -> tuple[str, ...]:
    if symbols is None:
        return _SYMBOLS
    if isinstance(symbols, int):
        if not 1 <= symbols <= len(_SYMBOLS):
            raise UsageError(f"Expected 1 to {len(_SYMBOLS)} symbols of the sample, was {symbols}")
        return _SYMBOLS[:symbols]
    if not symbols or not set(symbols) <= set(_SYMBOLS):
        raise UsageError(f"Expected symbols of {', '.join(_SYMBOLS)}, was {', '.join(symbols)}")
    return tuple(symbols)


def _common_days(symbols: Sequence[str], first: date, last: date) -> list[tuple[Day, ...]]:
    history = read_days()
    by_day = [
        {day.day: day for day in history[name] if first <= day.day <= last} for name in symbols
    ]
    common = sorted(set.intersection(*(set(days) for days in by_day)))
    if not common:
        raise UsageError(
            f"Expected days of {', '.join(symbols)} from {first} to {last}, was none: the data ends"
            " on 2013-03-01"
        )
    return [tuple(days[day] for days in by_day) for day in common]
