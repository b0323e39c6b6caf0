"""A flow for people and machines: ids, latencies, lines."""

import pytest

from pipeline.errors import UsageError
from pipeline.packets.vocabulary import FlowState
from pipeline.replay.flow import Flow, flow_of
from pipeline.replay.flow_view import flow_lines, flow_to_dict, step_latencies
from tests.unit.gateway.factories import FLOW
from tests.unit.replay.flows import traded_flow


@pytest.fixture
def flow() -> Flow:
    """A flow from its plan to the fill."""
    return traded_flow()


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
