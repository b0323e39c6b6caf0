"""The last rows of named numbers over time, in one array."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

__all__ = ["MOST_COLUMNS", "Floats", "Ring"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

MOST_COLUMNS: Final = 256
"""Most names of one ring: names come from outside, and memory goes with them."""

_FIRST_COLUMNS = 16


class Ring:
    """Keeps the last rows; a row has a moment and a number for some of the columns.

    Columns come into being with the first row that names them; a row without a number for a column
    has NaN there. A row whose moment lies before that of the row before it gets that one's: rows
    come about in order, and a window is then found by bisection.

    Each row is written twice, a capacity apart, so that the last rows always lie side by side.

    Args:
        capacity: Most rows; the oldest makes room.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UsageError(f"Expected room for at least 1 row, was {capacity}")
        self._capacity = capacity
        self._names: dict[str, int] = {}
        # Pages are taken up in memory only once they are written.
        self._times = np.empty(2 * capacity, dtype=np.int64)
        self._data = np.empty((_FIRST_COLUMNS, 2 * capacity))
        self._last_us = 0
        self.appended = 0

    def __len__(self) -> int:
        return min(self.appended, self._capacity)

    def columns(self, names: Sequence[str]) -> Indices:
        """Return where the columns of some names are, for `put`; new names get one.

        Raises:
            UsageError: If there would be more than `MOST_COLUMNS` columns.
        """
        for name in names:
            if name not in self._names:
                self._add_column(name)
        return np.array([self._names[name] for name in names], dtype=np.intp)

    def append(self, time_us: int, values: Mapping[str, float]) -> None:
        """Add a row.

        Args:
            time_us: Its moment, microseconds since the Unix epoch.
            values: Numbers by column.

        Raises:
            UsageError: If there would be more than `MOST_COLUMNS` columns.
        """
        self.put(time_us, self.columns(list(values)), list(values.values()))

    def put(self, time_us: int, columns: Indices, values: Sequence[float]) -> None:
        """Add a row, its columns found before by `columns`."""
        self._last_us = max(self._last_us, time_us)
        at = self.appended % self._capacity
        for index in (at, at + self._capacity):
            self._times[index] = self._last_us
            self._data[:, index] = np.nan
            self._data[columns, index] = values
        self.appended += 1

    def values(self, name: str, since_us: int) -> Floats:
        """Return the numbers of a column from a moment on, in order of the rows, without NaN."""
        return self.points(name, since_us)[1]

    def points(self, name: str, since_us: int) -> tuple[NDArray[np.int64], Floats]:
        """Return (moments, numbers) of a column from a moment on, without NaN."""
        column = self._names.get(name)
        if column is None:
            return np.empty(0, dtype=np.int64), np.empty(0)
        rows = self._since(since_us)
        times, numbers = self._times[rows], self._data[column, rows]
        known = ~np.isnan(numbers)
        return times[known], numbers[known]

    def rows(self, names: Sequence[str], since_us: int) -> Floats:
        """Return an array [name, row] of the rows from a moment on that have a number for each."""
        indices = [self._names[name] for name in names if name in self._names]
        if len(indices) < len(names):
            return np.empty((len(names), 0))
        found = self._data[indices, self._since(since_us)]
        complete: Floats = found[:, ~np.isnan(found).any(axis=0)]
        return complete

    def latest(self, name: str, count: int) -> Floats:
        """Return the numbers of a column in the last `count` rows, without NaN."""
        column = self._names.get(name)
        if column is None or count <= 0:
            return np.empty(0)
        end = self._end()
        numbers = self._data[column, max(end - count, end - len(self)) : end]
        known: Floats = numbers[~np.isnan(numbers)]
        return known

    def _since(self, since_us: int) -> slice:
        """Return where the rows from a moment on lie."""
        end = self._end()
        begin = end - len(self)
        return slice(begin + int(np.searchsorted(self._times[begin:end], since_us)), end)

    def _end(self) -> int:
        """Return the end of the last rows; as many as there are lie before it."""
        if self.appended <= self._capacity:
            return self.appended
        return self.appended % self._capacity + self._capacity

    def _add_column(self, name: str) -> None:
        if len(self._names) >= MOST_COLUMNS:
            raise UsageError(f"Expected at most {MOST_COLUMNS} columns, was {name!r} beside them")
        if len(self._names) == len(self._data):
            more = np.full_like(self._data, np.nan)
            self._data = np.concatenate((self._data, more))
        self._names[name] = len(self._names)
