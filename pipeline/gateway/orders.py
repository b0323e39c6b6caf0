"""The life of one order plan at the gateway, pure: what comes next, given what stands in the log.

Per child order, in this order:

1. `Submitting`: write a SUBMITTING record, once the child is due.
2. Read it back from the log, with no foreign marker before it, and only then fold it.
3. `Submit`: send it to the venue, the conditions checked once more
   (`pipeline.gateway.dealing.submit`).
4. Write its result. The flow's final state rides on the result of the last child.

A SUBMITTING record without a result that this owner did not just write (an older epoch), or has
sent already, is `Reconcile`: only the venue knows (`pipeline.gateway.dealing.reconcile`). What
nobody may send any more ends with `Finish`, without a word to the venue: no owner before this one
can have sent it, for its SUBMITTING would stand in the log.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from pipeline.errors import ForeignRecord
from pipeline.gateway.reasons import GatewayReason
from pipeline.gateway.venue import VenueOrder
from pipeline.packets.models import ChildOrder, ExecutionPlan, OrderEvent
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind, Side, Verdict
from pipeline.stages.plans import orders_of

__all__ = [
    "Conditions",
    "Finish",
    "FlowProgress",
    "Reconcile",
    "Result",
    "Step",
    "Submit",
    "Submitting",
    "Wait",
    "barrier",
    "needs_record",
    "next_steps",
    "venue_order",
]

_APPROVED: Final = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
# What a flow that ended before it had orders is to the risk stage: its reservation comes back.
_ENDS: Final = {
    OutcomeKind.HELD: OrderEventKind.REJECTED,
    OutcomeKind.REJECTED: OrderEventKind.REJECTED,
    OutcomeKind.EXPIRED: OrderEventKind.EXPIRED,
    OutcomeKind.SHED: OrderEventKind.EXPIRED,
    OutcomeKind.DEAD_LETTERED: OrderEventKind.DEAD_LETTERED,
}
_QUANTITY_TOLERANCE: Final = 1e-9  # relative; children are rounded shares of one quantity


@dataclass(frozen=True, slots=True)
class Conditions:
    """What decides, at one instant, whether an order may be sent.

    Attributes:
        now: Clock, microseconds since the Unix epoch; the last instant to send at is the deadline.
        trading: Whether the trading state is known, current, and allows orders.
        sandbox: Whether this gateway must not touch the venue at all.
        barred: Why this order may not be sent although others may; None where it may.
        unsigned: Whether the plan must be signed and is not, by a key that counts.
    """

    now: int
    trading: bool
    sandbox: bool = False
    barred: GatewayReason | None = None
    unsigned: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a child order, or a flow without orders, ended.

    Attributes:
        kind: What happened; never SUBMITTING.
        reasons: Why, first the gateway's own, then the venue's.
        filled: Units filled.
        price: Average price of what is filled; 0 where nothing is.
        fee: Commission, currency.
        venue_order_id: The venue's own id; empty where it never had the order.
    """

    kind: OrderEventKind
    reasons: tuple[str, ...] = ()
    filled: float = 0.0
    price: float = 0.0
    fee: float = 0.0
    venue_order_id: str = ""


@dataclass(frozen=True, slots=True)
class FlowProgress:
    """How far a flow is, as its records in the log tell.

    Attributes:
        submitting: Epoch of the SUBMITTING record of each child order that has one.
        results: The result of each child order that has one; "" for an event of the whole flow.
        state: State of the flow after the last record.
    """

    submitting: Mapping[str, int] = field(default_factory=dict)
    results: Mapping[str, OrderEvent] = field(default_factory=dict)
    state: FlowState = FlowState.OPEN

    @classmethod
    def fold(cls, events: Iterable[OrderEvent]) -> Self:
        """Return the progress that a flow's records, in the order of the log, amount to.

        Raises:
            ForeignRecord: If a child order or the flow ends twice.
        """
        progress = cls()
        for event in events:
            progress = progress.after(event)
        return progress

    def after(self, event: OrderEvent) -> Self:
        """Return the progress after one more record.

        Raises:
            ForeignRecord: If the child order or the flow had ended already.
        """
        name = event.client_order_id
        if self.ended or name in self.results:
            raise ForeignRecord(
                f"Expected no record after the end of order {name!r} of flow {event.flow_id}, "
                f"was {event.kind}; stop the gateway and look at the log with two writers in mind"
            )
        if event.kind is OrderEventKind.SUBMITTING:
            # Of two the older one counts: whoever wrote it may have sent the order.
            return type(self)({name: event.journal.epoch, **self.submitting}, self.results)
        return type(self)(self.submitting, {**self.results, name: event}, event.flow_state)

    @property
    def ended(self) -> bool:
        """Whether the flow has its final state."""
        return self.state is not FlowState.OPEN

    @property
    def filled(self) -> float:
        """Units filled so far."""
        return math.fsum(result.filled for result in self.results.values())

    @property
    def in_flight(self) -> list[str]:
        """Client order ids with a SUBMITTING record and no result, in the order of the log."""
        # `after` puts the newest first.
        return [name for name in reversed(list(self.submitting)) if name not in self.results]


@dataclass(frozen=True, slots=True)
class Submitting:
    """Write the SUBMITTING record of a child order."""

    order: ChildOrder


@dataclass(frozen=True, slots=True)
class Submit:
    """Send a child order whose SUBMITTING record was read back; see `dealing.submit`."""

    order: ChildOrder


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Ask the venue what became of a child order; see `dealing.reconcile`."""

    order: ChildOrder


@dataclass(frozen=True, slots=True)
class Finish:
    """Write a result without asking the venue; `order` is None for the whole flow."""

    order: ChildOrder | None
    result: Result


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at `until` (microseconds since the Unix epoch): the child is not due before."""

    order: ChildOrder
    until: int


Step = Submitting | Submit | Reconcile | Finish | Wait


def needs_record(plan: ExecutionPlan) -> bool:
    """Say whether a flow must end in the fills log.

    True where it has orders to send, and where risk approved it or reserved for it, so that risk
    gets the reservation back. Everything else ended for good in execution's own log.
    """
    if orders_of(plan):
        return True
    return plan.risk is not None and (plan.risk.reserved > 0.0 or plan.risk.verdict in _APPROVED)


def next_steps(
    plan: ExecutionPlan,
    progress: FlowProgress,
    conditions: Conditions,
    *,
    epoch: int,
    attempted: Collection[str],
) -> tuple[Step, ...]:
    """Return what is to be done now for a flow, at most one step per child order, in their order.

    Empty once the flow has ended, where it needs no record (`needs_record`), and for orders in
    flight in a sandbox, which is never to touch the venue: they stay in flight.

    The caller carries the steps out one by one and folds each record it writes before it builds
    the next: results at once, SUBMITTING only when read back. It does not ask again about a child
    whose SUBMITTING is under way.

    Args:
        plan: The order plan, from execution's log.
        progress: The flow's records so far.
        conditions: The conditions now.
        epoch: Epoch of the asking owner.
        attempted: Client order ids that this owner began to send in this epoch.
    """
    if progress.ended or not needs_record(plan):
        return ()
    if end := _end_without_orders(plan):
        return (Finish(None, end),)
    steps = (
        _next_step(plan, order, progress, conditions, epoch=epoch, attempted=attempted)
        for order in orders_of(plan)
        if order.client_order_id not in progress.results
    )
    return tuple(step for step in steps if step is not None)


def barrier(plan: ExecutionPlan, order: ChildOrder, conditions: Conditions) -> Result | None:
    """Return how a child order ends unsent under these conditions; None where it may be sent.

    In order: the plan's signature, a defect of the order against what risk approved, the sandbox,
    the trading state, what bars this order alone, the deadline.
    """
    if reason := GatewayReason.UNSIGNED if conditions.unsigned else _refusal(plan, order):
        return Result(OrderEventKind.REJECTED, (reason,))
    if conditions.sandbox:
        return Result(OrderEventKind.REJECTED, (GatewayReason.SANDBOX,))
    if not conditions.trading:
        return Result(OrderEventKind.HALTED, (GatewayReason.TRADING_HALTED,))
    if conditions.barred is not None:
        return Result(OrderEventKind.HALTED, (conditions.barred,))
    if conditions.now > plan.envelope.deadline:
        return Result(OrderEventKind.EXPIRED, (GatewayReason.DEADLINE_PASSED,))
    return None


def venue_order(plan: ExecutionPlan, order: ChildOrder) -> VenueOrder:
    """Return a child order as it goes to the venue."""
    return VenueOrder(
        client_order_id=order.client_order_id,
        flow_id=plan.envelope.flow_id,
        account=plan.envelope.account,
        symbol=plan.envelope.symbol,
        side=order.side,
        quantity=order.quantity,
        order_type=order.order_type,
        limit_price=order.limit_price,
        reference_price=plan.risk.envelope.reference_price if plan.risk else 0.0,
    )


def _end_without_orders(plan: ExecutionPlan) -> Result | None:
    """Return how a flow ends as a whole: none of its orders, if it has any, can be sent."""
    orders = orders_of(plan)
    names = {order.client_order_id for order in orders}
    if len(names) < len(orders):
        return Result(OrderEventKind.REJECTED, (GatewayReason.DUPLICATE_ORDER_ID,))
    if not all(name.startswith(f"{plan.envelope.flow_id}-") for name in names):
        return Result(OrderEventKind.REJECTED, (GatewayReason.FOREIGN_ORDER_ID,))
    if orders:
        return None
    outcome = plan.envelope.outcome
    if outcome is None:
        return Result(OrderEventKind.REJECTED, (GatewayReason.NOT_EXECUTED,))
    if outcome.kind is OutcomeKind.EXECUTED:
        return Result(OrderEventKind.REJECTED, (GatewayReason.NO_ORDERS,))
    return Result(_ENDS[outcome.kind], outcome.reasons)


def _next_step(
    plan: ExecutionPlan,
    order: ChildOrder,
    progress: FlowProgress,
    conditions: Conditions,
    *,
    epoch: int,
    attempted: Collection[str],
) -> Step | None:
    name = order.client_order_id
    standing = progress.submitting.get(name)
    if standing is not None and (standing != epoch or name in attempted):
        return None if conditions.sandbox else Reconcile(order)
    if end := barrier(plan, order, conditions):
        return Finish(order, end)
    if standing is not None:
        return Submit(order)
    due = plan.journal.now + order.delay_ms * 1000
    return Wait(order, due) if conditions.now < due else Submitting(order)


def _refusal(plan: ExecutionPlan, order: ChildOrder) -> GatewayReason | None:
    """Return what an order has against it by what risk approved, whatever the conditions."""
    if plan.risk is None or plan.risk.verdict not in _APPROVED:
        return GatewayReason.NOT_APPROVED
    envelope = plan.risk.envelope
    if order.side is Side.NONE or order.side is not envelope.side:
        return GatewayReason.SIDE_MISMATCH
    for number, reason in (
        (order.quantity, GatewayReason.INVALID_QUANTITY),
        (order.limit_price, GatewayReason.INVALID_PRICE),
        (envelope.reference_price, GatewayReason.NO_REFERENCE_PRICE),
    ):
        if not (math.isfinite(number) and number > 0.0):
            return reason
    # Written so that a NaN on either side refuses.
    if not _ordered_through(plan, order) <= envelope.max_quantity * (1.0 + _QUANTITY_TOLERANCE):
        return GatewayReason.ABOVE_ENVELOPE
    return None


def _ordered_through(plan: ExecutionPlan, order: ChildOrder) -> float:
    """Return the units of this child order and all before it: together they fit, or it does not."""
    orders = orders_of(plan)
    return math.fsum(child.quantity for child in orders[: orders.index(order) + 1])
