"""The packets of a measurement."""

import pytest

from pipeline.bench.packets import Kind, PacketMaker, seen_of
from pipeline.bench.peers.hops import HOPS, forward
from pipeline.packets.codec import decode, decode_as
from pipeline.packets.models import MarketData, StrategicSignal
from pipeline.rules.market import check_market_data

SYMBOLS = 7
DUE, NOW = 1_800_000_000_000_000, 1_800_000_000_000_250


def made(kind: Kind, count: int) -> list[bytes]:
    """Return the first packets of a load."""
    maker = PacketMaker(kind, SYMBOLS, 100, "main")
    return [maker.make(bar, DUE + number, NOW)[1] for number, bar in enumerate(maker.take(count))]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_packet_says_which_it_is_and_when_it_was_due(kind: Kind) -> None:
    """Numbers run on over symbols and sequences, so that what is missing shows."""
    seen = [seen_of(decode(value), SYMBOLS) for value in made(kind, 30)]
    assert [(number, DUE + number, NOW, None) for number in range(30)] == seen


def test_market_data_is_what_the_pipeline_takes() -> None:
    """The load passes the rules for market data."""
    for value in made(Kind.MARKET, 20):
        check_market_data(decode_as(value, MarketData))


def test_a_forwarded_packet_has_a_trace_of_each_hop_and_nothing_else_changed() -> None:
    """Peers decode, add a trace and encode; the packet stays the same."""
    (value,) = made(Kind.SIGNAL, 1)
    forwarded = value
    for hop in HOPS:
        forwarded = forward(forwarded, hop)
    before, after = decode_as(value, StrategicSignal), decode_as(forwarded, StrategicSignal)
    assert list(HOPS) == [each.stage for each in after.envelope.trace]
    assert (before.journal, before.bar) == (after.journal, after.bar)
    assert before.envelope.flow_id == after.envelope.flow_id
