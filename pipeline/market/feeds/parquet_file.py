"""Bars from a Parquet file; needs the extra `parquet`."""

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.market.feed import MarketBar, Rejections
from pipeline.market.feeds.rows import Row, RowReader, find_columns

__all__ = ["ParquetFeed"]

_BATCH_ROWS = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}


class ParquetFeed:
    """Bars of a file with columns time, symbol, open, high, low, close, volume, sorted by time.

    As `CsvFeed`; time may be a timestamp or a date besides. Row numbers in messages begin at 1.

    Args:
        path: The file.
        interval_s: Length of a bar, seconds; None takes it from the times.
        module: Where pyarrow's Parquet reader is found.

    Raises:
        ConfigurationError: If it cannot be read, columns are missing, or pyarrow is not installed.
    """

    def __init__(
        self, path: Path, *, interval_s: int | None = None, module: str = "pyarrow.parquet"
    ) -> None:
        self.rejections = Rejections()
        self._path = path
        self._interval_s = interval_s
        self._module = _imported(module)
        file = self._opened()
        self._columns = find_columns(file.schema_arrow.names, str(path))
        self._rows = int(file.metadata.num_rows)
        file.close()

    @property
    def label(self) -> str:
        """The file's name."""
        return self._path.name

    @property
    def expected_bars(self) -> int:
        """Rows of the file."""
        return self._rows

    def __iter__(self) -> Iterator[MarketBar]:
        """Return the bars of the good rows, in order."""
        self.rejections = Rejections()
        reader = RowReader(str(self._path), self.rejections, self._interval_s)
        file = self._opened()
        try:
            yield from reader.bars(self._numbered_rows(file, reader))
        finally:
            file.close()

    def _opened(self) -> Any:
        try:
            return self._module.ParquetFile(self._path)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
            raise ConfigurationError(
                f"Expected a readable Parquet file, was: {error}, at {self._path}"
            ) from error

    def _numbered_rows(self, file: Any, reader: RowReader) -> Iterator[Row]:
        number = 0
        wanted = list(dict.fromkeys(self._columns.values()))
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                columns = [_values(batch.column(name)) for name in self._columns.values()]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, dict(zip(self._columns, cells, strict=True))
        except (OSError, ValueError) as error:  # a damaged page shows only here
            reader.reject(number + 1, "any", f"Expected more rows, was: {error}")


def _values(column: Any) -> list[Any]:
    unit = getattr(column.type, "unit", None)
    if not str(column.type).startswith("timestamp") or unit not in _NS_PER_UNIT:
        return list(column.to_pylist())
    # By way of integers: pyarrow turns neither nanoseconds nor every zone into a datetime.
    factor = _NS_PER_UNIT[unit]
    return [
        None if count is None else _EPOCH + timedelta(microseconds=count * factor // 1000)
        for count in column.cast("int64").to_pylist()
    ]


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            "Expected pyarrow for Parquet files, was not installed. Install the extra:"
            " pip install 'marl-cascade[parquet]'"
        ) from error
