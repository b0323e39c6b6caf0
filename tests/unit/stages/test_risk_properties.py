"""What holds for any sequence of signals and fills."""

import math
from typing import Any

from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from pipeline.control.state import ControlView, TradingState
from pipeline.packets.models import RiskAssessment
from pipeline.packets.vocabulary import Action, FlowState, OrderEventKind, OutcomeKind, Verdict
from pipeline.policies.risk import Account, RiskSettings
from pipeline.stages.contract import seal
from pipeline.stages.risk_logic import RiskLogic
from tests.unit.stages.risk_factories import (
    ACTIVE,
    HALTED,
    START_US,
    SmallEngine,
    event,
    given,
    held,
    signal,
    strategic,
    tactical,
)

# No fees and fills at the reference price, so that equity stays and limits are exact amounts.
LIMITS = RiskSettings(minimum_bars=1, history_bars=8)
EQUITY = 1e6
SYMBOLS = "ABCDEFGH"
NEUTRAL = seal(OutcomeKind.HELD, "tactical", "NEUTRAL")
PASSING = (Verdict.APPROVE, Verdict.REDUCE_SIZE)

INTENT = st.tuples(
    st.just("intent"),
    st.sampled_from(SYMBOLS),
    st.sampled_from([Action.BUY, Action.SELL]),
    st.floats(min_value=0.34, max_value=1.0),
    st.floats(min_value=1e-4, max_value=5e-3),
)
FILL = st.tuples(
    st.sampled_from(["fill", "part", "end"]),
    st.integers(min_value=0, max_value=1000),
    st.floats(min_value=0.0, max_value=1.0),
)
SWITCH = st.tuples(st.sampled_from(["halt", "resume"]))
STEPS = st.lists(st.one_of(INTENT, INTENT, FILL, SWITCH), max_size=80)


def engine() -> SmallEngine:
    """Return a risk stage that knows all symbols at 100."""
    made = SmallEngine(RiskLogic(LIMITS), RiskAssessment)
    made.work([given(held(signal(symbol, 0), NEUTRAL)) for symbol in SYMBOLS])
    return made


def intent(number: int, step: tuple[Any, ...]) -> Any:
    """Return the packet of an intent, at 100."""
    _, symbol, action, probability, volatility = step
    made = signal(symbol, number + 1, action=action, time_us=START_US + number + 1)
    return type(made)(
        made.journal,
        made.envelope,
        made.bar,
        strategic(volatility),
        tactical(action, probability=probability),
    )


def fill(step: tuple[Any, ...], open_flows: list[RiskAssessment]) -> Any:
    """Return an event for one of the flows that are open, in any order; None if there is none."""
    if not open_flows:
        return None
    kind, which, share = step
    flow = open_flows[which % len(open_flows)]
    assert flow.risk is not None
    left = flow.risk.envelope.max_quantity
    units = 0.0 if kind == "end" else left if kind == "fill" else float(math.floor(left * share))
    if kind == "part":
        return (
            event(
                flow,
                filled=0.0,
                kind=OrderEventKind.CANCELLED,
                flow_state=FlowState.OPEN,
            )
            if units == 0.0
            else event(flow, filled=units, flow_state=FlowState.PARTIAL)
        )
    state = FlowState.FILLED if units else FlowState.EXPIRED
    return event(flow, filled=units, flow_state=state)


def exposures(account: Account) -> dict[str, tuple[float, float]]:
    """Return per symbol (most that buys, most that sales can lead to), from first principles."""
    found: dict[str, tuple[float, float]] = {}
    for symbol in SYMBOLS:
        flows = [flow for flow in account.reservations.values() if flow.symbol == symbol]
        held_notional = account.quantity(symbol) * 100.0
        bought = sum(flow.open for flow in flows if flow.direction > 0)
        sold = sum(flow.open for flow in flows if flow.direction < 0)
        found[symbol] = (held_notional + bought, held_notional - sold)
    return found


def check_limits(account: Account) -> None:
    """Check every limit with each flow in flight filled whichever way hurts most."""
    ranges = exposures(account)
    worst = {symbol: max(abs(low), abs(high)) for symbol, (high, low) in ranges.items()}
    assert max(worst.values()) <= LIMITS.maximum_symbol * EQUITY
    assert sum(worst.values()) <= LIMITS.maximum_gross * EQUITY
    assert sum(value**2 for value in worst.values()) <= LIMITS.maximum_concentration * EQUITY**2
    assert sum(high for high, _ in ranges.values()) <= LIMITS.maximum_net * EQUITY
    assert sum(low for _, low in ranges.values()) >= -LIMITS.maximum_net * EQUITY


@settings(max_examples=150)
@generated(STEPS)
def test_exposure_and_reservations_never_exceed_the_limits(steps: list[tuple[Any, ...]]) -> None:
    """For any sequence; a halt approves nothing, a rejection reserves nothing."""
    made = engine()
    account = made.state.accounts["main"]
    flows: list[RiskAssessment] = []
    for number, step in enumerate(steps):
        if step[0] in ("halt", "resume"):
            made.control = HALTED if step[0] == "halt" else ACTIVE
        elif step[0] == "intent":
            record = made.one(intent(number, step))
            assert (record.risk.reserved > 0.0) == (record.risk.verdict in PASSING)
            assert (record.envelope.outcome is None) == (record.risk.verdict in PASSING)
            assert not (made.control is HALTED and record.risk.reserved)
            flows += [record] if record.risk.reserved else []
        elif (happened := fill(step, flows)) is not None:
            record = made.one(happened)
            if record.flow_state is not FlowState.OPEN:
                flows = [flow for flow in flows if flow.envelope.flow_id != record.flow_id]
        check_limits(account)
        check_reservations(made)


def check_reservations(made: SmallEngine) -> None:
    """Check that what the log reserved is what the state holds open plus what it released."""
    reserved = sum(getattr(r, "risk", None).reserved for r in made.records if _assessed(r))  # type: ignore[union-attr]  # just checked
    released = sum(getattr(record, "released", 0.0) for record in made.records)
    flows = made.state.accounts["main"].reservations.values()
    assert reserved == sum(flow.open for flow in flows) + released


def _assessed(record: Any) -> bool:
    return getattr(record, "risk", None) is not None


@settings(max_examples=50)
@generated(st.lists(INTENT, min_size=30, max_size=60))
def test_parallel_intents_cannot_jointly_exceed(steps: list[tuple[Any, ...]]) -> None:
    """Dozens of intents in one round, none of them filled yet, stay within the limits together."""
    made = engine()
    made.work([given(intent(number, step)) for number, step in enumerate(steps)])
    check_limits(made.state.accounts["main"])
    check_reservations(made)


@settings(max_examples=50)
@generated(STEPS, st.sampled_from([TradingState.HALTED, TradingState.REDUCING]))
def test_nothing_is_approved_unless_trading_is_active(
    steps: list[tuple[Any, ...]], state: TradingState
) -> None:
    """In any other state no intent whatever is approved."""
    made = engine()
    made.control = ControlView(state, 1, current=True)
    for number, step in enumerate(steps):
        if step[0] == "intent":
            record = made.one(intent(number, step))
            assert record.risk.verdict is Verdict.REJECT
    assert made.state.accounts["main"].reservations == {}
