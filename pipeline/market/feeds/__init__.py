"""Sources of market data, and how the command line names them."""

from pathlib import Path

from pipeline.errors import UsageError
from pipeline.market.feed import Feed, FirstSymbols
from pipeline.market.feeds.csv_file import CsvFeed
from pipeline.market.feeds.parquet_file import ParquetFeed
from pipeline.market.feeds.sample import SampleFeed
from pipeline.market.feeds.synthetic import SyntheticFeed

__all__ = ["CsvFeed", "ParquetFeed", "SampleFeed", "SyntheticFeed", "open_feed"]

_DEFAULT_SYNTHETIC = 10


def open_feed(
    source: str, *, symbols: int | None = None, seed: int = 1, interval_s: int | None = None
) -> Feed:
    """Return the feed of that name.

    Args:
        source: `sample`, `synthetic`, or the path of a file ending in `.csv`, `.csv.gz` or
            `.parquet`.
        symbols: How many symbols; by default all 5 of the sample, 10 synthetic ones, all of a file.
        seed: Of what is made up; files have nothing made up.
        interval_s: Length of a bar, seconds; by default 60, or what a file's times show.

    Raises:
        UsageError: No such source, or no such number of symbols.
        ConfigurationError: A file that cannot be used.
    """
    if symbols is not None and symbols < 1:
        raise UsageError(f"Expected at least 1 symbol, was {symbols}")
    if source == "sample":
        return SampleFeed(symbols, seed=seed, interval_s=interval_s or 60)
    if source == "synthetic":
        return SyntheticFeed(symbols or _DEFAULT_SYNTHETIC, seed=seed, interval_s=interval_s or 60)
    feed = _file_feed(source, interval_s)
    return feed if symbols is None else FirstSymbols(feed, symbols)


def _file_feed(source: str, interval_s: int | None) -> Feed:
    name = source.lower()
    if name.endswith((".csv", ".csv.gz")):
        return CsvFeed(Path(source), interval_s=interval_s)
    if name.endswith((".parquet", ".pq")):
        return ParquetFeed(Path(source), interval_s=interval_s)
    raise UsageError(
        f"Expected sample, synthetic, or a file ending in .csv, .csv.gz or .parquet, was {source!r}"
    )
