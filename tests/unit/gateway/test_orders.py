import math
from typing import Any

import pytest

from pipeline.errors import FatalError, ForeignRecord
from pipeline.gateway.order_events import result_event, submitting_event
from pipeline.gateway.orders import (
    Conditions,
    Finish,
    FlowProgress,
    Reconcile,
    Result,
    Step,
    Submit,
    Submitting,
    Wait,
    barrier,
    needs_record,
    next_steps,
    venue_order,
)
from pipeline.gateway.reasons import GatewayReason
from pipeline.packets.codec import decode, encode
from pipeline.packets.models import ExecutionPlan, OrderEvent, Outcome
from pipeline.packets.vocabulary import (
    FlowState,
    OrderEventKind,
    OrderType,
    OutcomeKind,
    Side,
    Verdict,
)
from tests.unit.gateway.factories import (
    ACCEPTED_AT,
    DEADLINE,
    FLOW,
    OPEN,
    PLANNED_AT,
    announced,
    child,
    ended,
    journal,
    plan,
)

HALTED = Conditions(now=PLANNED_AT, trading=False)
LATE = Conditions(now=DEADLINE + 1, trading=True)
BARRED = Conditions(now=PLANNED_AT, trading=True, barred=GatewayReason.ISOLATED)
SANDBOX = Conditions(now=PLANNED_AT, trading=True, sandbox=True)
FILLED = Result(OrderEventKind.FILLED, (), 10.0, 100.5, 0.05, "paper-1")
NOTHING = FlowProgress()


def _steps(
    order_plan: ExecutionPlan,
    progress: FlowProgress = NOTHING,
    conditions: Conditions = OPEN,
    *,
    epoch: int = 5,
    attempted: tuple[str, ...] = (),
) -> tuple[Step, ...]:
    return next_steps(order_plan, progress, conditions, epoch=epoch, attempted=attempted)


def _outcome(kind: OutcomeKind, *reasons: str) -> Outcome:
    return Outcome(kind, "execution", reasons)


def _finish(kind: OrderEventKind, *reasons: str, of: Any = None) -> tuple[Finish]:
    return (Finish(of, Result(kind, reasons)),)


def test_a_new_plan_starts_with_an_announcement_per_child() -> None:
    """Each child order that is due gets its SUBMITTING record first."""
    orders = child(0), child(1)
    assert tuple(Submitting(order) for order in orders) == _steps(plan(*orders))


def test_a_child_order_waits_until_it_is_due() -> None:
    """A delayed child is announced only after its delay from the planning."""
    order = child(delay_ms=20)
    due = PLANNED_AT + 20_000
    assert (Wait(order, due),) == _steps(plan(order), conditions=Conditions(due - 1, trading=True))
    assert (Submitting(order),) == _steps(plan(order), conditions=Conditions(due, trading=True))


def test_an_announcement_read_back_is_followed_by_the_submit() -> None:
    """A SUBMITTING of the own epoch allows to send the order."""
    order = child()
    progress = FlowProgress.fold([announced(plan(order), order, epoch=5)])
    assert (Submit(order),) == _steps(plan(order), progress)


def test_an_order_is_sent_once_by_its_owner() -> None:
    """An order that the owner began to send is never sent by it again, only reconciled."""
    order = child()
    progress = FlowProgress.fold([announced(plan(order), order, epoch=5)])
    attempted = (order.client_order_id,)
    assert (Reconcile(order),) == _steps(plan(order), progress, attempted=attempted)


@pytest.mark.parametrize("conditions", [OPEN, HALTED, LATE])
def test_an_announcement_of_an_earlier_owner_is_reconciled(conditions: Conditions) -> None:
    """What an earlier epoch announced may have been sent, whatever the conditions are now."""
    order = child()
    progress = FlowProgress.fold([announced(plan(order), order, epoch=4)])
    assert (Reconcile(order),) == _steps(plan(order), progress, conditions)


def test_of_two_announcements_the_older_counts() -> None:
    """An announcement repeated under a new epoch does not hide that the old one may be sent."""
    order = child()
    events = [announced(plan(order), order, epoch=epoch) for epoch in (4, 5)]
    assert (Reconcile(order),) == _steps(plan(order), FlowProgress.fold(events))


def test_a_sandbox_leaves_orders_in_flight_alone() -> None:
    """A sandbox asks no venue, so what is in flight stays in flight."""
    order = child()
    progress = FlowProgress.fold([announced(plan(order), order, epoch=4)])
    assert () == _steps(plan(order), progress, SANDBOX)


@pytest.mark.parametrize(
    ("conditions", "kind", "reason"),
    [
        (HALTED, OrderEventKind.HALTED, GatewayReason.TRADING_HALTED),
        (LATE, OrderEventKind.EXPIRED, GatewayReason.DEADLINE_PASSED),
        (SANDBOX, OrderEventKind.REJECTED, GatewayReason.SANDBOX),
        (BARRED, OrderEventKind.HALTED, GatewayReason.ISOLATED),
    ],
)
@pytest.mark.parametrize("own_announcement", [False, True])
def test_conditions_end_a_child_before_it_is_sent(
    own_announcement: bool, conditions: Conditions, kind: OrderEventKind, reason: str
) -> None:
    """Halt, deadline and sandbox are checked before the announcement and again after it."""
    order = child()
    events = [announced(plan(order), order, epoch=5)] if own_announcement else []
    progress = FlowProgress.fold(events)
    assert _finish(kind, reason, of=order) == _steps(plan(order), progress, conditions)


def test_the_deadline_itself_is_in_time() -> None:
    """An order may be sent at its deadline, not a microsecond later."""
    order = child()
    at_deadline, later = (Conditions(DEADLINE + late, trading=True) for late in (0, 1))
    assert barrier(plan(order), order, at_deadline) is None
    assert barrier(plan(order), order, later) is not None


@pytest.mark.parametrize("verdict", [Verdict.DELAY, Verdict.REJECT, Verdict.EMERGENCY_STOP])
def test_no_order_without_approval(verdict: Verdict) -> None:
    """A plan whose risk verdict is neither APPROVE nor REDUCE_SIZE sends nothing."""
    order = child()
    expected = _finish(OrderEventKind.REJECTED, GatewayReason.NOT_APPROVED, of=order)
    assert expected == _steps(plan(order, verdict=verdict))


def test_a_reduced_size_is_an_approval() -> None:
    """REDUCE_SIZE lets the orders through."""
    order = child()
    assert (Submitting(order),) == _steps(plan(order, verdict=Verdict.REDUCE_SIZE))


def test_no_order_without_a_risk_decision() -> None:
    """A plan without the risk stage's part sends nothing."""
    order = child()
    source = plan(order)
    unchecked = ExecutionPlan(source.journal, source.envelope, execution=source.execution)
    expected = _finish(OrderEventKind.REJECTED, GatewayReason.NOT_APPROVED, of=order)
    assert expected == _steps(unchecked)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": Side.SELL}, GatewayReason.SIDE_MISMATCH),
        ({"side": Side.NONE}, GatewayReason.SIDE_MISMATCH),
        ({"quantity": 100.001}, GatewayReason.ABOVE_ENVELOPE),
        ({"quantity": 0.0}, GatewayReason.INVALID_QUANTITY),
        ({"quantity": -1.0}, GatewayReason.INVALID_QUANTITY),
        ({"quantity": math.nan}, GatewayReason.INVALID_QUANTITY),
        ({"limit_price": math.inf}, GatewayReason.INVALID_PRICE),
        ({"limit_price": 0.0}, GatewayReason.INVALID_PRICE),
    ],
)
def test_an_order_outside_the_envelope_is_never_sent(
    changes: dict[str, Any], reason: GatewayReason
) -> None:
    """An order that risk did not approve in side and size ends rejected, with the reason."""
    order = child(**changes)
    assert _finish(OrderEventKind.REJECTED, reason, of=order) == _steps(plan(order))


def test_no_order_without_a_reference_price() -> None:
    """A plan that was approved on no price sends nothing."""
    order = child()
    expected = _finish(OrderEventKind.REJECTED, GatewayReason.NO_REFERENCE_PRICE, of=order)
    assert expected == _steps(plan(order, reference_price=0.0))


def test_no_order_within_an_envelope_that_is_no_number() -> None:
    """A bound of NaN bounds nothing, so nothing is sent."""
    order = child()
    expected = _finish(OrderEventKind.REJECTED, GatewayReason.ABOVE_ENVELOPE, of=order)
    assert expected == _steps(plan(order, max_quantity=math.nan))


def test_child_orders_together_stay_within_the_envelope() -> None:
    """The child with which the sum passes the envelope is refused, those before it are sent."""
    fits, exceeds = child(0, 60.0), child(1, 60.0)
    expected = (
        Submitting(fits),
        *_finish(OrderEventKind.REJECTED, GatewayReason.ABOVE_ENVELOPE, of=exceeds),
    )
    assert expected == _steps(plan(fits, exceeds))


def test_rounding_in_the_split_is_no_excess() -> None:
    """Thirds that sum to the envelope up to rounding are all sent."""
    orders = [child(index, 100.0 / 3.0) for index in range(3)]
    expected = tuple(Submitting(order) for order in orders)
    assert expected == _steps(plan(*orders, max_quantity=math.nextafter(100.0, 0.0)))


def test_a_refused_order_of_an_earlier_owner_is_reconciled() -> None:
    """What may have been sent is reconciled even where this owner would not send it."""
    order = child(side=Side.SELL)
    progress = FlowProgress.fold([announced(plan(order), order, epoch=4)])
    assert (Reconcile(order),) == _steps(plan(order), progress)


@pytest.mark.parametrize(
    ("orders", "reason"),
    [
        ((child(0), child(0)), GatewayReason.DUPLICATE_ORDER_ID),
        ((child(0), child(0, flow="0" * 32)), GatewayReason.FOREIGN_ORDER_ID),
    ],
)
def test_a_plan_with_ids_not_its_own_is_refused_as_a_whole(
    orders: tuple[Any, ...], reason: GatewayReason
) -> None:
    """Ids that repeat, or belong to another flow, would break the guarantee of one order each."""
    assert _finish(OrderEventKind.REJECTED, reason) == _steps(plan(*orders))


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (OutcomeKind.HELD, OrderEventKind.REJECTED),
        (OutcomeKind.REJECTED, OrderEventKind.REJECTED),
        (OutcomeKind.EXPIRED, OrderEventKind.EXPIRED),
        (OutcomeKind.SHED, OrderEventKind.EXPIRED),
        (OutcomeKind.DEAD_LETTERED, OrderEventKind.DEAD_LETTERED),
    ],
)
def test_a_reservation_comes_back_with_one_event(
    outcome: OutcomeKind, kind: OrderEventKind
) -> None:
    """A flow that risk reserved for and execution ended has one record, with its reasons."""
    order_plan = plan(outcome=_outcome(outcome, "WHY"))
    (finish,) = _finish(kind, "WHY")
    assert (finish,) == _steps(order_plan)
    event = ended(order_plan, NOTHING, None, finish.result)
    expected = ("", kind, FlowState(kind), Side.BUY, 0.0)
    actual = (event.client_order_id, event.kind, event.flow_state, event.side, event.quantity)
    assert expected == actual
    assert () == _steps(order_plan, FlowProgress.fold([event]))


@pytest.mark.parametrize("outcome", [kind for kind in OutcomeKind if kind != "executed"])
@pytest.mark.parametrize("with_orders", [False, True])
def test_orders_of_a_flow_that_was_not_executed_are_never_sent(
    with_orders: bool, outcome: OutcomeKind
) -> None:
    """Whatever else a plan holds, only the outcome `executed` sends orders."""
    orders = (child(),) if with_orders else ()
    (step,) = _steps(plan(*orders, outcome=_outcome(outcome)))
    assert isinstance(step, Finish)


def test_a_flow_without_fate_or_orders_ends_rejected() -> None:
    """A plan that neither ended nor has orders fails closed."""
    undecided = _steps(plan(child(), outcome=None))
    assert _finish(OrderEventKind.REJECTED, GatewayReason.NOT_EXECUTED) == undecided
    assert _finish(OrderEventKind.REJECTED, GatewayReason.NO_ORDERS) == _steps(plan())


def test_a_flow_that_reserved_nothing_needs_no_record() -> None:
    """A flow that risk never approved nor reserved for leaves nothing in the fills log."""
    held = plan(outcome=_outcome(OutcomeKind.HELD), verdict=Verdict.REJECT, reserved=0.0)
    early = ExecutionPlan(held.journal, held.envelope)
    assert [False, False] == [needs_record(held), needs_record(early)]
    assert [(), ()] == [_steps(held), _steps(early)]


def test_a_reservation_without_approval_comes_back_too() -> None:
    """Whatever the verdict says, what was reserved is given back."""
    delayed = plan(outcome=_outcome(OutcomeKind.REJECTED), verdict=Verdict.DELAY, reserved=1.0)
    assert needs_record(delayed)
    assert _finish(OrderEventKind.REJECTED) == _steps(delayed)


def test_an_approved_flow_needs_a_record_even_without_a_reservation() -> None:
    """An approval that reserved nothing, as one that closes a position, ends here all the same."""
    expired = plan(outcome=_outcome(OutcomeKind.EXPIRED), reserved=0.0)
    assert needs_record(expired)
    assert _finish(OrderEventKind.EXPIRED) == _steps(expired)


def test_results_end_children_and_the_last_one_the_flow() -> None:
    """The state of the flow rides on the result of the last child; then nothing is left to do."""
    orders = child(0), child(1)
    order_plan = plan(*orders)
    first = ended(order_plan, NOTHING, orders[0], FILLED)
    progress = NOTHING.after(first)
    assert FlowState.OPEN is first.flow_state
    assert (Submitting(orders[1]),) == _steps(order_plan, progress)
    last = ended(order_plan, progress, orders[1], FILLED)
    assert FlowState.FILLED is last.flow_state
    progress = progress.after(last)
    assert (True, 20.0, ()) == (progress.ended, progress.filled, _steps(order_plan, progress))


def _result(kind: OrderEventKind) -> Result:
    filled = {OrderEventKind.FILLED: 10.0, OrderEventKind.PARTIALLY_FILLED: 4.0}.get(kind, 0.0)
    return Result(kind, (), filled, 100.0 if filled else 0.0)


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (("FILLED", "FILLED"), FlowState.FILLED),
        (("FILLED", "REJECTED"), FlowState.PARTIAL),
        (("EXPIRED", "FILLED"), FlowState.PARTIAL),
        (("PARTIALLY_FILLED", "HALTED"), FlowState.PARTIAL),
        (("PARTIALLY_FILLED",), FlowState.PARTIAL),
        (("CANCELLED", "CANCELLED"), FlowState.CANCELLED),
        (("REJECTED", "CANCELLED"), FlowState.CANCELLED),
        (("EXPIRED", "REJECTED"), FlowState.EXPIRED),
        (("HALTED", "EXPIRED"), FlowState.HALTED),
        (("REJECTED",), FlowState.REJECTED),
        (("DEAD_LETTERED", "HALTED"), FlowState.DEAD_LETTERED),
    ],
)
def test_the_final_state_says_what_happened(kinds: tuple[str, ...], state: FlowState) -> None:
    """All filled, some filled, else the gravest of what happened, in whatever order it came."""
    for sequence in (kinds, kinds[::-1]):
        orders = [child(index) for index in range(len(sequence))]
        order_plan, progress = plan(*orders), NOTHING
        for order, kind in zip(orders, sequence, strict=True):
            result = _result(OrderEventKind(kind))
            progress = progress.after(ended(order_plan, progress, order, result))
        assert state is progress.state


def test_a_flow_event_after_fills_is_partial() -> None:
    """A flow given up after some quantity was filled is PARTIAL, not what ended it."""
    orders = child(0), child(1)
    order_plan = plan(*orders)
    progress = NOTHING.after(ended(order_plan, NOTHING, orders[0], FILLED))
    dead = Result(OrderEventKind.DEAD_LETTERED, ("BROKEN",))
    assert FlowState.PARTIAL is ended(order_plan, progress, None, dead).flow_state
    assert FlowState.DEAD_LETTERED is ended(order_plan, NOTHING, None, dead).flow_state


def test_a_flow_with_an_order_in_flight_cannot_be_given_up() -> None:
    """An unknown outcome is no failure: the order must be reconciled first."""
    order = child()
    progress = FlowProgress.fold([announced(plan(order), order)])
    with pytest.raises(FatalError, match=order.client_order_id):
        result_event(plan(order), progress, None, Result(OrderEventKind.DEAD_LETTERED))


def test_in_flight_are_the_announced_without_result() -> None:
    """Orders in flight are named in the order of the log."""
    orders = [child(index) for index in range(3)]
    order_plan = plan(*orders)
    progress = FlowProgress.fold([announced(order_plan, order) for order in orders])
    progress = progress.after(ended(order_plan, progress, orders[1], FILLED))
    assert [orders[0].client_order_id, orders[2].client_order_id] == progress.in_flight


def test_a_second_end_is_foreign() -> None:
    """Neither a child order nor a flow ends twice, and no record follows the end."""
    orders = child(0), child(1)
    order_plan = plan(*orders)
    first = ended(order_plan, NOTHING, orders[0], FILLED)
    with pytest.raises(ForeignRecord, match=orders[0].client_order_id):
        FlowProgress.fold([first, first])
    last = ended(order_plan, NOTHING.after(first), orders[1], FILLED)
    with pytest.raises(ForeignRecord):
        FlowProgress.fold([first, last, announced(order_plan, child(2))])


def test_an_announcement_carries_the_order() -> None:
    """A SUBMITTING record has all fields but the journal, and survives the wire."""
    order = child()
    fields = submitting_event(plan(order), order)
    assert {
        "flow_id": FLOW,
        "plan_id": f"{FLOW}-execution",
        "account": "main",
        "symbol": "AAPL",
        "client_order_id": f"{FLOW}-000",
        "kind": OrderEventKind.SUBMITTING,
        "flow_state": FlowState.OPEN,
        "side": Side.BUY,
        "quantity": 10.0,
        "filled": 0.0,
        "price": 0.0,
        "fee": 0.0,
        "venue_order_id": "",
        "event_time": ACCEPTED_AT,
        "accepted_at": ACCEPTED_AT,
        "deadline": DEADLINE,
        "reasons": (),
    } == fields
    event = OrderEvent(journal=journal(), **fields)
    assert event == decode(encode(event))


def test_a_result_carries_the_fill() -> None:
    """A result's record has the venue's figures."""
    order = child()
    event = ended(plan(order), NOTHING, order, FILLED)
    actual = (event.kind, event.filled, event.price, event.fee, event.venue_order_id)
    assert (OrderEventKind.FILLED, 10.0, 100.5, 0.05, "paper-1") == actual
    assert event == decode(encode(event))


def test_reasons_fit_their_field() -> None:
    """Reasons that are empty, too long or too many are cut to what the record takes."""
    order = child()
    reasons = ("", GatewayReason.SANDBOX, "x" * 500, *(str(number) for number in range(100)))
    event = ended(plan(order), NOTHING, order, Result(OrderEventKind.REJECTED, reasons))
    assert ("SANDBOX", "x" * 128, "0", 64) == (*event.reasons[:3], len(event.reasons))
    assert event == decode(encode(event))


def test_the_venue_gets_what_risk_approved_on() -> None:
    """An order goes out with flow, account and the reference price of the envelope."""
    order = venue_order(plan(child()), child())
    expected = (f"{FLOW}-000", FLOW, "main", "AAPL", Side.BUY, 10.0, OrderType.LIMIT, 101.0, 100.0)
    assert expected == (
        order.client_order_id,
        order.flow_id,
        order.account,
        order.symbol,
        order.side,
        order.quantity,
        order.order_type,
        order.limit_price,
        order.reference_price,
    )
