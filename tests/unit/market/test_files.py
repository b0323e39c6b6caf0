"""CSV and Parquet: the same rows, the same rules."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigurationError, UsageError
from pipeline.market.feed import MarketBar
from pipeline.market.feeds import CsvFeed, ParquetFeed, SampleFeed, SyntheticFeed, open_feed
from pipeline.packets.models import Bar

HEADER = "time,symbol,open,high,low,close,volume"
GOOD = "2024-01-02T10:00:00Z,ABC,10,11,9,10.5,100"
T0_US = 1_704_189_600_000_000
MINUTE_US = 60_000_000


def _csv_feed(folder: Path, *rows: str, header: str = HEADER) -> CsvFeed:
    path = folder / "prices.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return CsvFeed(path)


def _parquet_feed(folder: Path, columns: dict[str, Any]) -> ParquetFeed:
    path = folder / "prices.parquet"
    pq.write_table(pa.table(columns), path)
    return ParquetFeed(path)


def _row(minute: int, **cells: object) -> str:
    values = {
        "time": f"2024-01-02T10:{minute:02d}:00Z",
        "symbol": "ABC",
        "open": 10,
        "high": 11,
        "low": 9,
        "close": 10.5,
        "volume": 100,
        **cells,
    }
    return ",".join(str(value) for value in values.values())


def test_csv_rows_become_bars(tmp_path: Path) -> None:
    """A good file gives its bars with the interval that its times show."""
    items = list(_csv_feed(tmp_path, _row(0), _row(5), _row(10)))
    expected = [
        MarketBar("ABC", T0_US + minute * MINUTE_US, Bar(10.0, 11.0, 9.0, 10.5, 100.0, 300))
        for minute in (0, 5, 10)
    ]
    assert items == expected


def test_case_order_and_further_columns_do_not_matter(tmp_path: Path) -> None:
    """Columns are found by name, whatever their case and place."""
    header = " VOLUME,note,Close,LOW,High,Open,Symbol,Time"
    feed = _csv_feed(tmp_path, f"100,x,10.5,9,11,10,ABC,{T0_US}", header=header)
    assert list(feed) == [MarketBar("ABC", T0_US, Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60))]


@pytest.mark.parametrize(
    "time",
    [
        "2024-01-02T10:00:00Z",
        "2024-01-02 10:00:00",
        "2024-01-02T11:00:00+01:00",
        "1704189600",
        "1704189600.0",
        "1.7041896e9",
        "1704189600000",
        "1704189600000000",
        "1704189600000000000",
    ],
)
def test_times_are_read_in_every_form(tmp_path: Path, time: str) -> None:
    """ISO 8601 and epoch seconds, milli-, micro- and nanoseconds name the same moment."""
    assert [item.time_us for item in _csv_feed(tmp_path, _row(0, time=time))] == [T0_US]


def test_microseconds_are_kept(tmp_path: Path) -> None:
    """No digit of a time in microseconds is lost."""
    times = [T0_US + 1, T0_US + 2]
    found = _csv_feed(tmp_path, *(_row(0, time=time) for time in times))
    assert [item.time_us for item in found] == times


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        ({"open": "abc"}, "open", "Expected a number, was 'abc'"),
        ({"close": ""}, "close", "Expected a number, was nothing"),
        ({"low": "nan"}, "low", "Expected a finite number, was 'nan'"),
        ({"high": "inf"}, "high", "Expected a finite number, was 'inf'"),
        ({"open": -10}, "open", "Expected a price above 0, was '-10'"),
        ({"close": 0}, "close", "Expected a price above 0, was '0'"),
        ({"volume": -1}, "volume", "Expected a volume of 0 or more, was '-1'"),
        ({"high": 8.5}, "high", "Expected a high not below the low 9.0, was '8.5'"),
        ({"high": 10.2}, "high", "Expected a high not below open 10.0 and close 10.5"),
        ({"low": 10.2}, "low", "Expected a low not above open 10.0 and close 10.5"),
        ({"symbol": " "}, "symbol", "Expected 1 to 128 characters"),
        ({"symbol": "x" * 129}, "symbol", "Expected 1 to 128 characters"),
        ({"time": "yesterday"}, "time", "Expected a time since 1970"),
        ({"time": "-5"}, "time", "Expected a time since 1970"),
        ({"time": "2024-01-02T09:59:00Z"}, "time", "Expected a time not before 2024-01-02T10:00"),
        ({"time": "2024-01-02T10:00:00Z"}, "time", "Expected one bar of ABC at a time"),
    ],
)
def test_bad_rows_are_named_and_left_out(
    tmp_path: Path, cells: dict[str, object], column: str, words: str
) -> None:
    """A bad row is counted and named by row and column; those around it go on."""
    feed = _csv_feed(tmp_path, _row(0), _row(1, **cells), _row(2))
    assert [item.time_us - T0_US for item in feed] == [0, 2 * MINUTE_US]
    assert feed.rejections.count == 1
    message = feed.rejections.listed[0]
    assert words in message
    assert message.endswith(f"prices.csv row 3, column {column}")


def test_short_rows_are_bad_rows(tmp_path: Path) -> None:
    """A line with cells missing is left out and named."""
    feed = _csv_feed(tmp_path, "2024-01-02T10:00:00Z,ABC,10", _row(1))
    assert len(list(feed)) == 1
    assert "Expected a number, was nothing" in feed.rejections.listed[0]


def test_only_the_first_bad_rows_are_listed(tmp_path: Path) -> None:
    """All bad rows are counted, 20 are listed."""
    feed = _csv_feed(tmp_path, *(_row(minute, open="?") for minute in range(30)), _row(30))
    assert len(list(feed)) == 1
    assert feed.rejections.count == 30
    assert len(feed.rejections.listed) == 20


def test_reading_again_counts_anew(tmp_path: Path) -> None:
    """A second pass over the file reports its bad rows once, not twice."""
    feed = _csv_feed(tmp_path, _row(0), _row(1, open="?"))
    assert list(feed) == list(feed)
    assert feed.rejections.count == 1


def test_symbols_may_share_a_time(tmp_path: Path) -> None:
    """Two symbols at one time are in order."""
    feed = _csv_feed(tmp_path, _row(0), _row(0, symbol="XYZ"), _row(1))
    assert len(list(feed)) == 3
    assert feed.rejections.count == 0


def test_missing_columns_are_named(tmp_path: Path) -> None:
    """The error names the columns found and those missing."""
    with pytest.raises(ConfigurationError, match=r"was time, open, at .*Missing: symbol, high"):
        _csv_feed(tmp_path, header="time,open")


def test_empty_file_is_an_error(tmp_path: Path) -> None:
    """A file without a header has no columns."""
    with pytest.raises(ConfigurationError, match="was none"):
        _csv_feed(tmp_path, header="")


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet", "absent.csv.gz"])
def test_absent_file_is_an_error(tmp_path: Path, name: str) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigurationError, match=name):
        open_feed(str(tmp_path / name))


def test_packed_csv_is_read(tmp_path: Path) -> None:
    """A .csv.gz gives the same bars as the .csv."""
    plain = _csv_feed(tmp_path, _row(0), _row(1))
    packed = tmp_path / "prices.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "prices.csv").read_bytes()))
    assert list(CsvFeed(packed)) == list(plain)


def test_damaged_packed_csv_keeps_what_came_before(tmp_path: Path) -> None:
    """Where the packed data breaks off, the rows before it go on and the end is named."""
    packed = gzip.compress("\n".join([HEADER, *(_row(m) for m in range(60))]).encode())
    path = tmp_path / "prices.csv.gz"
    path.write_bytes(packed[:-20])
    feed = CsvFeed(path)
    assert len(list(feed)) < 60
    assert feed.rejections.count >= 1
    assert "Expected more rows" in feed.rejections.listed[-1]


def test_file_that_is_not_gzip_is_an_error(tmp_path: Path) -> None:
    """A .csv.gz that is no gzip file says so when opened."""
    path = tmp_path / "prices.csv.gz"
    path.write_text(f"{HEADER}\n{GOOD}\n")
    with pytest.raises(ConfigurationError, match="Expected a CSV file with a header"):
        CsvFeed(path)


def _good_columns() -> dict[str, Any]:
    return {
        "Time": [datetime(2024, 1, 2, 10, minute, tzinfo=UTC) for minute in range(3)],
        "symbol": ["ABC"] * 3,
        "open": [10, 10, 10],
        "high": [11.0] * 3,
        "low": [9.0] * 3,
        "close": [10.5] * 3,
        "volume": [100] * 3,
    }


def test_parquet_rows_become_bars(tmp_path: Path) -> None:
    """A Parquet file gives the same bars as a CSV file of the same rows."""
    feed = _parquet_feed(tmp_path, _good_columns())
    assert feed.expected_bars == 3
    assert list(feed) == list(_csv_feed(tmp_path, _row(0), _row(1), _row(2)))


def _as_timestamps(times: pa.Array, kind: pa.DataType) -> pa.Array:
    in_utc = times.cast(pa.timestamp("us"))
    return in_utc.cast(kind) if kind.tz is None else times.cast(kind)


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("s"),
        pa.timestamp("ms"),
        pa.timestamp("us", tz="America/New_York"),
        pa.timestamp("ns"),
        pa.int64(),
        pa.string(),
    ],
)
def test_parquet_times_of_every_type(tmp_path: Path, kind: pa.DataType) -> None:
    """Timestamps of each unit and zone, integers and text name the same moments."""
    if kind == pa.string():
        column = pa.array(["2024-01-02T10:00", "2024-01-02T10:01", "2024-01-02T10:02"])
    else:
        times = pa.array([T0_US, T0_US + MINUTE_US, T0_US + 2 * MINUTE_US], pa.int64())
        column = times if kind == pa.int64() else _as_timestamps(times, kind)
    found = _parquet_feed(tmp_path, {**_good_columns(), "Time": column})
    assert [item.time_us - T0_US for item in found] == [0, MINUTE_US, 2 * MINUTE_US]


def test_parquet_bad_rows_are_named(tmp_path: Path) -> None:
    """Nulls, NaN and negative numbers are named by row, counted from 1, and column."""
    columns = _good_columns() | {"open": [10.0, None, 10.0], "low": [9.0, 9.0, -9.0]}
    feed = _parquet_feed(tmp_path, columns)
    assert len(list(feed)) == 1
    assert feed.rejections.count == 2
    assert feed.rejections.listed[0].endswith("prices.parquet row 2, column open")
    assert feed.rejections.listed[1].endswith("prices.parquet row 3, column low")


def test_parquet_missing_columns_are_named(tmp_path: Path) -> None:
    """The error names the columns missing."""
    columns = _good_columns()
    del columns["volume"]
    with pytest.raises(ConfigurationError, match="Missing: volume"):
        _parquet_feed(tmp_path, columns)


def test_file_that_is_not_parquet_is_an_error(tmp_path: Path) -> None:
    """A .parquet that is none says so."""
    path = tmp_path / "prices.parquet"
    path.write_text("no")
    with pytest.raises(ConfigurationError, match="Expected a readable Parquet file"):
        ParquetFeed(path)


def test_parquet_without_its_library_names_the_extra(tmp_path: Path) -> None:
    """Where pyarrow is missing, the error says what to install."""
    with pytest.raises(ConfigurationError, match=r"marl-cascade\[parquet\]"):
        ParquetFeed(tmp_path / "prices.parquet", module="pyarrow_is_not_here.parquet")


def test_sources_are_found_by_name(tmp_path: Path) -> None:
    """`sample`, `synthetic` and the endings of files choose the feed."""
    _csv_feed(tmp_path, _row(0))
    _parquet_feed(tmp_path, _good_columns())
    assert isinstance(open_feed("sample"), SampleFeed)
    assert isinstance(open_feed("synthetic"), SyntheticFeed)
    assert isinstance(open_feed(str(tmp_path / "prices.csv")), CsvFeed)
    assert isinstance(open_feed(str(tmp_path / "prices.parquet")), ParquetFeed)


@pytest.mark.parametrize(("source", "symbols"), [("prices.txt", None), ("sample", 0)])
def test_unknown_sources_are_refused(source: str, symbols: int | None) -> None:
    """Another ending, or no symbols, is an error."""
    with pytest.raises(UsageError, match="Expected"):
        open_feed(source, symbols=symbols)


def test_symbols_bound_a_file_too(tmp_path: Path) -> None:
    """Of a file, the first N symbols that turn up are kept."""
    _csv_feed(
        tmp_path, _row(0), _row(0, symbol="XYZ"), _row(0, symbol="LAST"), _row(1, symbol="XYZ")
    )
    feed = open_feed(str(tmp_path / "prices.csv"), symbols=2)
    assert [item.symbol for item in feed] == ["ABC", "XYZ", "XYZ"]
    assert feed.label == "prices.csv"
    assert feed.rejections.count == 0


def test_interval_may_be_given(tmp_path: Path) -> None:
    """A given interval stands before what the times show."""
    _csv_feed(tmp_path, _row(0), _row(5))
    feed = open_feed(str(tmp_path / "prices.csv"), interval_s=30)
    assert {item.bar.interval_s for item in feed} == {30}
