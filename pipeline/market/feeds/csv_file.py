"""Bars from a CSV file."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO, cast

from pipeline.errors import ConfigurationError
from pipeline.market.feed import MarketBar, Rejections
from pipeline.market.feeds.rows import Row, RowReader, find_columns

__all__ = ["CsvFeed"]


class CsvFeed:
    """Bars of a file with columns time, symbol, open, high, low, close, volume, sorted by time.

    Case and order of the columns do not matter, more of them do not either. Time is ISO 8601 (UTC
    where it names no zone), or seconds, milliseconds or microseconds since the Unix epoch. Row
    numbers in messages count the header as row 1, as editors do. A file ending in `.gz` is
    unpacked.

    Args:
        path: The file, UTF-8.
        interval_s: Length of a bar, seconds; None takes it from the times.

    Raises:
        ConfigurationError: If it cannot be read, or columns are missing.
    """

    def __init__(self, path: Path, *, interval_s: int | None = None) -> None:
        self.rejections = Rejections()
        self._path = path
        self._interval_s = interval_s
        with self._open() as source:
            self._columns = find_columns(self._header(source), str(path))

    @property
    def label(self) -> str:
        """The file's name."""
        return self._path.name

    @property
    def expected_bars(self) -> int | None:
        """Not known before it is read."""
        return None

    def __iter__(self) -> Iterator[MarketBar]:
        """Return the bars of the good rows, in order."""
        self.rejections = Rejections()
        reader = RowReader(str(self._path), self.rejections, self._interval_s)
        with self._open() as source:
            header = self._header(source)
            index = {name: header.index(column) for name, column in self._columns.items()}
            yield from reader.bars(_rows(source, index, reader))

    def _open(self) -> TextIO:
        packed = self._path.suffix.lower() == ".gz"
        opener = partial(gzip.open, mode="rt") if packed else partial(open, mode="r")
        try:
            # Bytes that are no UTF-8 spoil their own cell only.
            opened = opener(self._path, encoding="utf-8-sig", errors="replace", newline="")
            return cast("TextIO", opened)
        except OSError as error:
            raise ConfigurationError(f"Expected a readable CSV file, was: {error}") from error

    def _header(self, source: TextIO) -> list[str]:
        try:
            return next(csv.reader(source), [])
        except (csv.Error, OSError, EOFError, zlib.error) as error:
            raise ConfigurationError(
                f"Expected a CSV file with a header, was: {error}, at {self._path}"
            ) from error


def _rows(source: TextIO, index: dict[str, int], reader: RowReader) -> Iterator[Row]:
    lines = csv.reader(source)
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            reader.reject(lines.line_num + 1, "any", f"Expected a line of CSV, was: {error}")
            continue
        except (OSError, EOFError, zlib.error) as error:  # gzip tells of damage only here
            reader.reject(lines.line_num + 2, "any", f"Expected more rows, was: {error}")
            return
        if cells:
            columns = {
                name: cells[position] if position < len(cells) else None
                for name, position in index.items()
            }
            yield lines.line_num + 1, columns
