import csv
import gzip
import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime
from itertools import islice

import pytest

from pipeline.errors import UsageError
from pipeline.market.data import STOCKS, metadata, read_days
from pipeline.market.feed import MarketBar
from pipeline.market.feeds.sample import SampleFeed

US = 1_000_000


def _day_of(item: MarketBar) -> date:
    return datetime.fromtimestamp(item.time_us // US, UTC).date()


def test_shipped_file_is_the_one_described() -> None:
    """The metadata's sha256, sizes, rows, columns and symbols are those of the file."""
    packed = STOCKS.read_bytes()
    text = gzip.decompress(packed)
    record = metadata()
    rows = list(csv.reader(text.decode().splitlines()))
    assert record["file"] == STOCKS.name
    assert record["sha256"] == hashlib.sha256(packed).hexdigest()
    assert record["uncompressed_sha256"] == hashlib.sha256(text).hexdigest()
    assert record["size_bytes"] == len(packed)
    assert record["columns"] == rows[0]
    assert record["rows"] == len(rows) - 1
    found = {
        symbol: {
            "rows": len(days),
            "first_day": days[0].day.isoformat(),
            "last_day": days[-1].day.isoformat(),
        }
        for symbol, days in read_days().items()
    }
    assert record["symbols"] == found


def test_metadata_names_origin_and_licence() -> None:
    """The record says where the file comes from and under which terms."""
    record = metadata()
    assert record["origin"]["package"] == "bokeh-sampledata"
    assert record["licence"]["declared"] == "Public domain"


def test_bars_keep_each_real_day() -> None:
    """Of every symbol and day, the bars' open, high, low, close and volume are the real ones."""
    feed = SampleFeed(interval_s=1170)
    found: dict[tuple[str, date], list[MarketBar]] = defaultdict(list)
    for item in feed:
        found[item.symbol, _day_of(item)].append(item)
    real = {(name, day.day): day for name, days in read_days().items() for day in days}
    assert len(found) == 5 * 196
    for place, items in found.items():
        bars = [item.bar for item in items]
        expected = tuple(real[place])[1:]
        assert expected == (
            bars[0].open,
            max(bar.high for bar in bars),
            min(bar.low for bar in bars),
            bars[-1].close,
            sum(bar.volume for bar in bars),
        )


def test_symbols_are_interleaved_by_time() -> None:
    """Bars come in order of time, all symbols of one time before the next time."""
    items = list(islice(SampleFeed(), 5 * 800))
    times = [item.time_us for item in items]
    assert times == sorted(times)
    assert [item.symbol for item in items[:5]] == ["AAPL", "GOOG", "IBM", "MSFT", "FB"]
    assert len(set(times)) == 800


def test_bars_are_dated_at_their_end_within_the_session() -> None:
    """The first minute of a day ends at 14:31 UTC, the last at 21:00."""
    items = list(islice(SampleFeed(1), 390))
    first, last = (datetime.fromtimestamp(items[i].time_us // US, UTC) for i in (0, -1))
    assert (first.hour, first.minute) == (14, 31)
    assert (last.hour, last.minute) == (21, 0)
    assert items[0].bar.interval_s == 60


def test_number_of_bars_is_known_beforehand() -> None:
    """`expected_bars` is how many come."""
    feed = SampleFeed(2, interval_s=11_700, first_day=date(2012, 6, 1))
    assert feed.expected_bars == len(list(feed)) > 0


def test_feed_starts_anew_and_alike() -> None:
    """Iterating twice gives the same bars; another seed gives others."""
    feed = SampleFeed(3, seed=4)
    first = list(islice(feed, 2000))
    assert first == list(islice(feed, 2000))
    assert first != list(islice(SampleFeed(3, seed=5), 2000))


def test_a_symbols_bars_do_not_depend_on_the_others() -> None:
    """AAPL's bars of a day are the same alone and among five."""
    begin = date(2012, 6, 1)
    alone = list(islice(SampleFeed(1, first_day=begin), 390))
    among = [item for item in islice(SampleFeed(first_day=begin), 1950) if item.symbol == "AAPL"]
    assert alone == among


def test_fewer_symbols_reach_further_back() -> None:
    """Without FB, which began in May 2012, the sample begins in January 2011."""
    assert _day_of(next(iter(SampleFeed(4)))) == date(2011, 1, 3)
    assert _day_of(next(iter(SampleFeed(5)))) == date(2012, 5, 18)


@pytest.mark.parametrize("symbols", [0, 6])
def test_other_numbers_of_symbols_are_refused(symbols: int) -> None:
    """The sample has 1 to 5 symbols."""
    with pytest.raises(UsageError, match="Expected 1 to 5 symbols"):
        SampleFeed(symbols)


def test_unknown_symbols_are_refused() -> None:
    """A symbol that the sample does not hold is an error that names those it does."""
    with pytest.raises(UsageError, match="AAPL, GOOG, IBM, MSFT, FB, was TSLA"):
        SampleFeed(["TSLA"])


@pytest.mark.parametrize("interval_s", [0, 7, 23_400])
def test_intervals_must_divide_the_session(interval_s: int) -> None:
    """An interval that leaves a part of the session over, or only one bar, is refused."""
    with pytest.raises(UsageError, match="divides"):
        SampleFeed(interval_s=interval_s)


def test_days_outside_the_data_are_refused() -> None:
    """No common days is an error, not an empty feed."""
    with pytest.raises(UsageError, match="was none"):
        SampleFeed(first_day=date(2014, 1, 1))


def test_label_says_derived() -> None:
    """Reports show that the bars are not real ones."""
    assert SampleFeed().label == "sample-derived"
