"""The gateway's state: records of open flows, folded from the log and kept in snapshots."""

from pipeline.gateway.orders import FlowProgress, Result
from pipeline.gateway.state import GatewayFold, GatewayState, ends_flow
from pipeline.packets.models import ExecutionPlan
from pipeline.packets.vocabulary import OrderEventKind
from tests.unit.gateway.factories import FLOW, announced, child, ended, plan

FILLED = Result(OrderEventKind.FILLED, filled=10.0, price=100.0)


def _two() -> ExecutionPlan:
    return plan(child(0), child(1))


def test_an_announced_order_is_in_flight() -> None:
    """Its record is kept with the flow, under the epoch of who wrote it."""
    fold, state = GatewayFold(), GatewayState()
    event = announced(plan(child()), child(), epoch=4)
    fold.apply(state, event)
    assert FlowProgress.fold([event]) == state.progress(FLOW)
    assert {child().client_order_id: 4} == state.progress(FLOW).submitting


def test_a_flow_ends_with_its_last_child() -> None:
    """The first child's result leaves it open; the last one's takes it out of the state."""
    fold, state, order_plan = GatewayFold(), GatewayState(), _two()
    for order in (child(0), child(1)):
        fold.apply(state, announced(order_plan, order))
    first = ended(order_plan, state.progress(FLOW), child(0), FILLED)
    fold.apply(state, first)
    assert (False, 3) == (ends_flow(first), len(state.flows[FLOW]))
    last = ended(order_plan, state.progress(FLOW), child(1), FILLED)
    fold.apply(state, last)
    assert (True, {}) == (ends_flow(last), state.flows)


def test_an_unknown_flow_has_no_progress() -> None:
    """Nothing is in flight of a flow that the log does not name."""
    assert FlowProgress() == GatewayState().progress(FLOW)


def test_a_snapshot_holds_the_open_flows() -> None:
    """What was dumped is loaded alike, and folds on alike."""
    fold, state, order_plan = GatewayFold(), GatewayState(), _two()
    for order in (child(0), child(1)):
        fold.apply(state, announced(order_plan, order, epoch=3))
    loaded = fold.load(fold.dump(state))
    assert state == loaded
    fold.apply(loaded, ended(order_plan, state.progress(FLOW), child(0), FILLED))
    assert [child(1).client_order_id] == loaded.progress(FLOW).in_flight


def test_an_empty_state_has_a_snapshot_too() -> None:
    """Between orders there is nothing to keep."""
    fold = GatewayFold()
    assert GatewayState() == fold.load(fold.dump(fold.initial()))
