"""Rules for market data: a bar is one, the identity is its own, the times fit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.errors import InvalidPacket
from pipeline.packets.models import Bar, MarketData
from pipeline.rules.market import check_market_data
from tests.unit.stages.engine_factories import market_data

PRICES = st.floats(0.01, 1e6)


def _with_bar(**changes: Any) -> MarketData:
    packet = market_data()
    return MarketData(packet.envelope, replace(packet.bar, **changes))


@given(st.lists(PRICES, min_size=4, max_size=4).map(sorted), st.booleans())
def test_bars_are_accepted(prices: list[float], up: bool) -> None:
    """Low and high around open and close, in either direction, equal ones included."""
    low, first, second, high = prices
    start, end = (first, second) if up else (second, first)
    packet = market_data()
    check_market_data(MarketData(packet.envelope, Bar(start, high, low, end, 0.0, 60)))


@pytest.mark.parametrize(
    "packet",
    [
        _with_bar(low=10.2),
        _with_bar(low=10.6, open=10.7),
        _with_bar(high=10.4),
        _with_bar(high=9.9),
        _with_bar(low=11.0, high=9.0),
    ],
    ids=["low above open", "low above close", "high below close", "high below open", "crossed"],
)
def test_what_is_no_bar_is_refused(packet: MarketData) -> None:
    """Open and close lie between low and high."""
    with pytest.raises(InvalidPacket, match="low <= open, close <= high"):
        check_market_data(packet)


@pytest.mark.parametrize(
    "changes",
    [{"flow_id": "other"}, {"packet_id": "other"}, {"source_system": "other"}, {"sequence": 8}],
)
def test_an_identity_that_is_not_its_own_is_refused(changes: dict[str, Any]) -> None:
    """Flow and packet id are functions of source, symbol and sequence."""
    good = market_data(sequence=7)
    packet = MarketData(replace(good.envelope, **changes), good.bar)
    with pytest.raises(InvalidPacket, match="Expected flow"):
        check_market_data(packet)


def test_a_deadline_before_acceptance_is_refused() -> None:
    """The deadline may be the moment of acceptance, not earlier."""
    accepted_at = market_data().envelope.accepted_at
    check_market_data(market_data(deadline=accepted_at))
    with pytest.raises(InvalidPacket, match="deadline after acceptance"):
        check_market_data(market_data(deadline=accepted_at - 1))
