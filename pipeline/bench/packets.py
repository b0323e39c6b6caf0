"""The packets of a measurement, numbered: packet n is number n // symbols of symbol n % symbols.

So a packet that comes out says which it is, and counting, order and repeats can be checked without
an account of what went in. Event time is the moment it was due, so that latency can be taken from
the packet itself.
"""

from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Struct

from pipeline.market.feed import MarketBar
from pipeline.market.feeds.synthetic import SyntheticFeed
from pipeline.market.ingest import SOURCE
from pipeline.packets import identity
from pipeline.packets.codec import encode
from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import Envelope, Journal, MarketData, StrategicSignal
from pipeline.packets.vocabulary import OutcomeKind, Priority, SuperpositionType

__all__ = ["NORMAL", "URGENT", "Kind", "PacketMaker", "Seen", "seen_of", "symbol_number"]

NORMAL = "SYN"
URGENT = "URG"
"""What the names of the symbols begin with, by the priority of their packets."""
_SEED = 1
_ERRORS = frozenset({OutcomeKind.EXPIRED, OutcomeKind.SHED, OutcomeKind.DEAD_LETTERED})


class Kind(StrEnum):
    """What is sent."""

    MARKET = "market"
    """Market data, for the pipeline and for this engine."""
    SIGNAL = "signal"
    """Log records as the engine writes them for a forwarded packet, for those that only forward:
    the same schema and, within a few per cent, the same size at every hop."""


class Seen(NamedTuple):
    """What a packet at the end of its way says.

    Attributes:
        number: Which packet.
        due_us: When it was due, microseconds since the Unix epoch, UTC.
        accepted_us: When it was sent, the same.
        outcome: How it ended; None on its way.
    """

    number: int
    due_us: int
    accepted_us: int
    outcome: OutcomeKind | None

    @property
    def error(self) -> bool:
        """Whether it ended expired, shed or dead-lettered."""
        return self.outcome in _ERRORS


def symbol_number(symbol: str) -> int:
    """Return the number of a symbol as `SyntheticFeed` names them."""
    return int(symbol[3:])


def seen_of(packet: Struct, symbols: int, prefix: str = NORMAL) -> Seen | None:
    """Return what a packet says; None for one that is not of the load.

    Args:
        packet: A record of the last hop.
        symbols: How many symbols the load has.
        prefix: What their names begin with.
    """
    envelope: Envelope | None = getattr(packet, "envelope", None)
    if envelope is None or not envelope.symbol.startswith(prefix):
        return None
    number = envelope.sequence * symbols + symbol_number(envelope.symbol)
    outcome = envelope.outcome
    return Seen(
        number, envelope.event_time, envelope.accepted_at, outcome.kind if outcome else None
    )


class PacketMaker:
    """Makes the packets of a load, one after another.

    Args:
        kind: What to make.
        symbols: How many symbols.
        timeout_ms: From acceptance to deadline.
        account: Account.
        priority: Of all packets; urgent ones are of symbols of their own.
    """

    def __init__(
        self,
        kind: Kind,
        symbols: int,
        timeout_ms: int,
        account: str,
        priority: Priority = Priority.NORMAL,
    ) -> None:
        self._kind = kind
        self._symbols = symbols
        self._timeout_us = timeout_ms * 1000
        self._account = account
        self._priority = priority
        self._bars: Iterator[MarketBar] = iter(SyntheticFeed(symbols, seed=_SEED))
        self._number = 0

    def take(self, count: int) -> list[MarketBar]:
        """Return the bars of the next packets, so that making them costs no time later."""
        return list(islice(self._bars, count))

    def make(self, market_bar: MarketBar, due_us: int, now_us: int) -> tuple[bytes, bytes]:
        """Return (key, value) of the next packet.

        Args:
            market_bar: Its bar, from `take`.
            due_us: When it is due.
            now_us: When it is sent.
        """
        sequence = self._number // self._symbols
        self._number += 1
        symbol = market_bar.symbol
        if is_urgent(self._priority):
            symbol = URGENT + symbol.removeprefix(NORMAL)
        envelope = self._envelope(symbol, sequence, due_us, now_us)
        packet: Struct
        if self._kind is Kind.MARKET:
            packet = MarketData(envelope, market_bar.bar)
        else:
            # A forwarded packet names its parent, too.
            envelope = msgspec.structs.replace(envelope, parent_id=envelope.flow_id)
            packet = StrategicSignal(_journal(self._number, now_us), envelope, market_bar.bar)
        return symbol.encode(), encode(packet)

    def _envelope(self, symbol: str, sequence: int, due_us: int, now_us: int) -> Envelope:
        flow = identity.flow_id(SOURCE, symbol, sequence)
        return Envelope(
            flow, identity.packet_id(flow, SOURCE), "", SuperpositionType.CONTEXT_UPDATE,
            SOURCE, "strategic", symbol, self._account, sequence, self._priority,
            due_us, now_us, now_us + self._timeout_us, 0, 2, (),
        )  # fmt: skip


def _journal(number: int, now_us: int) -> Journal:
    """Return a journal of the size that the engine's have."""
    return Journal(
        number, 1, "cascade.market", 0, number, -1, -1, number + 1, -1, -1, now_us, 1,
        "bench-00000000", "0" * 64,
    )  # fmt: skip
