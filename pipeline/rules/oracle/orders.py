"""Orders in the logs: approved before, within their bounds, announced in time, ended once."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from pipeline.packets.models import ExecutionPlan, OrderEvent, RiskAssessment
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind, Verdict
from pipeline.rules.oracle.reading import Accepted

__all__ = [
    "needs_end",
    "one_end_per_flow",
    "orders_are_announced_in_time",
    "orders_are_approved",
    "orders_keep_to_their_bounds",
]

_APPROVED = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_TOLERANCE = 1e-9  # relative; sums of fractions of one quantity


def orders_are_approved(
    risk: Iterable[Accepted], execution: Iterable[Accepted], fills: Iterable[Accepted] = ()
) -> list[str]:
    """Check that each order has one approving risk decision before it, and an id of its own.

    The flows with orders and the approved flows that were executed are the same, one to one; what
    was announced to the venue was planned, in the plan that it names.
    """
    approvals: dict[tuple[int, int], RiskAssessment] = {}
    for partition, offset, record, _ in risk:
        if isinstance(record, RiskAssessment) and record.risk and record.risk.verdict in _APPROVED:
            approvals[partition, offset] = record
    found = _repeated("flow", "approved", (a.envelope.flow_id for a in approvals.values()))
    planned: dict[str, tuple[int, int]] = {}
    flows = []
    for partition, offset, plan, journal in execution:
        orders = plan.execution.orders if plan.execution else ()
        if not orders or not _executed(plan):
            continue
        flows.append(plan.envelope.flow_id)
        approval = approvals.get((journal.input_partition, journal.input_offset))
        if approval is None or approval.envelope.flow_id != plan.envelope.flow_id:
            found.append(f"flow {plan.envelope.flow_id}: orders without an approval")
        for order in orders:
            if order.client_order_id in planned:
                found.append(f"order {order.client_order_id}: planned twice")
            if not order.client_order_id.startswith(plan.envelope.flow_id):
                found.append(f"order {order.client_order_id}: not of {plan.envelope.flow_id}")
            planned[order.client_order_id] = (partition, offset)
    found += _repeated("flow", "planned", flows)
    for each in fills:
        found += _announced_as_planned(each, planned)
    return found


def orders_keep_to_their_bounds(
    risk: Iterable[Accepted], execution: Iterable[Accepted]
) -> list[str]:
    """Check that the orders of a plan are on the approved side and together no more than approved.

    The bounds are those of risk's own log, not those that the plan says it was given.
    """
    approvals = {
        (each.partition, each.offset): each.record.risk
        for each in risk
        if isinstance(each.record, RiskAssessment) and each.record.risk
    }
    found = []
    for _, _, plan, journal in execution:
        orders = plan.execution.orders if plan.execution else ()
        bounds = approvals.get((journal.input_partition, journal.input_offset))
        if not orders or bounds is None or not _executed(plan):
            continue
        ordered, most = math.fsum(each.quantity for each in orders), bounds.envelope.max_quantity
        if ordered > most * (1.0 + _TOLERANCE):
            found.append(f"flow {plan.envelope.flow_id}: {ordered} ordered, {most} approved")
        if any(each.side is not bounds.envelope.side for each in orders):
            found.append(f"flow {plan.envelope.flow_id}: orders not on {bounds.envelope.side}")
    return found


def orders_are_announced_in_time(fills: Iterable[Accepted], *, grace_us: int = 0) -> list[str]:
    """Check that no order was announced after its deadline, by the clock of who announced it.

    Args:
        fills: Records of the fills log that count.
        grace_us: Microseconds that may pass between the check and the record's time.
    """
    return [
        f"order {event.client_order_id}: announced {late / 1000:.1f} ms after its deadline"
        for _, _, event, journal in fills
        if isinstance(event, OrderEvent)
        and event.kind is OrderEventKind.SUBMITTING
        and (late := journal.now - event.deadline) > grace_us
    ]


def one_end_per_flow(execution: Iterable[Accepted], fills: Iterable[Accepted]) -> list[str]:
    """Check that each flow that risk approved ends exactly once in the fills log, and last.

    Flows that risk neither approved nor reserved for have no business there.
    """
    expected = {
        plan.envelope.flow_id
        for _, _, plan, _ in execution
        if isinstance(plan, ExecutionPlan) and needs_end(plan)
    }
    ended: set[str] = set()
    found = []
    for _, offset, event, _ in fills:
        if event.flow_id in ended:
            found.append(f"flow {event.flow_id}: a record at {offset}, after its end")
        if event.flow_id not in expected:
            found.append(f"flow {event.flow_id}: a record at {offset}, never approved")
        if event.flow_state is not FlowState.OPEN:
            ended.add(event.flow_id)
    found += [f"flow {flow}: no end" for flow in sorted(expected - ended)]
    return found


def needs_end(plan: ExecutionPlan) -> bool:
    """Say whether a flow must end in the fills log: it has orders, or risk holds room for it."""
    if plan.execution is not None and plan.execution.orders and _executed(plan):
        return True
    return plan.risk is not None and (plan.risk.reserved > 0.0 or plan.risk.verdict in _APPROVED)


def _announced_as_planned(each: Accepted, planned: Mapping[str, tuple[int, int]]) -> list[str]:
    event, journal = each.record, each.journal
    if not isinstance(event, OrderEvent) or event.kind is not OrderEventKind.SUBMITTING:
        return []
    where = planned.get(event.client_order_id)
    if where is None:
        return [f"order {event.client_order_id}: announced, never planned"]
    if where != (journal.input_partition, journal.input_offset):
        return [f"order {event.client_order_id}: announced from another plan than its own"]
    return []


def _executed(plan: ExecutionPlan) -> bool:
    outcome = plan.envelope.outcome
    return outcome is not None and outcome.kind is OutcomeKind.EXECUTED


def _repeated(what: str, done: str, names: Iterable[str]) -> list[str]:
    counts = Counter(names)
    return [f"{what} {name}: {done} {count} times" for name, count in counts.items() if count > 1]
