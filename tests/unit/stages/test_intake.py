"""From a round's messages to inputs: the reading rule, decoding, fates sealed before deciding."""

from typing import Any

import pytest
from msgspec import structs

from pipeline.packets.codec import encode
from pipeline.packets.models import (
    Journal,
    MarketData,
    OrderEvent,
    Outcome,
    PortfolioUpdate,
    StrategicSignal,
)
from pipeline.packets.vocabulary import (
    FlowState,
    OrderEventKind,
    OutcomeKind,
    Side,
    SuperpositionType,
)
from pipeline.settings import load_settings
from pipeline.stages.contract import Input
from pipeline.stages.fates import NO_BAR, Fate
from pipeline.stages.intake import Intake
from pipeline.stages.routes import ROUTES
from pipeline.transport.log import Position
from tests.unit.stages.engine_factories import (
    MARKET,
    NOW,
    marker,
    market_data,
    messages,
    ownership_of,
    taken,
)

STRATEGIC = ("cascade.strategic", 0)


def _take(
    *values: Any, stage: str = "strategic", now: int = NOW, clock: str = "wall"
) -> list[Input]:
    where = (ROUTES[stage].spec.subscribed, 0)
    intake = Intake(ROUTES[stage], load_settings(broker=None, clock=clock))
    ownership = ownership_of(stage, where)
    inputs, _ = intake.take(ownership, taken(messages(*values, topic_=where[0])), now)
    return inputs


def _reason(each: Input) -> str:
    return each.fate.reasons[0] if each.fate else ""


def _signal(sequence: int, epoch: int, **changes: Any) -> bytes:
    """Return a record of the strategic log."""
    journal = Journal(
        sequence, epoch, MARKET, 0, sequence, -1, -1, sequence + 1, -1, -1, NOW, 0, "o", "b"
    )
    packet = market_data(sequence=sequence)
    fields: dict[str, Any] = {
        "packet_type": SuperpositionType.STRATEGIC_SIGNAL,
        "source_system": "strategic",
        "target_system": "tactical",
        **changes,
    }
    return encode(StrategicSignal(journal, structs.replace(packet.envelope, **fields), packet.bar))


def test_a_good_packet_is_left_to_the_stage() -> None:
    """Nothing is sealed of a packet that belongs here and is in time."""
    (each,) = _take(market_data())
    assert (market_data(), None, None) == (each.packet, each.error, each.fate)


@pytest.mark.parametrize(
    "value", [None, b"", b"\x00", encode(market_data())[:30], encode(market_data()) + b"\x00"]
)
def test_bytes_that_are_no_packet_are_sealed(value: bytes | None) -> None:
    """Whatever cannot be read ends as malformed, its bytes at hand."""
    (each,) = _take(value)
    assert (Fate.MALFORMED, None, value) == (_reason(each), each.packet, each.value)


@pytest.mark.parametrize(
    "packet",
    [
        market_data(flow_id="another"),
        market_data(deadline=NOW - 1, accepted_at=NOW),
        MarketData(market_data().envelope, structs.replace(market_data().bar, low=20.0, high=20.5)),
    ],
    ids=["identity", "deadline before acceptance", "no bar"],
)
def test_packets_that_break_a_rule_are_sealed(packet: MarketData) -> None:
    """A packet that contradicts itself is dead-lettered before the stage sees it."""
    (each,) = _take(packet)
    assert Fate.VALIDATION == _reason(each)
    assert each.fate is not None
    assert OutcomeKind.DEAD_LETTERED is each.fate.kind


@pytest.mark.parametrize(
    "value",
    [
        encode(market_data(target_system="risk")),
        encode(market_data(packet_type=SuperpositionType.EXECUTION_PLAN)),
        _signal(0, 0),
        marker(),
    ],
    ids=["target", "type", "another stage's record", "marker"],
)
def test_packets_of_others_are_routing_errors(value: bytes) -> None:
    """There is no default route: what does not belong to the stage is dead-lettered."""
    (each,) = _take(value)
    assert Fate.ROUTING == _reason(each)


def _order_event() -> OrderEvent:
    journal = Journal(0, 0, MARKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, "o", "b")
    return OrderEvent(
        journal, "flow", "plan", "main", "AAPL", "order", OrderEventKind.FILLED, FlowState.FILLED,
        Side.BUY, 1.0, 1.0, 1.0, 0.0, "", NOW, NOW, NOW, (),
    )  # fmt: skip


def _portfolio_update() -> PortfolioUpdate:
    journal = Journal(0, 0, MARKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, "o", "b")
    return PortfolioUpdate(
        journal, "flow", "main", "AAPL", "order", OrderEventKind.FILLED, FlowState.FILLED,
        Side.BUY, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("record", [_order_event(), _portfolio_update()])
def test_records_without_an_envelope_do_not_reach_the_wrong_policy(record: Any) -> None:
    """A fill on the ingest topic is a routing error, not a failure of the policy."""
    (each,) = _take(encode(record))
    assert Fate.ROUTING == _reason(each)


def test_risk_takes_fills_and_execution_takes_portfolio_updates() -> None:
    """The two stages that read such records get them unsealed."""
    fills = _take(marker(), encode(_order_event()), stage="risk")
    updates = _take(marker(), encode(_portfolio_update()), stage="execution")
    assert [None, None] == [each.fate for each in (*fills, *updates)]


def test_an_expired_packet_keeps_its_bar() -> None:
    """Past its deadline a packet ends as expired; later stages still take its bar."""
    late = market_data()
    (each,) = _take(late, now=late.envelope.deadline + 1)
    assert each.fate is not None
    assert (OutcomeKind.EXPIRED, (Fate.DEADLINE,)) == (each.fate.kind, each.fate.reasons)
    assert Fate.DEADLINE not in NO_BAR


def test_at_its_deadline_a_packet_is_in_time() -> None:
    """The deadline itself is the last moment that counts."""
    packet = market_data()
    (each,) = _take(packet, now=packet.envelope.deadline)
    assert None is each.fate


def test_under_the_event_clock_now_is_the_packets_own_time() -> None:
    """The wall clock decides nothing: now is acceptance, and no deadline passes."""
    (each,) = _take(market_data(accepted_at=50, deadline=60), now=NOW, clock="event")
    assert (50, None) == (each.now, each.fate)


def test_a_sealed_flow_keeps_its_outcome() -> None:
    """What an earlier stage sealed is not judged again, late or not."""
    outcome = Outcome(OutcomeKind.HELD, "strategic", ("WARMUP",))
    (each,) = _take(marker(), _signal(0, 0, outcome=outcome), stage="tactical", now=NOW * 2)
    assert outcome == each.fate


def test_of_a_log_only_what_counts_is_taken() -> None:
    """Markers, records of ended epochs and records behind a hole give no input."""
    inputs = _take(
        marker(), _signal(0, 0), _signal(1, 0), marker("b"), _signal(2, 0), _signal(2, 3),
        _signal(4, 3), _signal(3, 3), b"noise", stage="tactical",
    )  # fmt: skip
    assert [1, 2, 5, 7] == [each.offset for each in inputs]
    assert [(0, -1), (0, 0), (3, 1), (3, 2)] == [each.prior for each in inputs]
    assert [(0, 0), (0, 1), (3, 2), (3, 3)] == [(each.epoch, each.sequence) for each in inputs]


def test_records_that_give_no_input_move_the_position() -> None:
    """Behind markers and ignored records the input is resumed with the rule's position there."""
    ownership = ownership_of("tactical", STRATEGIC)
    intake = Intake(ROUTES["tactical"], load_settings(broker=None))
    found = messages(marker(), marker("b"), _signal(0, 0), topic_=STRATEGIC[0])
    assert ([], {}) == intake.take(ownership, taken(found), NOW)
    assert Position(3, 1, -1) == ownership.positions[STRATEGIC].position


def test_partitions_of_others_are_left_alone() -> None:
    """A round's records that belong to another ownership are not this one's inputs."""
    intake = Intake(ROUTES["strategic"], load_settings(broker=None))
    found = messages(market_data(), partition_=1)
    assert ([], {}) == intake.take(ownership_of(), taken(found), NOW)


def test_topics_lose_their_namespace() -> None:
    """Inputs name topics as topics.yaml does, whatever namespace they are read from."""
    intake = Intake(ROUTES["strategic"], load_settings(broker=None, namespace="mine"))
    found = messages(market_data(), topic_=f"mine.{MARKET}")
    inputs, _ = intake.take(ownership_of(), taken(found), NOW)
    assert [MARKET] == [each.topic for each in inputs]
