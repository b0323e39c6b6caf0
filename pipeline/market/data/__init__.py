"""The real daily prices that the sample feed is made from; `stocks.metadata.json` says whence."""

import csv
import gzip
import hashlib
import json
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import ConfigurationError

__all__ = ["STOCKS", "Day", "metadata", "read_days"]

STOCKS = Path(__file__).resolve().parent / "stocks.csv.gz"


class Day(NamedTuple):
    """One trading day of one symbol; prices in US dollars, volume in shares."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int


def metadata() -> dict[str, Any]:
    """Return the record of where the file comes from, its licence, content and sha256."""
    found: dict[str, Any] = json.loads(STOCKS.with_name("stocks.metadata.json").read_text())
    return found


def read_days() -> dict[str, list[Day]]:
    """Return each symbol's days in order of time.

    Raises:
        ConfigurationError: The file is missing, or not the one that the metadata describes.
    """
    try:
        packed = STOCKS.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"Expected the sample prices at {STOCKS}, was: {error}. Reinstall the package."
        ) from error
    expected, found = metadata()["sha256"], hashlib.sha256(packed).hexdigest()
    if found != expected:
        raise ConfigurationError(
            f"Expected sha256 {expected}, was {found}, at {STOCKS}. Reinstall the package."
        )
    days: dict[str, list[Day]] = defaultdict(list)
    for row in csv.DictReader(gzip.decompress(packed).decode().splitlines()):
        days[row["Ticker"]].append(_day(row))
    return dict(days)


def _day(row: dict[str, str]) -> Day:
    opened, high, low, close = (float(row[name]) for name in ("Open", "High", "Low", "Close"))
    return Day(date.fromisoformat(row["Date"]), opened, high, low, close, int(row["Volume"]))
