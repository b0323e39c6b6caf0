from typing import Any

import pytest

from pipeline.errors import InvalidPacket, MalformedPacket, PoisonError
from pipeline.market.faults import ItemKind, SendItem
from pipeline.market.feed import MarketBar
from pipeline.market.ingest import STALE_US, RecordMaker
from pipeline.packets import codec, identity
from pipeline.packets.models import Bar, MarketData
from pipeline.packets.vocabulary import SuperpositionType
from pipeline.settings import Settings

NOW_US = 1_700_000_000_000_000
OWN_US = 1_330_000_000_000_000
BAR = Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60)


def _maker(**settings: Any) -> RecordMaker:
    return RecordMaker(Settings(**settings))


def _item(kind: ItemKind = ItemKind.BAR, sequence: int = 7, dice: int = 0) -> SendItem:
    return SendItem(kind, MarketBar("AAPL", OWN_US, BAR), sequence, dice)


def _packet(value: bytes) -> MarketData:
    return codec.decode_as(value, MarketData)


def test_bar_becomes_an_ingest_packet() -> None:
    """The packet carries the bar, its ids, its route and its deadline."""
    record = _maker(account="desk", cascade_timeout_ms=250).make(_item(), NOW_US)
    found = _packet(record.value)
    flow_id = identity.flow_id("market", "AAPL", 7)
    assert record.key == b"AAPL"
    assert record.flow_id == found.envelope.flow_id == flow_id
    assert found.bar == BAR
    assert found.envelope.packet_type is SuperpositionType.CONTEXT_UPDATE
    assert (found.envelope.source_system, found.envelope.target_system) == ("market", "strategic")
    assert (found.envelope.account, found.envelope.symbol) == ("desk", "AAPL")
    assert (found.envelope.sequence, found.envelope.priority) == (7, 1)
    assert found.envelope.accepted_at == NOW_US
    assert found.envelope.deadline == NOW_US + 250_000
    assert dict(record.headers) == {
        "flow_id": flow_id.encode(),
        "deadline": str(NOW_US + 250_000).encode(),
    }


def test_live_bars_are_dated_now() -> None:
    """Under the wall clock event time is the moment of sending, whatever the bar's own time."""
    envelope = _packet(_maker().make(_item(), NOW_US).value).envelope
    assert (envelope.event_time, envelope.accepted_at) == (NOW_US, NOW_US)


def test_event_clock_dates_bars_by_their_own_time() -> None:
    """Under the event clock the bytes do not depend on when they are sent."""
    first = _maker(clock="event").make(_item(), NOW_US)
    envelope = _packet(first.value).envelope
    assert (envelope.event_time, envelope.accepted_at) == (OWN_US, OWN_US)
    assert envelope.deadline == OWN_US + 100_000
    assert first == _maker(clock="event").make(_item(), NOW_US + 12_345)


def test_duplicate_is_the_same_record() -> None:
    """A duplicate sent later has the bytes of the first, times included."""
    records = _maker()
    first = records.make(_item(), NOW_US)
    assert records.make(_item(ItemKind.DUPLICATE), NOW_US + 5000) == first


def test_late_bar_is_dated_before_the_one_that_overtook_it() -> None:
    """Out of order means an older event time and sequence, accepted only now."""
    records = _maker()
    overtaking = _packet(records.make(_item(sequence=8), NOW_US).value).envelope
    late = _packet(records.make(_item(ItemKind.OUT_OF_ORDER), NOW_US + 5000).value).envelope
    assert late.event_time < overtaking.event_time
    assert late.sequence < overtaking.sequence
    assert late.accepted_at == NOW_US + 5000


def test_nan_packet_is_readable_avro_that_is_refused() -> None:
    """Only the NaN is wrong with it: the reader names the packet invalid, not malformed."""
    record = _maker().make(_item(ItemKind.NAN), NOW_US)
    with pytest.raises(InvalidPacket):
        codec.decode(record.value)
    sound = _maker().make(_item(), NOW_US).value
    assert len(record.value) == len(sound)
    assert sum(a != b for a, b in zip(record.value, sound, strict=True)) <= 8
    assert record.flow_id == ""


@pytest.mark.parametrize("clock", ["wall", "event"])
def test_stale_packets_lie_beyond_the_gates(clock: str) -> None:
    """A stale bar is an hour old, and by turns was accepted an hour ago too."""
    fresh = NOW_US if clock == "wall" else OWN_US
    even, odd = (
        _packet(_maker(clock=clock).make(_item(ItemKind.STALE, dice=dice), NOW_US).value).envelope
        for dice in (0, 1)
    )
    assert even.event_time == odd.event_time == fresh - STALE_US
    assert (even.accepted_at, odd.accepted_at) == (fresh - STALE_US, fresh)
    assert even.deadline == even.accepted_at + 100_000


def test_no_poison_can_be_read() -> None:
    """Whatever the dice, poison bytes are refused, and every way of spoiling comes up."""
    records = _maker()
    lengths = set()
    unknown = 0
    sound = records.make(_item(), NOW_US).value
    for dice in range(500):
        record = records.make(_item(ItemKind.POISON, dice=dice), NOW_US)
        with pytest.raises(MalformedPacket) as raised:
            codec.decode(record.value)
        assert isinstance(raised.value, PoisonError)
        assert (record.key, record.flow_id) == (b"AAPL", "")
        lengths.add(len(record.value))
        unknown += "known schema" in str(raised.value)
    assert min(lengths) == 1
    assert max(lengths) == len(sound)
    assert unknown > 100


def test_poison_bytes_depend_on_the_dice_alone() -> None:
    """The same dice spoil the same packet alike."""
    poison = _item(ItemKind.POISON, dice=99)
    assert _maker().make(poison, NOW_US) == _maker().make(poison, NOW_US)
