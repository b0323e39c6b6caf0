"""The execution stage: plans, vetoes, state."""

import itertools
import random
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.errors import ForeignRecord, RoutingError
from pipeline.packets.codec import decode, encode
from pipeline.packets.identity import client_order_id
from pipeline.packets.models import ExecutionPlan, PortfolioUpdate, RiskAssessment, RiskEnvelope
from pipeline.packets.superposition import check, chosen
from pipeline.packets.vocabulary import (
    FlowState,
    OrderEventKind,
    OrderType,
    OutcomeKind,
    Side,
    Verdict,
)
from pipeline.policies.execution import AGENTS, PATHS, ExecutionSettings
from pipeline.stages.contract import Context, seal
from pipeline.stages.execution_logic import ExecutionLogic
from pipeline.stages.reasons import ExecutionReason
from tests.unit.stages.risk_factories import (
    ACTIVE,
    HALTED,
    JOURNAL,
    SmallEngine,
    assessed,
    bar,
    cut,
    given,
    raw,
    signal,
    strategic,
    tactical,
)

REJECTED = seal(OutcomeKind.REJECTED, "risk", "GROSS_LIMIT")


def engine(settings: ExecutionSettings | None = None) -> SmallEngine:
    """Return an execution stage that knows nothing yet."""
    return SmallEngine(ExecutionLogic(settings), ExecutionPlan)


def verdict(kind: Verdict, **changes: Any) -> RiskAssessment:
    """Return an assessment with another verdict."""
    made = assessed()
    assert made.risk is not None
    return structs.replace(made, risk=structs.replace(made.risk, verdict=kind, **changes))


def test_an_approval_becomes_a_plan() -> None:
    """An approved flow ends as executed, with orders under ids that follow from the flow."""
    record = engine().one(assessed(quantity=600.0))
    orders = record.execution.orders
    flow = record.envelope.flow_id
    assert record.envelope.outcome == seal(OutcomeKind.EXECUTED, "execution")
    assert [order.client_order_id for order in orders] == [
        client_order_id(flow, index) for index in range(3)
    ]
    assert sum(order.quantity for order in orders) == 600.0
    assert {order.side for order in orders} == {Side.BUY}
    assert {order.order_type for order in orders} == {OrderType.LIMIT}
    assert record.execution.participation == 600.0 / 1e6


def test_an_urgent_signal_goes_to_market() -> None:
    """A sure signal in a moving market is sent as MARKET orders, with a protective limit."""
    sure = tactical(probability=0.99)
    fast = strategic(volatility=0.02)
    packet = assessed(tactical=sure, strategic=fast)
    late = engine().one(packet, now=packet.envelope.accepted_at + 50_000)
    assert late.execution.orders[0].order_type is OrderType.MARKET
    assert late.execution.orders[0].limit_price > 100.0
    assert ExecutionReason.URGENT in late.execution.reasons


def test_delays_stay_within_what_is_left_of_the_deadline() -> None:
    """However late it is, no slice is delayed beyond the deadline."""
    for late_us in range(0, 100_000, 9_000):
        packet = assessed(quantity=2000.0)
        record = engine().one(packet, now=packet.envelope.accepted_at + late_us)
        left_ms = (100_000 - late_us) // 1000
        assert all(order.delay_ms <= left_ms for order in record.execution.orders)
        assert record.execution.orders


def test_records_fit_the_schema() -> None:
    """Plans with and without orders survive the wire unchanged."""
    made = engine()
    records = [
        made.one(assessed()),
        made.one(verdict(Verdict.REJECT)),
        made.one(assessed(bar=None)),
    ]
    assert [decode(encode(record)) for record in records] == records


def test_each_agent_stands_in_the_record() -> None:
    """The record of a plan has a distribution of each agent, over all paths."""
    views = engine().one(assessed()).views
    assert tuple(view.source for view in views) == AGENTS
    for view in views:
        check(view.distribution)
        assert set(view.distribution) == set(PATHS)
        assert view.confidence == view.distribution[chosen(view.distribution)]


@pytest.mark.parametrize("kind", [Verdict.DELAY, Verdict.REJECT, Verdict.EMERGENCY_STOP])
def test_no_order_without_an_approval(kind: Verdict) -> None:
    """Whatever else the packet holds, only APPROVE and REDUCE_SIZE lead to orders."""
    record = engine().one(verdict(kind))
    expected = seal(OutcomeKind.REJECTED, "execution", ExecutionReason.NOT_APPROVED)
    assert (record.execution.orders, record.envelope.outcome) == ((), expected)
    assert engine().one(assessed(risk=None)).envelope.outcome == expected
    assert engine().one(verdict(Verdict.REDUCE_SIZE)).execution.orders


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (TradingState.HALTED, ExecutionReason.TRADING_HALTED),
        (TradingState.REDUCING, ExecutionReason.TRADING_REDUCING),
    ],
)
def test_halted_plans_nothing(state: TradingState, reason: ExecutionReason) -> None:
    """A flow that was approved before a halt gets no orders after it."""
    made = engine()
    made.control = ControlView(state, 5, current=True)
    record = made.one(assessed())
    assert record.execution.orders == ()
    assert record.envelope.outcome.reasons == (reason,)


@pytest.mark.parametrize(("state", "passes"), [("HALTED", False), ("REDUCING", True)])
def test_reducing_plans_what_reduces(state: str, passes: bool) -> None:
    """While REDUCING, a flow that risk found to reduce a position gets its orders."""
    packet = assessed()
    assert packet.risk is not None
    reducing = structs.replace(packet, risk=structs.replace(packet.risk, reducing=True))
    made = engine()
    made.control = ControlView(TradingState(state), 5, current=True)
    assert bool(made.one(reducing).execution.orders) == passes


def test_a_late_flow_expires() -> None:
    """Past its deadline a flow ends as expired, without orders."""
    packet = assessed()
    record = engine().one(packet, now=packet.envelope.deadline)
    assert record.envelope.outcome.kind is OutcomeKind.EXPIRED
    assert record.execution.orders == ()


def test_a_stale_bar_is_gated_at_execution_too() -> None:
    """The age of the bar counts when the orders are made, whatever the deadline says."""
    packet = assessed()
    head = structs.replace(packet.envelope, deadline=packet.envelope.deadline + 10**8)
    record = engine().one(structs.replace(packet, envelope=head), now=head.event_time + 3_000_000)
    assert record.envelope.outcome.reasons == (ExecutionReason.STALE_EVENT,)


def test_a_thin_market_holds_the_flow() -> None:
    """Without volume the flow is held: nothing failed, it is just not done now."""
    record = engine().one(assessed(bar=bar(100.0, volume=0.0)))
    assert record.envelope.outcome.kind is OutcomeKind.HELD
    assert ExecutionReason.NO_LIQUIDITY in record.envelope.outcome.reasons


def test_a_fate_is_passed_on_and_its_bar_counts() -> None:
    """A flow that ended earlier gets its record, and its volume enters the average."""
    made = engine()
    packet = assessed(bar=bar(100.0, volume=500.0))
    head = structs.replace(packet.envelope, outcome=REJECTED)
    record = made.one(structs.replace(packet, envelope=head))
    assert (record.execution, record.envelope.outcome) == (None, REJECTED)
    assert made.state.of("AAPL").volume == 500.0


def test_expected_volume_follows_the_records_before() -> None:
    """A symbol whose bars were thin is sliced finer, in the same round already."""
    thin = [given(assessed(sequence=n, bar=bar(100.0, volume=500.0))) for n in range(3)]
    records = engine().work([*thin, given(assessed(sequence=3))])
    assert len(records[3].execution.orders) > len(engine().one(assessed()).execution.orders)


def test_portfolio_updates_need_no_record() -> None:
    """Risk's record of a fill changes nothing here."""
    made = engine()
    update = PortfolioUpdate(
        JOURNAL, "f", "main", "AAPL", "f-000", OrderEventKind.FILLED, FlowState.FILLED,
        Side.BUY, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0,
    )  # fmt: skip
    inputs = [replace(given(assessed()), packet=update)]
    assert list(made.logic.decide(made.state, inputs, Context(ACTIVE, 0))) == [None]


def test_records_that_do_not_belong_are_refused() -> None:
    """A foreign packet is misrouted, a foreign record stops the worker."""
    made = engine()
    with pytest.raises(RoutingError):
        made.one(signal())
    with pytest.raises(ForeignRecord):
        made.logic.apply(made.state, assessed())


def mixed(count: int, seed: int) -> list[Any]:
    """Return inputs of three symbols: approvals, rejections and early ends."""
    rng = random.Random(seed)
    inputs = []
    for sequence in range(count):
        quantity = float(rng.randint(1, 3000))
        made = assessed(
            rng.choice("ABC"),
            sequence,
            quantity=quantity,
            bar=bar(100.0, volume=rng.choice([0.0, 2e3, 1e5]), spread=rng.uniform(0.0, 0.08)),
            strategic=strategic(rng.choice([5e-4, 2e-3, 2e-2])),
            tactical=tactical(probability=rng.random()),
        )
        risk = made.risk
        assert risk is not None
        if rng.random() < 0.2:
            risk = structs.replace(risk, verdict=Verdict.REJECT)
            head = structs.replace(made.envelope, outcome=REJECTED)
            made = structs.replace(made, risk=risk, envelope=head)
        elif rng.random() < 0.1:
            none = RiskEnvelope(Side.NONE, 0.0, 0.0, 0.0, 0.0)
            risk = structs.replace(risk, envelope=none)
            made = structs.replace(made, risk=risk)
        late_us = rng.choice([0, 30_000, 99_000, 150_000])
        inputs.append(given(made, now=made.envelope.accepted_at + late_us))
    return inputs


@pytest.mark.parametrize("sizes", [[2], [7], [1000], [1, 500, 3, 40]])
def test_rounds_may_be_cut_anywhere(sizes: list[int]) -> None:
    """1,000 inputs give the same records and state to the last bit however rounds are cut."""
    thousand = mixed(1000, seed=4)
    alone, cuts = engine(), engine()
    for each in thousand:
        alone.work([each])
    for piece in cut(thousand, itertools.cycle(sizes)):
        cuts.work(piece)
    assert raw(alone.records) == raw(cuts.records)
    assert alone.logic.dump(alone.state) == cuts.logic.dump(cuts.state)
    kinds = {record.envelope.outcome.kind for record in alone.records}
    assert kinds == {
        OutcomeKind.EXECUTED,
        OutcomeKind.HELD,
        OutcomeKind.REJECTED,
        OutcomeKind.EXPIRED,
    }


def test_every_plan_stays_within_its_envelope_and_every_flow_ends() -> None:
    """Each record has an outcome, orders only with `executed`, and no more than allowed."""
    made = engine()
    made.work(mixed(500, seed=5))
    for record in made.records:
        orders = record.execution.orders if record.execution else ()
        assert bool(orders) == (record.envelope.outcome.kind is OutcomeKind.EXECUTED)
        assert sum(order.quantity for order in orders) <= record.risk.envelope.max_quantity
        assert len({order.client_order_id for order in orders}) == len(orders)


def test_recovery_gives_the_same_state() -> None:
    """A dump, and the log's records alone, both lead to the state of the worker that wrote it."""
    made = engine()
    made.work(mixed(300, seed=6))
    loaded = made.logic.load(made.logic.dump(made.state))
    rebuilt = made.logic.initial()
    for record in made.records:
        made.logic.apply(rebuilt, decode(encode(record)))
    expected = made.logic.dump(made.state)
    assert (made.logic.dump(loaded), made.logic.dump(rebuilt)) == (expected, expected)


def test_deciding_changes_no_state() -> None:
    """A round that is decided and dropped leaves everything as it was."""
    made = engine()
    made.one(assessed())
    before = made.logic.dump(made.state)
    list(made.logic.decide(made.state, mixed(20, seed=7), Context(HALTED, 1)))
    assert made.logic.dump(made.state) == before
