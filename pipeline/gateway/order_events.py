"""The records of the fills log, all fields but the journal, which belongs to who writes them."""

from typing import Any, Final

from pipeline.errors import FatalError
from pipeline.gateway.orders import FlowProgress, Result
from pipeline.packets.models import ChildOrder, ExecutionPlan
from pipeline.packets.vocabulary import FlowState, OrderEventKind, Side

__all__ = ["result_event", "submitting_event"]

# What a flow without any fill is called whose children ended in several ways: the first of these.
_GRAVEST_FIRST: Final = (
    OrderEventKind.DEAD_LETTERED,
    OrderEventKind.HALTED,
    OrderEventKind.EXPIRED,
    OrderEventKind.CANCELLED,
    OrderEventKind.REJECTED,
)
_LONGEST_REASON: Final = 128  # limits of `OrderEvent.reasons`
_MOST_REASONS: Final = 64


def submitting_event(plan: ExecutionPlan, order: ChildOrder) -> dict[str, Any]:
    """Return the fields of the record that announces an order, before it is sent."""
    return _fields(plan, order, Result(OrderEventKind.SUBMITTING), FlowState.OPEN)


def result_event(
    plan: ExecutionPlan, progress: FlowProgress, order: ChildOrder | None, result: Result
) -> dict[str, Any]:
    """Return the fields of the record that ends a child order, or with None the whole flow.

    The flow stays OPEN until every child order has its result. Then it is FILLED where all of them
    are, PARTIAL where any unit is filled, and else what happened to its children, the gravest
    first: dead-lettered, halted, expired, cancelled, rejected.

    Args:
        plan: The order plan.
        progress: The flow's records before this one.
        order: The child order, None for an event of the whole flow.
        result: How it ended.

    Raises:
        FatalError: If the whole flow is to end while an order is in flight.
    """
    if order is None and progress.in_flight:
        raise FatalError(
            f"Expected flow {plan.envelope.flow_id} to have no order in flight, was "
            f"{', '.join(progress.in_flight)}; reconcile before ending the flow"
        )
    return _fields(plan, order, result, _flow_state(plan, progress, order, result))


def _flow_state(
    plan: ExecutionPlan, progress: FlowProgress, order: ChildOrder | None, result: Result
) -> FlowState:
    kinds = {name: event.kind for name, event in progress.results.items()}
    kinds[order.client_order_id if order else ""] = result.kind
    children = plan.execution.orders if plan.execution else ()
    if order is not None and any(child.client_order_id not in kinds for child in children):
        return FlowState.OPEN
    if all(kind is OrderEventKind.FILLED for kind in kinds.values()):
        return FlowState.FILLED
    if progress.filled + result.filled > 0.0:
        return FlowState.PARTIAL
    return FlowState(next(kind for kind in _GRAVEST_FIRST if kind in kinds.values()))


def _fields(
    plan: ExecutionPlan, order: ChildOrder | None, result: Result, flow_state: FlowState
) -> dict[str, Any]:
    envelope = plan.envelope
    return {
        "flow_id": envelope.flow_id,
        "plan_id": envelope.packet_id,
        "account": envelope.account,
        "symbol": envelope.symbol,
        "client_order_id": order.client_order_id if order else "",
        "kind": result.kind,
        "flow_state": flow_state,
        "side": order.side if order else _approved_side(plan),
        "quantity": order.quantity if order else 0.0,
        "filled": result.filled,
        "price": result.price,
        "fee": result.fee,
        "venue_order_id": result.venue_order_id,
        "event_time": envelope.event_time,
        "accepted_at": envelope.accepted_at,
        "deadline": envelope.deadline,
        "reasons": _reasons(result),
    }


def _approved_side(plan: ExecutionPlan) -> Side:
    return plan.risk.envelope.side if plan.risk else Side.NONE


def _reasons(result: Result) -> tuple[str, ...]:
    # `str` of a plain string enumeration's member is its value.
    named = [str(reason)[:_LONGEST_REASON] for reason in result.reasons if reason]
    return tuple(named[:_MOST_REASONS])
