"""From a bar to its ingest record: ids, times, deadline, and the bytes of each fault."""

import io
import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from fastavro import schemaless_writer

from pipeline.market.faults import ItemKind, SendItem
from pipeline.packets import codec, identity, schemas
from pipeline.packets.models import Envelope, MarketData
from pipeline.packets.vocabulary import Priority, SuperpositionType
from pipeline.settings import Settings

__all__ = ["SOURCE", "STALE_US", "IngestRecord", "RecordMaker"]

SOURCE = "market"
STALE_US = 3_600_000_000
"""How far back a stale packet's times lie, microseconds: beyond any gate."""

_MAGIC = b"\xc3\x01"
_HEADER = 10
_MOST_NOISE = 64
_LATE_US = 1000


class IngestRecord(NamedTuple):
    """A record for the ingest topic.

    Attributes:
        key: The symbol.
        value: Packet, or what passes for one.
        headers: Copies of flow id and deadline for tools; nothing is decided from them.
        flow_id: Of the packet; empty where nobody can read it, since such a flow is named by
            where its record lies.
    """

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    flow_id: str


class RecordMaker:
    """Makes ingest records of items.

    Live (`settings.clock` is `wall`), a bar counts as just made: event time and acceptance are the
    moment of sending, so that gates on age work on old data too; the bar's own time is then not in
    the packet. A bar out of order is dated a millisecond before the one that overtook it. Under the
    event clock, event time and acceptance are the bar's own time, and nothing depends on when it is
    sent.

    Args:
        settings: Account, time-out and clock.
        encode: Gives a good packet its bytes; what is spoilt is spoilt in our own framing.
    """

    def __init__(
        self, settings: Settings, encode: Callable[[MarketData], bytes] = codec.encode
    ) -> None:
        self._encode = encode
        self._account = settings.account
        self._timeout_us = settings.cascade_timeout_ms * 1000
        self._live = settings.clock == "wall"
        self._retries = settings.stages.strategic.retries
        self._latest_us: dict[str, int] = {}
        self._latest: dict[str, IngestRecord] = {}

    def make(self, item: SendItem, now_us: int) -> IngestRecord:
        """Return the record of an item.

        Args:
            item: What to send; a duplicate must follow the item that it repeats.
            now_us: Moment of sending, microseconds since the Unix epoch, UTC.

        Raises:
            InvalidPacket: If the bar breaks a rule.
        """
        symbol = item.market_bar.symbol
        if item.kind is ItemKind.DUPLICATE:
            return self._latest.pop(symbol)
        packet = MarketData(self._envelope(item, now_us), item.market_bar.bar)
        if item.kind is ItemKind.POISON:
            return IngestRecord(symbol.encode(), _poison(codec.encode(packet), item.dice), [], "")
        value = _with_nan(packet) if item.kind is ItemKind.NAN else self._encode(packet)
        flow_id = packet.envelope.flow_id
        deadline = str(packet.envelope.deadline).encode()
        headers = [("flow_id", flow_id.encode()), ("deadline", deadline)]
        readable = "" if item.kind is ItemKind.NAN else flow_id
        record = IngestRecord(symbol.encode(), value, headers, readable)
        self._latest[symbol] = record
        return record

    def _envelope(self, item: SendItem, now_us: int) -> Envelope:
        symbol = item.market_bar.symbol
        flow_id = identity.flow_id(SOURCE, symbol, item.sequence)
        event_time, accepted_at = self._times(item, now_us)
        return Envelope(
            flow_id=flow_id,
            packet_id=identity.packet_id(flow_id, SOURCE),
            parent_id="",
            packet_type=SuperpositionType.CONTEXT_UPDATE,
            source_system=SOURCE,
            target_system="strategic",
            symbol=symbol,
            account=self._account,
            sequence=item.sequence,
            priority=Priority.NORMAL,
            event_time=event_time,
            accepted_at=accepted_at,
            deadline=accepted_at + self._timeout_us,
            retry_count=0,
            max_retries=self._retries,
            trace=(),
        )

    def _times(self, item: SendItem, now_us: int) -> tuple[int, int]:
        """Return event time and acceptance."""
        symbol, own_us, _ = item.market_bar
        if item.kind is ItemKind.STALE:
            fresh = now_us if self._live else own_us
            stale = max(0, fresh - STALE_US)
            # By turns an old bar that comes in now, and one that was accepted long ago too.
            return stale, fresh if item.dice % 2 else stale
        if not self._live:
            return own_us, own_us
        if item.kind is ItemKind.OUT_OF_ORDER:
            return self._latest_us.get(symbol, now_us) - _LATE_US, now_us
        self._latest_us[symbol] = now_us
        return now_us, now_us


def _with_nan(packet: MarketData) -> bytes:
    """Return a packet whose close is NaN, as only a writer other than ours would make it."""
    schema = schemas.current("MarketData")
    bar = msgspec.to_builtins(packet.bar) | {"close": float("nan")}
    out = io.BytesIO()
    out.write(_MAGIC + schemas.fingerprint_of(schema))
    schemaless_writer(out, schema, msgspec.to_builtins(packet) | {"bar": bar})
    return out.getvalue()


def _poison(value: bytes, dice: int) -> bytes:
    """Return noise, the packet cut short, or the packet under a schema that nobody knows."""
    rng = random.Random(dice)
    kind = rng.randrange(3)
    if kind == 0:
        return b"\x00" + rng.randbytes(rng.randrange(_MOST_NOISE))
    if kind == 1:
        return value[: rng.randrange(_HEADER, len(value))]
    unknown = bytes(byte ^ 0xFF for byte in value[len(_MAGIC) : _HEADER])
    return _MAGIC + unknown + value[_HEADER:]
