"""The risk stage: gates, envelopes, fills, throttle, state."""

import dataclasses
import itertools
import math
import random
from types import MappingProxyType
from typing import Any

import pytest
from msgspec import structs

from pipeline.control.state import ControlView, TradingState
from pipeline.control.trips import Trips
from pipeline.errors import ForeignRecord, InvalidPacket, PositionLost, RoutingError
from pipeline.packets.codec import decode, encode
from pipeline.packets.models import ExecutionPlan, PortfolioUpdate, RiskAssessment, TacticalSignal
from pipeline.packets.superposition import check, chosen
from pipeline.packets.vocabulary import (
    Action,
    FlowState,
    OrderEventKind,
    OutcomeKind,
    Regime,
    Side,
    Verdict,
)
from pipeline.policies.risk import AGENTS, RiskSettings
from pipeline.stages.contract import Context, seal
from pipeline.stages.reasons import Recommendation, RiskReason
from pipeline.stages.risk_logic import RiskLogic
from tests.unit.stages.risk_factories import (
    ACTIVE,
    HALTED,
    JOURNAL,
    START_US,
    SmallEngine,
    assessed,
    bar,
    cut,
    event,
    given,
    held,
    raw,
    signal,
    strategic,
    tactical,
)

NEUTRAL = seal(OutcomeKind.HELD, "tactical", "NEUTRAL")
WARM = 40


def engine(settings: RiskSettings | None = None, symbols: str = "A") -> SmallEngine:
    """Return a risk stage that has seen enough bars of each symbol to know it."""
    made = SmallEngine(RiskLogic(settings), RiskAssessment)
    rng = random.Random(1)
    for sequence in range(WARM):
        for symbol in symbols:
            close = 100.0 * (1.0 + rng.gauss(0.0, 0.001))
            made.one(held(signal(symbol, sequence, close=close), NEUTRAL))
    return made


def buy(sequence: int = WARM, symbol: str = "A", **changes: Any) -> TacticalSignal:
    """Return a signal to buy at 100."""
    return signal(symbol, sequence, **changes)


def sell(sequence: int = WARM, symbol: str = "A", **changes: Any) -> TacticalSignal:
    """Return a signal to sell at 100."""
    return signal(symbol, sequence, action=Action.SELL, **changes)


REDUCING = ControlView(TradingState.REDUCING, 9, current=True)


def long() -> tuple[SmallEngine, float]:
    """Return a stage whose account is long in A, and the units it holds."""
    made = engine(symbols="AB")
    approved = made.one(buy())
    made.one(event(approved))
    return made, approved.risk.envelope.max_quantity


def test_an_approval_has_an_envelope_and_goes_on() -> None:
    """A calm signal is approved within bounds on the right sides of the price."""
    record = engine().one(buy())
    risk, bounds = record.risk, record.risk.envelope
    assert (risk.verdict, record.envelope.outcome, risk.reasons) == (Verdict.APPROVE, None, ())
    assert (bounds.side, bounds.reference_price) == (Side.BUY, 100.0)
    assert bounds.stop < 100.0 < bounds.target
    assert risk.reserved == bounds.max_quantity * 100.0 > 0.0
    assert (risk.equity, risk.exposure, risk.drawdown) == (1e6, 0.0, 0.0)


def test_records_fit_the_schema() -> None:
    """Assessments and updates of every kind survive the wire unchanged."""
    made = engine()
    approved = made.one(buy())
    records = [
        approved,
        made.one(event(approved, price=100.5, fee=1.0)),
        made.one(sell(WARM + 1, close=100.2)),
        made.one(sell(WARM + 2, tactical=None)),
    ]
    assert [decode(encode(record)) for record in records] == records


def test_each_agent_stands_in_the_record() -> None:
    """The record of a decision has a distribution of each agent, over all verdicts."""
    agents = engine().one(buy()).views
    assert tuple(agent.source for agent in agents) == AGENTS
    for agent in agents:
        check(agent.distribution)
        assert set(agent.distribution) == set(map(str, Verdict))
        assert agent.confidence == agent.distribution[chosen(agent.distribution)]


def test_a_flow_that_ended_before_keeps_its_fate_and_moves_the_mark() -> None:
    """A fate is passed on without a decision, and its bar still counts."""
    made = engine()
    record = made.one(held(buy(close=123.0), NEUTRAL))
    assert (record.risk, record.envelope.outcome) == (None, NEUTRAL)
    assert made.state.market.mark("A") == 123.0


def test_a_bar_moves_equity_and_peak() -> None:
    """Positions are valued at the last close, whoever's flow brought it."""
    made = engine()
    approved = made.one(buy())
    quantity = approved.risk.envelope.max_quantity
    made.one(event(approved))
    made.one(held(buy(WARM + 1, close=110.0), NEUTRAL))
    account = made.state.accounts["main"]
    assert account.equity == account.peak == 1e6 + 10.0 * quantity


NOT_A_NUMBER = structs.replace(bar(100.0), close=math.nan)
REFUSED = {
    RiskReason.MISSING_REFERENCE_PRICE: buy(bar=None),
    RiskReason.NOT_FINITE: buy(bar=NOT_A_NUMBER),
    RiskReason.NO_DIRECTION: buy(tactical=tactical(Action.HOLD)),
    RiskReason.PRICE_OUT_OF_BAND: buy(tactical=tactical(entry=106.0)),
    RiskReason.UNKNOWN_INSTRUMENT: buy(symbol="B"),
    RiskReason.SUPERSEDED: buy(WARM - 2),
    RiskReason.NO_VOLATILITY: buy(strategic=None),
    RiskReason.NO_EDGE: buy(tactical=tactical(probability=0.3)),
    RiskReason.STOP_TOO_WIDE: buy(tactical=tactical(atr=4.0)),
}


@pytest.mark.parametrize("reason", list(REFUSED))
def test_every_doubt_is_a_no(reason: RiskReason) -> None:
    """A signal that lacks or breaks something is rejected with that reason, without reserving."""
    made = engine()
    record = made.one(REFUSED[reason])
    assert record.risk.verdict is Verdict.REJECT
    assert reason in record.risk.reasons
    assert record.envelope.outcome == seal(OutcomeKind.REJECTED, "risk", *record.risk.reasons)
    assert (record.risk.reserved, record.risk.envelope.side) == (0.0, Side.NONE)
    assert made.state.accounts["main"].reservations == {}


@pytest.mark.parametrize(
    ("late_us", "reason", "kind"),
    [
        (2_500_000, RiskReason.STALE_EVENT, OutcomeKind.EXPIRED),
        (1_500_000, RiskReason.STALE_ACCEPTANCE, OutcomeKind.EXPIRED),
        (100_001, RiskReason.DEADLINE_PASSED, OutcomeKind.EXPIRED),
        (-1_500_000, RiskReason.FUTURE_EVENT, OutcomeKind.REJECTED),
    ],
)
def test_the_clock_gates_both_ways(late_us: int, reason: RiskReason, kind: OutcomeKind) -> None:
    """Too old by event or acceptance, past the deadline, or from the future: no order."""
    packet = buy()
    record = engine().one(packet, now=packet.envelope.accepted_at + late_us)
    assert reason in record.risk.reasons
    assert (record.envelope.outcome.kind, record.risk.reserved) == (kind, 0.0)


def test_a_stale_bar_is_refused_however_fresh_its_acceptance() -> None:
    """An old bar that was accepted just now does not pass the event gate."""
    packet = buy()
    at = packet.envelope.event_time + 5_000_000
    late = structs.replace(packet.envelope, accepted_at=at, deadline=at + 100_000)
    record = engine().one(structs.replace(packet, envelope=late))
    assert record.risk.reasons == (RiskReason.STALE_EVENT,)


def test_halted_never_approves() -> None:
    """While HALTED nothing is approved, and the fills still count."""
    made = engine()
    approved = made.one(buy())
    made.control = ControlView(TradingState.HALTED, 9, current=True)
    record = made.one(buy(WARM + 1))
    assert record.risk.reasons == (RiskReason.TRADING_HALTED,)
    assert record.risk.recommendations == (Recommendation.RESUME_TRADING,)
    assert isinstance(made.one(event(approved)), PortfolioUpdate)


def test_halted_approves_not_even_what_reduces() -> None:
    """A position may not be closed while HALTED."""
    made, _ = long()
    made.control = ControlView(TradingState.HALTED, 9, current=True)
    assert made.one(sell(WARM + 1)).risk.reasons == (RiskReason.TRADING_HALTED,)


def test_reducing_opens_nothing() -> None:
    """While REDUCING, neither a first position nor more of one is approved."""
    made, _ = long()
    made.control = REDUCING
    for packet in (buy(WARM + 1), buy(WARM + 1, "B")):
        record = made.one(packet)
        assert record.risk.reasons == (RiskReason.TRADING_REDUCING,)
        assert (record.risk.reserved, record.risk.reducing) == (0.0, False)
        assert record.envelope.outcome.kind is OutcomeKind.REJECTED
        assert record.risk.recommendations == (Recommendation.RESUME_TRADING,)


def test_reducing_closes_a_position_and_no_more() -> None:
    """While REDUCING, a signal to the other side sells what is held and opens no short."""
    made, held_units = long()
    made.control = REDUCING
    record = made.one(sell(WARM + 1))
    assert (record.risk.envelope.side, record.risk.envelope.max_quantity) == (Side.SELL, held_units)
    assert record.risk.reducing
    again = made.one(sell(WARM + 2))
    assert again.risk.reasons[0] in (RiskReason.TRADING_REDUCING, RiskReason.ORDERS_IN_FLIGHT)
    assert again.risk.reserved == 0.0


def test_an_approval_says_whether_it_only_reduces() -> None:
    """While ACTIVE too: an order that turns a long position short does more than reduce it."""
    made, held_units = long()
    opened = made.one(buy(WARM + 1, "B"))
    turned = made.one(sell(WARM + 1))
    assert turned.risk.envelope.max_quantity > held_units
    assert (opened.risk.reducing, turned.risk.reducing) == (False, False)


def test_other_accounts_and_symbols_are_unknown() -> None:
    """Accounts and, where they are listed, symbols not in the settings are refused."""
    other = structs.replace(buy().envelope, account="other")
    record = engine().one(buy(envelope=other))
    assert record.risk.reasons == (RiskReason.UNKNOWN_ACCOUNT,)
    listed = engine(RiskSettings(symbols=("B",)), symbols="AB")
    assert listed.one(buy()).risk.reasons == (RiskReason.UNKNOWN_INSTRUMENT,)
    assert listed.one(buy(symbol="B")).risk.verdict is Verdict.APPROVE


def test_an_empty_account_is_an_emergency() -> None:
    """Without equity there is no order, and the verdict says stop."""
    made = engine()
    made.state.accounts["main"].cash = 0.0
    record = made.one(buy())
    assert record.risk.verdict is Verdict.EMERGENCY_STOP
    assert record.risk.reasons == (RiskReason.EQUITY_EXHAUSTED,)


def test_a_flow_is_approved_once() -> None:
    """The same flow again is refused, in flight and after its end."""
    made = engine()
    approved = made.one(buy())
    assert made.one(buy()).risk.reasons == (RiskReason.DUPLICATE_FLOW,)
    made.one(event(approved))
    assert made.one(buy()).risk.reasons == (RiskReason.DUPLICATE_FLOW,)


def test_high_volatility_halves_the_size() -> None:
    """The regime of the strategic stage scales what is opened."""
    calm = engine().one(buy()).risk.envelope.max_quantity
    wild = engine().one(buy(strategic=strategic(regime=Regime.HIGH_VOLATILITY)))
    assert wild.risk.envelope.max_quantity == pytest.approx(calm / 2, abs=1.0)


def test_a_reservation_counts_for_the_next_input_of_the_round() -> None:
    """Intents of one round share the limit: approved while it lasts, reduced, rejected."""
    made = engine()
    at = START_US + WARM * 60_000_000
    records = made.work([given(buy(WARM + n, time_us=at)) for n in range(4)])
    verdicts = [record.risk.verdict for record in records]
    assert verdicts == [Verdict.APPROVE, Verdict.APPROVE, Verdict.REDUCE_SIZE, Verdict.REJECT]
    reserved = sum(record.risk.reserved for record in records)
    assert 0.9 * 50_000.0 < reserved <= 50_000.0
    assert RiskReason.SYMBOL_LIMIT in records[3].risk.reasons


def test_orders_in_flight_delay_the_next() -> None:
    """Beyond the flows allowed for a symbol the verdict is DELAY, and the flow is rejected."""
    made = engine(RiskSettings(maximum_open_orders=1))
    made.one(buy())
    record = made.one(buy(WARM + 1))
    assert (record.risk.verdict, record.risk.reasons) == (
        Verdict.DELAY,
        (RiskReason.ORDERS_IN_FLIGHT,),
    )
    assert record.envelope.outcome.kind is OutcomeKind.REJECTED


def test_a_fill_moves_the_portfolio_and_releases() -> None:
    """A partial fill gives back its part, the end of the flow the rest."""
    made = engine()
    approved = made.one(buy())
    quantity, reserved = approved.risk.envelope.max_quantity, approved.risk.reserved
    part = made.one(
        event(approved, filled=10.0, price=101.0, fee=2.0, flow_state=FlowState.OPEN,
              kind=OrderEventKind.PARTIALLY_FILLED)
    )  # fmt: skip
    assert (part.position, part.cash, part.released) == (10.0, 1e6 - 1012.0, 1000.0)
    assert made.state.accounts["main"].reservations[approved.envelope.flow_id].open == (
        reserved - 1000.0
    )
    end = made.one(
        event(approved, filled=0.0, kind=OrderEventKind.CANCELLED, flow_state=FlowState.PARTIAL)
    )
    assert (end.position, end.released, quantity > 10.0) == (10.0, reserved - 1000.0, True)
    assert made.state.accounts["main"].reservations == {}


def test_profit_is_realised_when_a_position_closes() -> None:
    """Buying at 100 and selling at 101 realises one a unit."""
    made = engine()
    bought = made.one(buy())
    made.one(event(bought))
    units = bought.risk.envelope.max_quantity
    sold = made.one(sell(WARM + 1, close=101.0))
    assert sold.risk.envelope.max_quantity > units  # closes and reverses
    done = made.one(event(sold, filled=units, flow_state=FlowState.PARTIAL))
    assert (done.realised, done.position, done.cash) == (units, 0.0, 1e6 + units)


def test_submitting_needs_no_record() -> None:
    """A journal entry of the gateway changes nothing."""
    made = engine()
    approved = made.one(buy())
    before = made.logic.dump(made.state)
    submitting = event(approved, kind=OrderEventKind.SUBMITTING, flow_state=FlowState.OPEN)
    assert made.one(submitting) is None
    assert made.logic.dump(made.state) == before


def test_nothing_is_released_on_time_alone() -> None:
    """However long a flow is silent, its reservation counts."""
    made = engine()
    approved = made.one(buy())
    made.one(held(buy(WARM + 100_000), NEUTRAL))
    flows = made.state.accounts["main"].reservations
    assert flows[approved.envelope.flow_id].open == approved.risk.reserved


def throttled(made: SmallEngine, count: int, start: int = 0) -> list[Any]:
    """Buy, fill, and give the units back outside of the throttle's sight, `count` times."""
    records = []
    for number in range(start, start + count):
        at = START_US + WARM * 60_000_000 + number
        record = made.one(buy(WARM + number, time_us=at))
        records.append(record)
        if record.risk.reserved:
            made.one(event(record))
            away = event(record, side=Side.SELL, flow_id=f"elsewhere-{number}")
            made.one(away)
    return records


def test_the_throttle_trips_and_stays_tripped() -> None:
    """One more repeat than allowed trips it; hours later, and after a restart, it is still shut."""
    made = engine(RiskSettings(throttle_orders=3))
    records = throttled(made, 5)
    assert [record.risk.reasons for record in records] == [
        (),
        (),
        (),
        (RiskReason.REPEATED_ORDERS,),
        (RiskReason.THROTTLE_TRIPPED,),
    ]
    made.state = made.logic.load(made.logic.dump(made.state))
    for late in (made.one(buy(WARM + 10_000)), made.one(sell(WARM + 20_000))):
        assert late.risk.reasons == (RiskReason.THROTTLE_TRIPPED,)
        assert late.risk.recommendations == (Recommendation.RESET_THROTTLE,)


def test_a_reset_opens_the_throttle_and_what_came_before_does_not_count() -> None:
    """Only a RESET after the trip opens it, for as many orders as at first."""
    made = engine(RiskSettings(throttle_orders=3))
    throttled(made, 4)
    trips = list(RiskLogic().tripped(made.state, made.control.trips))
    assert [each.scope for each in trips] == ["throttle:A"]
    early = Trips(resets=MappingProxyType({"throttle:A": made.control.epoch}))
    made.control = dataclasses.replace(made.control, trips=early)
    shut = made.one(buy(WARM + 10, time_us=START_US + WARM * 60_000_000 + 10))
    assert shut.risk.reasons == (RiskReason.THROTTLE_TRIPPED,)
    late = Trips(resets=MappingProxyType({"throttle:A": made.control.epoch + 1}))
    made.control = dataclasses.replace(made.control, trips=late, epoch=made.control.epoch + 1)
    assert not list(RiskLogic().tripped(made.state, late))
    again = [record.risk.reasons for record in throttled(made, 5, start=20)]
    assert again == [(), (), (), (RiskReason.REPEATED_ORDERS,), (RiskReason.THROTTLE_TRIPPED,)]
    made.state = made.logic.load(made.logic.dump(made.state))
    assert [each.scope for each in RiskLogic().tripped(made.state, late)] == ["throttle:A"]


def test_repeats_apart_in_time_do_not_trip() -> None:
    """Approvals outside of each other's window are no repeats."""
    made = engine(RiskSettings(throttle_orders=1))
    for number in range(4):
        record = made.one(buy(WARM + number))
        assert record.risk.verdict is Verdict.APPROVE
        made.one(event(record))
        made.one(event(record, side=Side.SELL, flow_id=f"elsewhere-{number}"))


def test_records_that_do_not_belong_are_refused() -> None:
    """A foreign packet is misrouted, a foreign record stops the worker, a fill needs a side."""
    made = engine()
    with pytest.raises(RoutingError):
        made.one(assessed())
    with pytest.raises(ForeignRecord):
        made.logic.apply(made.state, ExecutionPlan(JOURNAL, buy().envelope))
    approved = made.one(buy())
    with pytest.raises(InvalidPacket):
        made.one(event(approved, side=Side.NONE))


def test_deciding_changes_no_state() -> None:
    """Only `apply` does: a round that is decided and dropped leaves everything as it was."""
    made = engine(symbols="AB")
    approved = made.one(buy())
    before = made.logic.dump(made.state)
    inputs = [given(buy(WARM + 1)), given(event(approved)), given(sell(symbol="B"))]
    list(made.logic.decide(made.state, inputs, Context(ACTIVE, 1)))
    assert made.logic.dump(made.state) == before


def test_a_state_of_another_version_is_refused() -> None:
    """A dump that this version cannot read is an error, not an empty account."""
    with pytest.raises(PositionLost):
        RiskLogic().load(b"\x81\xa7version\x63")
    dump = RiskLogic(RiskSettings(history_bars=8)).initial().dump()
    with pytest.raises(PositionLost):
        RiskLogic().load(dump)


def mixed(count: int, seed: int) -> list[Any]:
    """Return inputs: signals of three symbols in both directions, early ends, and fills.

    The fills are those of an engine that worked the inputs off one by one.
    """
    rng = random.Random(seed)
    made = SmallEngine(RiskLogic(SMALL), RiskAssessment)
    price = dict.fromkeys("ABC", 100.0)
    inputs: list[Any] = []
    waiting: list[Any] = []
    while len(inputs) < count:
        if waiting and rng.random() < 0.3:
            inputs.append(given(waiting.pop(rng.randrange(len(waiting)))))
        else:
            inputs.append(given(_next_signal(rng, len(inputs), price)))
        record = made.work([inputs[-1]])[0]
        if isinstance(record, RiskAssessment) and record.risk and record.risk.reserved:
            waiting += _events(rng, record)
    return inputs


SMALL = RiskSettings(minimum_bars=3, history_bars=16)


def _next_signal(rng: random.Random, sequence: int, price: dict[str, float]) -> TacticalSignal:
    symbol = rng.choice("ABC")
    price[symbol] *= 1.0 + rng.gauss(0.0, 0.002)
    action = rng.choice([Action.BUY, Action.SELL])
    made = signal(symbol, sequence, close=price[symbol], action=action)
    made = structs.replace(
        made,
        strategic=strategic(rng.choice([5e-4, 1e-3, 3e-3])),
        tactical=tactical(
            action,
            entry=price[symbol],
            atr=price[symbol] * rng.choice([0.001, 0.003]),
            probability=rng.uniform(0.35, 0.8),
        ),
    )
    return held(made, NEUTRAL) if rng.random() < 0.3 else made


def _events(rng: random.Random, record: RiskAssessment) -> list[Any]:
    assert record.risk is not None
    quantity = record.risk.envelope.max_quantity
    if rng.random() < 0.2:
        return [
            event(record, filled=0.0, kind=OrderEventKind.EXPIRED, flow_state=FlowState.EXPIRED)
        ]
    first = math.floor(quantity * rng.random())
    part = event(record, filled=float(first), kind=OrderEventKind.PARTIALLY_FILLED,
                 flow_state=FlowState.OPEN, fee=0.35)  # fmt: skip
    return [part, event(record, filled=quantity - first, fee=0.35)]


@pytest.fixture(scope="module")
def thousand() -> list[Any]:
    """1,000 inputs, worked out once."""
    return mixed(1000, seed=8)


@pytest.mark.parametrize("sizes", [[2], [7], [1000], [1, 500, 3, 40]])
def test_rounds_may_be_cut_anywhere(thousand: list[Any], sizes: list[int]) -> None:
    """1,000 inputs give the same records and state to the last bit however rounds are cut."""
    alone, cuts = (SmallEngine(RiskLogic(SMALL), RiskAssessment) for _ in range(2))
    for each in thousand:
        alone.work([each])
    for piece in cut(thousand, itertools.cycle(sizes)):
        cuts.work(piece)
    assert raw(alone.records) == raw(cuts.records)
    assert alone.logic.dump(alone.state) == cuts.logic.dump(cuts.state)
    verdicts = {record.risk.verdict for record in alone.records if getattr(record, "risk", None)}
    assert {Verdict.APPROVE, Verdict.REDUCE_SIZE, Verdict.REJECT} <= verdicts


def test_recovery_from_a_dump_goes_on_to_the_last_bit(thousand: list[Any]) -> None:
    """A worker that loads a snapshot in the middle decides the rest as the one that did not."""
    whole, resumed = (SmallEngine(RiskLogic(SMALL), RiskAssessment) for _ in range(2))
    whole.work(thousand)
    resumed.work(thousand[:500])
    resumed.state = resumed.logic.load(resumed.logic.dump(resumed.state))
    resumed.work(thousand[500:])
    assert raw(whole.records) == raw(resumed.records)


def test_recovery_by_records_alone_gives_the_same_state(thousand: list[Any]) -> None:
    """Applying the log's records, after a trip over the wire, rebuilds the state."""
    whole = SmallEngine(RiskLogic(SMALL), RiskAssessment)
    whole.work(thousand)
    rebuilt = whole.logic.initial()
    for record in whole.records:
        whole.logic.apply(rebuilt, decode(encode(record)))
    assert whole.logic.dump(rebuilt) == whole.logic.dump(whole.state)


def test_halted_from_the_start_approves_nothing(thousand: list[Any]) -> None:
    """No input whatever is approved or reserved for while trading is halted."""
    made = SmallEngine(RiskLogic(SMALL), RiskAssessment, HALTED)
    made.work(thousand)
    assert not any(r.risk.reserved for r in made.records if getattr(r, "risk", None))
    assert made.state.accounts["main"].reservations == {}
