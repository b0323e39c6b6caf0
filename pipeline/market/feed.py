"""What a source of market data looks like: an iterator of bars that says what it could not use."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pipeline.packets.models import Bar

__all__ = ["Feed", "FirstSymbols", "MarketBar", "Rejections"]

_LISTED = 20


class MarketBar(NamedTuple):
    """One bar of one symbol.

    Attributes:
        symbol: Symbol.
        time_us: When the bar ended, microseconds since the Unix epoch, UTC.
        bar: The bar.
    """

    symbol: str
    time_us: int
    bar: Bar


@dataclass(slots=True)
class Rejections:
    """Rows of a source that were left out.

    Attributes:
        count: How many.
        listed: What was wrong with the first 20, each with row and column.
    """

    count: int = 0
    listed: list[str] = field(default_factory=list)

    def add(self, message: str) -> None:
        """Count a row, and keep `message` if it is among the first."""
        self.count += 1
        if len(self.listed) < _LISTED:
            self.listed.append(message)


class Feed(Protocol):
    """A source of bars; iterating it anew starts it anew."""

    @property
    def label(self) -> str:
        """What it is, for reports; ends in `derived` or `synthetic` where bars are not real."""
        ...

    @property
    def expected_bars(self) -> int | None:
        """How many bars it has, where that is known beforehand."""
        ...

    @property
    def rejections(self) -> Rejections:
        """What was left out so far."""
        ...

    def __iter__(self) -> Iterator[MarketBar]:
        """Return the bars, in order of time for each symbol."""
        ...


class FirstSymbols:
    """A feed that keeps only the first few symbols that turn up in another.

    Args:
        feed: The other.
        symbols: How many.
    """

    def __init__(self, feed: Feed, symbols: int) -> None:
        self._feed = feed
        self._symbols = symbols

    @property
    def label(self) -> str:
        """What the other is."""
        return self._feed.label

    @property
    def expected_bars(self) -> int | None:
        """Not known: who is left out shows only on reading."""
        return None

    @property
    def rejections(self) -> Rejections:
        """What the other left out."""
        return self._feed.rejections

    def __iter__(self) -> Iterator[MarketBar]:
        """Return the bars of the first symbols."""
        kept: set[str] = set()
        for item in self._feed:
            if len(kept) < self._symbols:
                kept.add(item.symbol)
            if item.symbol in kept:
                yield item
