"""Builds order plans and their records for the gateway's tests."""

from typing import Any

from msgspec.structs import replace

from pipeline.gateway.order_events import result_event, submitting_event
from pipeline.gateway.orders import Conditions, FlowProgress, Result
from pipeline.gateway.venue import VenueOrder
from pipeline.packets.identity import client_order_id, flow_id
from pipeline.packets.models import (
    ChildOrder,
    Envelope,
    Execution,
    ExecutionPlan,
    Journal,
    OrderEvent,
    Outcome,
    Risk,
    RiskEnvelope,
)
from pipeline.packets.vocabulary import (
    OrderType,
    OutcomeKind,
    Side,
    SuperpositionType,
    Verdict,
)

ACCEPTED_AT = 1_700_000_000_000_000
DEADLINE = ACCEPTED_AT + 100_000
PLANNED_AT = ACCEPTED_AT + 30_000
FLOW = flow_id("market", "AAPL", 7)
OPEN = Conditions(now=PLANNED_AT, trading=True)


def journal(epoch: int = 0, log_sequence: int = 0, now: int = PLANNED_AT) -> Journal:
    """Return a journal of which only epoch, sequence and time matter."""
    return Journal(
        log_sequence, epoch, "cascade.execution", 0, 0, 0, 0, 1, 0, 0, now, 0, "test", "test"
    )


def child(
    index: int = 0, quantity: float = 10.0, *, flow: str = FLOW, **changes: Any
) -> ChildOrder:
    """Return a child order of a flow: a marketable limit order to buy."""
    order = ChildOrder(client_order_id(flow, index), Side.BUY, quantity, OrderType.LIMIT, 101.0, 0)
    return replace(order, **changes)


def plan(
    *orders: ChildOrder,
    flow: str = FLOW,
    outcome: Outcome | None = Outcome(OutcomeKind.EXECUTED, "execution", ()),  # noqa: B008 - frozen
    verdict: Verdict = Verdict.APPROVE,
    max_quantity: float = 100.0,
    reference_price: float = 100.0,
    reserved: float = 10_000.0,
) -> ExecutionPlan:
    """Return the order plan of a flow that risk decided on."""
    envelope = Envelope(
        flow_id=flow,
        packet_id=f"{flow}-execution",
        parent_id=f"{flow}-risk",
        packet_type=SuperpositionType.EXECUTION_PLAN,
        source_system="execution",
        target_system="gateway",
        symbol="AAPL",
        account="main",
        sequence=7,
        priority=1,
        event_time=ACCEPTED_AT,
        accepted_at=ACCEPTED_AT,
        deadline=DEADLINE,
        retry_count=0,
        max_retries=2,
        trace=(),
        outcome=outcome,
    )
    bounds = RiskEnvelope(Side.BUY, max_quantity, reference_price, 95.0, 110.0)
    risk = Risk(verdict, 0.1, (), bounds, (), 1e6, 0.0, 0.0, 0.0, reserved)
    execution = Execution(orders, 0.5, 0.01, 0.0, ()) if orders else None
    return ExecutionPlan(journal(), envelope, risk=risk, execution=execution)


def announced(order_plan: ExecutionPlan, order: ChildOrder, epoch: int = 0) -> OrderEvent:
    """Return the SUBMITTING record of a child order, as written under `epoch`."""
    return OrderEvent(journal=journal(epoch), **submitting_event(order_plan, order))


def ended(
    order_plan: ExecutionPlan,
    progress: FlowProgress,
    order: ChildOrder | None,
    result: Result,
    epoch: int = 0,
) -> OrderEvent:
    """Return the record of a result, as written under `epoch`."""
    return OrderEvent(journal=journal(epoch), **result_event(order_plan, progress, order, result))


def venue_order(name: str = "order-1", **changes: Any) -> VenueOrder:
    """Return a marketable limit order to buy 10 units near 100."""
    fields: dict[str, Any] = {
        "client_order_id": name,
        "flow_id": FLOW,
        "account": "main",
        "symbol": "AAPL",
        "side": Side.BUY,
        "quantity": 10.0,
        "order_type": OrderType.LIMIT,
        "limit_price": 101.0,
        "reference_price": 100.0,
    }
    return VenueOrder(**{**fields, **changes})


class Clock:
    """A clock that moves only when told, microseconds."""

    def __init__(self, now: int = PLANNED_AT) -> None:
        self.now = now

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the time pass without waiting for it."""
        self.now += round(seconds * 1e6)
