"""Faults put into a feed on purpose, seeded, so that the pipeline can be shown to survive them."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pipeline.errors import UsageError
from pipeline.market.feed import MarketBar

__all__ = ["DEFAULT_SHARE", "FAULTS", "FaultPlan", "Injector", "ItemKind", "SendItem"]

DEFAULT_SHARE = 0.01
FAULTS = ("gaps", "duplicates", "out_of_order", "nan", "stale", "poison")


class ItemKind(StrEnum):
    """What a record to be sent is."""

    BAR = "bar"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    NAN = "nan"
    STALE = "stale"
    POISON = "poison"


class SendItem(NamedTuple):
    """One record to be sent, before it has its times.

    Attributes:
        kind: What it is.
        market_bar: The bar; for poison the one that its bytes are spoilt from.
        sequence: Of the bar within its symbol.
        dice: Random whole number of 64 bits, for what the fault leaves open; 0 without a fault.
    """

    kind: ItemKind
    market_bar: MarketBar
    sequence: int
    dice: int = 0


@dataclass(frozen=True)
class FaultPlan:
    """Which faults, and the share of bars that each befalls.

    Attributes:
        shares: Fault to share, above 0 and up to 1; see `FAULTS`.
    """

    shares: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Return the plan that `text` spells, such as `gaps,poison=0.05`.

        Raises:
            UsageError: An unknown fault, one named twice, or a share out of range.
        """
        shares: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, share = (piece.strip() for piece in part.partition("="))
            if name not in FAULTS or name in shares:
                raise UsageError(f"Expected faults of {', '.join(FAULTS)}, each once, was {part!r}")
            shares[name] = _share(share, part)
        return cls(shares)


def _share(text: str, part: str) -> float:
    try:
        share = float(text) if text else DEFAULT_SHARE
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise UsageError(f"Expected a share above 0 and up to 1, such as poison=0.05, was {part!r}")
    return share


class Injector:
    """Numbers the bars of a feed per symbol and puts faults among them.

    - gaps: the bar is left out, its sequence number stays unused.
    - out_of_order: the bar goes out after the next one of its symbol.
    - nan: in place of the bar, a packet whose close is NaN.
    - stale: the bar's times lie an hour back.
    - poison: bytes that are no packet, under the same key, ahead of the bar; the bar follows.
    - duplicates: the packet goes out once more, byte for byte.

    At most one of the first four befalls a bar, the first that strikes. Each fault draws from a
    random stream of its own, so that one more does not move the others.

    Args:
        plan: Which faults.
        seed: Of all of them.
        start_sequence: Sequence number of each symbol's first bar.

    Attributes:
        bars: Bars taken from the feed so far.
        gaps: Bars left out on purpose so far.
    """

    def __init__(self, plan: FaultPlan, seed: int, start_sequence: int = 0) -> None:
        self.bars = 0
        self.gaps = 0
        self._shares = plan.shares
        self._streams = {name: random.Random(f"{seed}:{name}") for name in FAULTS}
        self._start = start_sequence
        self._sequences: Counter[str] = Counter()
        self._held: dict[str, SendItem] = {}

    def items(self, feed: Iterable[MarketBar]) -> Iterator[SendItem]:
        """Return what to send, in order."""
        for market_bar in feed:
            self.bars += 1
            yield from self._around(market_bar)
        # Nothing overtook these, so they are in order after all.
        yield from self._held.values()
        self._held.clear()

    def _around(self, market_bar: MarketBar) -> Iterator[SendItem]:
        symbol = market_bar.symbol
        sequence = self._start + self._sequences[symbol]
        self._sequences[symbol] += 1
        # Every stream is drawn from for every bar, whether or not it matters for this one.
        struck = {name: self._draw(name) for name in self._shares}
        if struck.get("gaps") is not None:
            self.gaps += 1
            return
        if struck.get("out_of_order") is not None and symbol not in self._held:
            self._held[symbol] = SendItem(ItemKind.BAR, market_bar, sequence)
            return
        if (dice := struck.get("poison")) is not None:
            yield SendItem(ItemKind.POISON, market_bar, sequence, dice)
        yield _spoilt(market_bar, sequence, struck)
        if struck.get("duplicates") is not None:
            yield SendItem(ItemKind.DUPLICATE, market_bar, sequence)
        if (late := self._held.pop(symbol, None)) is not None:
            yield late._replace(kind=ItemKind.OUT_OF_ORDER)

    def _draw(self, fault: str) -> int | None:
        stream = self._streams[fault]
        chance, dice = stream.random(), stream.getrandbits(64)
        return dice if chance < self._shares[fault] else None


def _spoilt(market_bar: MarketBar, sequence: int, struck: Mapping[str, int | None]) -> SendItem:
    for kind in (ItemKind.NAN, ItemKind.STALE):
        if (dice := struck.get(kind)) is not None:
            return SendItem(kind, market_bar, sequence, dice)
    return SendItem(ItemKind.BAR, market_bar, sequence)
