"""From the rows of a table to bars: what both file feeds check, one row at a time."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from typing import Any

from msgspec import structs

from pipeline.errors import ConfigurationError
from pipeline.market.feed import MarketBar, Rejections
from pipeline.packets.models import Bar

__all__ = ["COLUMNS", "RowReader", "find_columns"]

COLUMNS = ("time", "symbol", "open", "high", "low", "close", "volume")
_PRICES = ("open", "high", "low", "close")
_LONGEST_SYMBOL = 128
_LARGEST = 1e300
_LOOK_AHEAD = 1000
_DEFAULT_INTERVAL_S = 60
_SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST_US = 253_402_300_799_999_999  # the end of the year 9999
# Epoch times by size, unit in microseconds: seconds reach 1e11 in the year 5138, and so on.
_UNITS = ((1e11, 1_000_000.0), (1e14, 1000.0), (1e17, 1.0), (math.inf, 0.001))
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")

Row = tuple[int, Mapping[str, Any]]


class _BadCell(Exception):
    """What was wrong, and in which column."""

    def __init__(self, column: str, expected: str, value: object) -> None:
        was = "nothing" if value is None or value == "" else repr(value)[:60]
        super().__init__(f"Expected {expected}, was {was}")
        self.column = column


def find_columns(found: Iterable[str], place: str) -> dict[str, str]:
    """Return the name in the file of each column needed, whatever its case.

    Args:
        found: Names in the file.
        place: The file, for the message.

    Raises:
        ConfigurationError: If columns are missing; names those found and those missing.
    """
    names = list(found)
    by_plain_name = {name.strip().lower(): name for name in reversed(names)}
    if missing := [name for name in COLUMNS if name not in by_plain_name]:
        raise ConfigurationError(
            f"Expected columns {', '.join(COLUMNS)}, was {', '.join(names) or 'none'}, at {place}."
            f" Missing: {', '.join(missing)}. Add or rename them."
        )
    return {name: by_plain_name[name] for name in COLUMNS}


class RowReader:
    """Turns rows into bars and leaves out those that cannot be used.

    A row is left out where a cell cannot be read, a number is not finite, a price not positive,
    high or low contradict the others, or its time lies before the last good row's, or is one that
    its symbol had already. Each is noted with row and column.

    Args:
        place: The file, for messages.
        rejections: Where rows left out are noted.
        interval_s: Length of a bar, seconds; None takes the least distance between two bars of a
            symbol among the first 1,000, or 60 where there is none.
    """

    def __init__(self, place: str, rejections: Rejections, interval_s: int | None = None) -> None:
        self._place = place
        self._rejections = rejections
        self._interval_s = interval_s
        self._latest_us = 0
        self._latest_row = 0
        self._last_of: dict[str, int] = {}

    def bars(self, rows: Iterable[Row]) -> Iterator[MarketBar]:
        """Return the bars of the good rows, in order.

        Args:
            rows: Each row's number and its cells by the names of `COLUMNS`.
        """
        good = (item for row in rows if (item := self._bar(*row)) is not None)
        ahead = list(islice(good, _LOOK_AHEAD))
        interval_s = self._interval_s or _least_distance_s(ahead)
        for item in chain(ahead, good):
            yield item._replace(bar=structs.replace(item.bar, interval_s=interval_s))

    def reject(self, number: int, column: str, message: str) -> None:
        """Note a row that is left out."""
        self._rejections.add(f"{message}, at {self._place} row {number}, column {column}")

    def _bar(self, number: int, cells: Mapping[str, Any]) -> MarketBar | None:
        try:
            item = _checked(cells)
            self._check_order(item, cells["time"])
        except _BadCell as error:
            self.reject(number, error.column, str(error))
            return None
        self._latest_us, self._latest_row = item.time_us, number
        self._last_of[item.symbol] = item.time_us
        return item

    def _check_order(self, item: MarketBar, cell: object) -> None:
        if item.time_us < self._latest_us:
            latest = (_EPOCH + timedelta(microseconds=self._latest_us)).isoformat()
            expected = f"a time not before {latest} of row {self._latest_row} (rows sorted by time)"
            raise _BadCell("time", expected, cell)
        if self._last_of.get(item.symbol) == item.time_us:
            raise _BadCell("time", f"one bar of {item.symbol} at a time", cell)


def _checked(cells: Mapping[str, Any]) -> MarketBar:
    time_us = _time_us(cells["time"])
    symbol = "" if cells["symbol"] is None else str(cells["symbol"]).strip()
    if not 1 <= len(symbol) <= _LONGEST_SYMBOL:
        raise _BadCell("symbol", f"1 to {_LONGEST_SYMBOL} characters", cells["symbol"])
    opened, high, low, close = (_price(name, cells[name]) for name in _PRICES)
    volume = _number("volume", cells["volume"])
    if volume < 0.0:
        raise _BadCell("volume", "a volume of 0 or more", cells["volume"])
    if high < low:
        raise _BadCell("high", f"a high not below the low {low}", cells["high"])
    if high < max(opened, close):
        raise _BadCell("high", f"a high not below open {opened} and close {close}", cells["high"])
    if low > min(opened, close):
        raise _BadCell("low", f"a low not above open {opened} and close {close}", cells["low"])
    bar = Bar(opened, high, low, close, volume, _DEFAULT_INTERVAL_S)
    return MarketBar(symbol, time_us, bar)


def _price(column: str, value: object) -> float:
    price = _number(column, value)
    if price <= 0.0:
        raise _BadCell(column, "a price above 0", value)
    return price


def _number(column: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _BadCell(column, "a number", value) from None
    if not abs(number) <= _LARGEST:  # written so that NaN fails
        raise _BadCell(column, "a finite number", value)
    return number


def _time_us(value: Any) -> int:
    try:
        time_us = _parsed_time_us(value)
    except (TypeError, ValueError, OverflowError):
        time_us = -1
    if not 0 <= time_us <= _LATEST_US:
        expected = "a time since 1970, ISO 8601 or s, ms or us since the Unix epoch"
        raise _BadCell("time", expected, value)
    return time_us


def _parsed_time_us(value: Any) -> int:
    if isinstance(value, datetime):
        # A time without zone is UTC.
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return (datetime(value.year, value.month, value.day, tzinfo=UTC) - _EPOCH) // _MICROSECOND
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        return _parsed_time_us(datetime.fromisoformat(text))
    unit = next(unit for limit, unit in _UNITS if abs(float(text)) < limit)
    whole = text.lstrip("+-").isdigit()
    if whole and unit >= 1.0:
        return int(text) * int(unit)  # floats lose microseconds
    return int(text) // 1000 if whole else round(float(text) * unit)


def _least_distance_s(bars: Iterable[MarketBar]) -> int:
    last: dict[str, int] = {}
    distances = []
    for item in bars:
        if (before := last.get(item.symbol)) is not None:
            distances.append(item.time_us - before)
        last[item.symbol] = item.time_us
    if not distances:
        return _DEFAULT_INTERVAL_S
    return min(max(1, min(distances) // _SECOND_US), 2**31 - 1)
