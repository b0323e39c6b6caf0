"""Flows as `FlowFinder` returns them."""

from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.gateway.order_events import result_event, submitting_event
from pipeline.gateway.orders import FlowProgress, Result
from pipeline.packets.models import OrderEvent, Trace
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.replay.flow import Flow, Step
from pipeline.replay.reading import Entry
from tests.unit.gateway.factories import ACCEPTED_AT, FLOW, child, journal, plan

TRACE = (
    Trace("risk", ACCEPTED_AT + 1000, ACCEPTED_AT + 2000, ACCEPTED_AT + 3000),
    Trace("execution", ACCEPTED_AT + 3700, ACCEPTED_AT + 4000, ACCEPTED_AT + 6500),
)
FILL = Result(OrderEventKind.FILLED, (), 10.0, 100.5, 0.05, "paper-1")


def _entry(topic: str, offset: int, after_us: int) -> Entry:
    return Entry(topic, 0, offset, (ACCEPTED_AT + after_us) // 1000, None, b"")


def traded_flow() -> Flow:
    """Return a flow from its plan to the fill."""
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
