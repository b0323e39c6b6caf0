"""A flow for people and machines: ids, latencies, lines."""

import pytest
from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.errors import UsageError
from pipeline.gateway.order_events import result_event, submitting_event
from pipeline.gateway.orders import FlowProgress, Result
from pipeline.packets.models import OrderEvent, Trace
from pipeline.packets.vocabulary import FlowState, OrderEventKind
from pipeline.replay.flow import Flow, Step, flow_of
from pipeline.replay.flow_view import flow_lines, flow_to_dict, step_latencies
from pipeline.replay.reading import Entry
from tests.unit.gateway.factories import ACCEPTED_AT, FLOW, child, journal, plan

TRACE = (
    Trace("risk", ACCEPTED_AT + 1000, ACCEPTED_AT + 2000, ACCEPTED_AT + 3000),
    Trace("execution", ACCEPTED_AT + 3700, ACCEPTED_AT + 4000, ACCEPTED_AT + 6500),
)
FILL = Result(OrderEventKind.FILLED, (), 10.0, 100.5, 0.05, "paper-1")


def _entry(topic: str, offset: int, after_us: int) -> Entry:
    return Entry(topic, 0, offset, (ACCEPTED_AT + after_us) // 1000, None, b"")


@pytest.fixture
def flow() -> Flow:
    """A flow from its plan to the fill."""
    order = child()
    made = plan(order)
    made = replace(made, envelope=replace(made.envelope, trace=TRACE))
    submitting = OrderEvent(
        journal=journal(now=ACCEPTED_AT + 7000), **submitting_event(made, order)
    )
    progress = FlowProgress().after(submitting)
    fill = OrderEvent(
        journal=journal(log_sequence=1, now=ACCEPTED_AT + 9000),
        **result_event(made, progress, order, FILL),
    )
    view = ControlView(TradingState.REDUCING, 5, current=True, reason="reduced by me: test")
    return Flow(
        FLOW,
        (
            Step(_entry("cascade.execution", 3, 8000), made, view),
            Step(_entry("cascade.fills", 7, 8000), submitting, view),
            Step(_entry("cascade.fills", 8, 9000), fill, view),
        ),
        unknown=("Expected a record, was none (at cascade.risk[0]@2)",),
    )


@pytest.mark.parametrize(
    "suffix", ["", "-market", "-tactical", "-execution", "-unreadable", "-003"]
)
def test_each_id_of_a_flow_names_it(suffix: str) -> None:
    """A packet's id and a client order's id do as well as the flow's own."""
    assert flow_of(f" {FLOW}{suffix} ") == FLOW


def test_no_id_is_an_error() -> None:
    """An empty id is refused, not looked for."""
    with pytest.raises(UsageError, match="Expected a flow id"):
        flow_of("  ")


def test_a_record_says_where_its_time_went(flow: Flow) -> None:
    """Transport, queue, processing and broker add up to the time since the decision before."""
    assert {"transport": 0.7, "queue": 0.3, "processing": 2.5, "broker": 1.5} == step_latencies(
        flow.steps[0]
    )


def test_the_flow_has_its_ends(flow: Flow) -> None:
    """Plan and last fill are timed from acceptance; the gateway's last word is the state."""
    content = flow_to_dict(flow)
    assert {"to_plan": 6.5, "to_fill": 9.0} == content["latency_ms"]
    assert (FlowState.FILLED, "executed") == (content["order_state"], content["outcome"]["kind"])
    assert ["cascade.execution", "cascade.fills", "cascade.fills"] == [
        step["topic"] for step in content["steps"]
    ]


def test_lines_hold_what_matters(flow: Flow) -> None:
    """Where each record stands, the order and its fill, the control state, and what is missing."""
    text = "\n".join(flow_lines(flow))
    for part in (
        "cascade.execution[0]@3  ExecutionPlan",
        f"{FLOW}-000: FILLED, flow FILLED",
        "BUY 10 of 10 at 100.5",
        "REDUCING at epoch 5; reduced by me: test",
        "not known: Expected a record, was none (at cascade.risk[0]@2)",
    ):
        assert part in text
