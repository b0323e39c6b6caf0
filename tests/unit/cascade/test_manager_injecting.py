"""From what is injected to a packet."""

from typing import Any

import numpy as np
import pytest

from pipeline.cascade.manager.injecting import UNNAMED, Injector
from pipeline.errors import InvalidPacket, RoutingError
from pipeline.packets.codec import decode, encode
from pipeline.packets.events import EmergencyEvent, EmergencyLevel, EmergencyType
from pipeline.packets.identity import flow_id
from pipeline.packets.models import Bar, MarketData
from pipeline.packets.vocabulary import SuperpositionType
from pipeline.settings import load_settings
from pipeline.testing import ManualClock

BAR = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 5.0}


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
def injector(clock: ManualClock) -> Injector:
    """An injector with default settings."""
    return Injector(load_settings(), clock)


def packet_of(injector: Injector, data: Any, **more: Any) -> MarketData:
    """Return the packet that data makes, as it would be read."""
    made = injector.context_update(data, "market_data", more.pop("priority", 1), **more)
    found = decode(encode(made.packet))
    assert isinstance(found, MarketData)
    assert (made.flow_id, made.packet_id) == (found.envelope.flow_id, found.envelope.packet_id)
    assert found.envelope.symbol.encode() == made.key
    return found


def test_a_mapping_becomes_a_packet_that_fits_the_first_stage(
    injector: Injector, clock: ManualClock
) -> None:
    """Times, deadline, priority and identity are those that the first stage checks."""
    found = packet_of(injector, BAR, symbol="IBM", sequence=7, priority=2)

    envelope = found.envelope
    assert Bar(10.0, 11.0, 9.0, 10.5, 5.0, 60) == found.bar
    assert flow_id("market_data", "IBM", 7) == envelope.flow_id
    assert ("market_data", "strategic", 2) == (
        envelope.source_system, envelope.target_system, envelope.priority,
    )  # fmt: skip
    assert clock.now_us() == envelope.event_time == envelope.accepted_at
    assert clock.now_us() + 100_000 == envelope.deadline


@pytest.mark.parametrize("timeout_ms", [50, 170])
def test_the_deadline_is_as_far_off_as_the_timeout(clock: ManualClock, timeout_ms: int) -> None:
    """`cascade_timeout_ms` is from acceptance to deadline."""
    found = packet_of(Injector(load_settings(cascade_timeout_ms=timeout_ms), clock), BAR)
    assert timeout_ms * 1000 == found.envelope.deadline - found.envelope.accepted_at


def test_urgent_packets_go_to_the_priority_lane(injector: Injector) -> None:
    """High and emergency ones overtake; all others go where they always went."""
    topics = [injector.context_update(BAR, "market_data", each).topic for each in (1, 2, 3)]
    assert ["cascade.market", "cascade.market.priority", "cascade.market.priority"] == topics


def test_two_injections_without_a_number_are_two_flows(injector: Injector) -> None:
    """Even at the same microsecond, and without a symbol, numbers rise."""
    first, second = packet_of(injector, BAR), packet_of(injector, BAR)

    assert UNNAMED == first.envelope.symbol == second.envelope.symbol
    assert first.envelope.sequence < second.envelope.sequence
    assert first.envelope.flow_id != second.envelope.flow_id


def test_the_same_number_is_the_same_flow(injector: Injector) -> None:
    """A repeated source, symbol and number name one flow."""
    first = packet_of(injector, BAR, symbol="A", sequence=3)

    assert (
        first.envelope.flow_id == packet_of(injector, BAR, symbol="A", sequence=3).envelope.flow_id
    )


def test_numbers_go_on_after_those_given(injector: Injector, clock: ManualClock) -> None:
    """A number given by hand beyond the clock is not undercut by the next one."""
    packet_of(injector, BAR, symbol="A", sequence=clock.now_us() + 10)

    assert clock.now_us() + 11 == packet_of(injector, BAR, symbol="A").envelope.sequence


@pytest.mark.parametrize(
    ("data", "close", "symbol"),
    [
        (Bar(1.0, 1.0, 1.0, 1.0, 0.0, 60), 1.0, UNNAMED),
        ({"price": 3, "symbol": "X"}, 3.0, "X"),
        ({**BAR, "close": np.float64(10.25), "symbol": "Y", "sequence": np.int64(4)}, 10.25, "Y"),
    ],
)
def test_data_may_have_several_forms(
    injector: Injector, data: Any, close: float, symbol: str
) -> None:
    """A bar, a price alone and numpy's scalars are taken."""
    found = packet_of(injector, data)

    assert (close, symbol) == (found.bar.close, found.envelope.symbol)


def test_market_data_keeps_what_it_says(injector: Injector) -> None:
    """A packet that is injected again keeps symbol, number and event time, with a new deadline."""
    given = packet_of(injector, {**BAR, "event_time": 5}, symbol="Z", sequence=9)

    found = packet_of(injector, given)

    assert ("Z", 9, 5) == (
        found.envelope.symbol, found.envelope.sequence, found.envelope.event_time,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "more", "named"),
    [
        ({**BAR, "high": 1.0}, {}, "high"),
        ({**BAR, "close": float("nan")}, {}, "close|MarketData"),
        ({**BAR, "close": -1.0}, {}, "close"),
        ({**BAR, "colour": 1}, {}, "colour"),
        ({"open": 1.0}, {}, "high|close|low"),
        (BAR, {"priority": 4}, "priority"),
        ({**BAR, "sequence": "x"}, {}, "sequence"),
        (BAR, {"symbol": ""}, "symbol"),
        ("text", {}, "str"),
    ],
)
def test_invalid_data_is_refused(
    injector: Injector, data: Any, more: dict[str, Any], named: str
) -> None:
    """What breaks a rule never reaches the topic, and the error names it."""
    with pytest.raises(InvalidPacket, match=named):
        packet_of(injector, data, **more)


@pytest.mark.parametrize(
    ("packet_type", "source"),
    [
        (SuperpositionType.STRATEGIC_SIGNAL, "strategic"),
        (SuperpositionType.EXECUTION_PLAN, "execution"),
        (SuperpositionType.CONTEXT_UPDATE, "tactical"),
        ("NOISE", "market_data"),
    ],
)
def test_what_goes_nowhere_is_a_routing_error(
    injector: Injector, packet_type: str, source: str
) -> None:
    """No other combination of type and source has a default route."""
    with pytest.raises(RoutingError, match=f"{packet_type}|{source}"):
        injector.kind_of(packet_type, source)


def test_an_emergency_signal_becomes_an_event(injector: Injector, clock: ManualClock) -> None:
    """It needs type, level and description; the rest has defaults."""
    assert SuperpositionType.EMERGENCY_SIGNAL is injector.kind_of("EMERGENCY_SIGNAL", "tactical")
    data = {
        "emergency_type": "SYSTEM_FAILURE",
        "emergency_level": "CRITICAL",
        "description": "it is gone",
        "context": {"since_s": 3},
    }

    made = injector.emergency(data, "tactical")

    event = decode(encode(made.packet))
    assert isinstance(event, EmergencyEvent)
    assert (EmergencyType.SYSTEM_FAILURE, EmergencyLevel.CRITICAL, ("tactical",)) == (
        event.emergency_type, event.emergency_level, event.affected_systems,
    )  # fmt: skip
    assert ('{"since_s":3}', clock.now_us()) == (event.context, event.timestamp)
    assert (made.packet_id, "cascade.emergency") == (event.event_id, made.topic)
    with pytest.raises(InvalidPacket, match="emergency_level"):
        injector.emergency({**data, "emergency_level": "BAD"}, "tactical")
