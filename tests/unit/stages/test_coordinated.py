"""What stage workers say to coordination requests."""

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.control.state import ControlView, TradingState
from pipeline.coordination.answers import Abstention, Answer, CoordinationRequest
from pipeline.packets.models import (
    ChildOrder,
    Execution,
    ExecutionPlan,
    Journal,
    Risk,
    RiskAssessment,
    RiskEnvelope,
    Strategic,
    StrategicSignal,
    Tactical,
    TacticalSignal,
)
from pipeline.packets.vocabulary import Action, OrderType, OutcomeKind, Regime, Side, Verdict
from pipeline.stages.answers import answer_from
from pipeline.stages.contract import seal
from pipeline.stages.coordinated import ViewedLogic
from pipeline.stages.strategic_logic import StrategicLogic
from tests.unit.stages.engine_factories import NOW, market_data

JOURNAL = Journal(0, 0, "cascade.market", 0, 0, 0, 0, 0, 0, 0, NOW, 0, "owner", "build")
ACTIVE = ControlView(TradingState.ACTIVE, 0, current=True)
HALTED = ControlView(TradingState.HALTED, 0, current=True, reason="drill")
SHARES = {"BUY": 0.7, "HOLD": 0.2, "SELL": 0.1}
BAR = market_data().bar
ENVELOPE = market_data("ACME").envelope
FLOW = {"flow_id": ENVELOPE.flow_id, "age_s": 0.0}

STRATEGIC = StrategicSignal(
    JOURNAL, ENVELOPE, BAR,
    Strategic(0.6, 0.7, 0.3, Action.BUY, SHARES, Regime.TREND_UP, 0.02),
)  # fmt: skip
TACTICAL = TacticalSignal(
    JOURNAL, ENVELOPE, BAR, None,
    Tactical(Action.HOLD, 0.7, 0.4, 0.3, SHARES, 101.0, 0.1, 1.2, 0.5, ("NEUTRAL",)),
)  # fmt: skip
LIMITS = (1e6, 1e4, 0.01, 500.0)
APPROVED = RiskAssessment(
    JOURNAL, ENVELOPE, BAR, None, None,
    Risk(Verdict.REDUCE_SIZE, 0.25, (), RiskEnvelope(Side.BUY, 5.0, 100.0, 95.0, 110.0), (),
         *LIMITS, 500.0),
)  # fmt: skip
REJECTED = RiskAssessment(
    JOURNAL, ENVELOPE, BAR, None, None,
    Risk(Verdict.REJECT, 1.0, ("DRAWDOWN",), RiskEnvelope(Side.NONE, 0.0, 0.0, 0.0, 0.0), (),
         *LIMITS, 0.0),
)  # fmt: skip
ORDERS = tuple(
    ChildOrder(f"id-{n}", Side.SELL, 2.0, OrderType.LIMIT, 100.0, n * 10) for n in range(3)
)
PLANNED = ExecutionPlan(
    JOURNAL, ENVELOPE, BAR, None, None, None, Execution(ORDERS, 0.5, 0.01, 0.001, ())
)
UNPLANNED = ExecutionPlan(
    JOURNAL, ENVELOPE, BAR, None, None, None, Execution((), 0.0, 0.0, 0.0, ("NO_LIQUIDITY",))
)


def request(**data: Any) -> CoordinationRequest:
    """Return a request with this decision data."""
    return CoordinationRequest(
        coordination_id="c", requesting_system="strategic", decision_type="entry",
        decision_data=data, affected_systems=(), timestamp=0,
    )  # fmt: skip


def answer(stage: str, record: Any, now_us: int = NOW, **data: Any) -> Answer | Abstention:
    """Return what a stage says while trading is ACTIVE."""
    return answer_from(stage, record, request(**{"symbol": "ACME", **data}), ACTIVE, now_us)


@pytest.mark.parametrize(
    ("stage", "record", "decision", "confidence", "direction", "terms", "shares"),
    [
        ("strategic", STRATEGIC, "BUY", 0.7, "", {}, SHARES),
        ("tactical", TACTICAL, "HOLD", 0.4, "", {}, SHARES),
        ("risk", APPROVED, "REDUCE_SIZE", 0.75, "BUY", {"quantity": 5.0}, {}),
        ("risk", REJECTED, "REJECT", 0.0, "", {}, {}),
        ("execution", PLANNED, "SELL", 1.0, "", {"quantity": 6.0}, {}),
        ("execution", UNPLANNED, "HOLD", 1.0, "", {}, {}),
    ],
)
def test_a_stage_answers_with_its_last_decision(
    stage: str,
    record: Any,
    decision: str,
    confidence: float,
    direction: str,
    terms: dict[str, float],
    shares: dict[str, float],
) -> None:
    """Decision, confidence, direction, terms and distribution are those of the record."""
    found = answer(stage, record)

    assert isinstance(found, Answer)
    assert (decision, confidence, direction, terms, shares) == (
        found.decision, found.confidence, found.direction, found.terms, found.distribution,
    )  # fmt: skip
    assert FLOW.items() <= found.details.items()


def test_risk_tells_its_limits() -> None:
    """Equity, exposure, drawdown and value at risk come with the verdict."""
    found = answer("risk", REJECTED)

    assert isinstance(found, Answer)
    assert LIMITS == tuple(
        found.details[name] for name in ("equity", "exposure", "drawdown", "value_at_risk")
    )
    assert "DRAWDOWN" == found.reason


def test_risk_stops_everything_while_trading_is_halted() -> None:
    """Whatever its last verdict was, and whether or not a symbol is named."""
    for record, data in ((APPROVED, {"symbol": "ACME"}), (None, {})):
        found = answer_from("risk", record, request(**data), HALTED, NOW)
        assert isinstance(found, Answer)
        assert ("EMERGENCY_STOP", "trading is halted: drill") == (found.decision, found.reason)


@pytest.mark.parametrize("stage", ["strategic", "tactical", "risk", "execution"])
def test_a_stage_without_a_view_abstains(stage: str) -> None:
    """It says why: no symbol, or no decision on it."""
    no_symbol = answer_from(stage, None, request(), ACTIVE, NOW)

    assert Abstention("Expected a symbol in decision_data, was none") == no_symbol
    assert Abstention("no decision on ACME here") == answer(stage, None)


def test_an_old_view_is_none() -> None:
    """Over 60 s, or the limit of the request, it abstains: the market has moved on."""
    fresh = answer("strategic", STRATEGIC, NOW + 59_000_000)
    old = answer("strategic", STRATEGIC, NOW + 61_000_000)
    strict = answer("strategic", STRATEGIC, NOW + 2_000_000, max_age_s=1)

    assert isinstance(fresh, Answer)
    assert Abstention("its last decision on ACME is 61.0 s old, over 60") == old
    assert isinstance(strict, Abstention)


def test_views_follow_the_records_and_not_the_snapshots() -> None:
    """The last record with a decision counts; the state and its bytes stay the stage's own."""
    plain, viewed = StrategicLogic(), ViewedLogic(StrategicLogic())
    plain_state, state = plain.initial(), viewed.initial()
    later = replace(STRATEGIC, envelope=replace(ENVELOPE, sequence=1))
    undecided = replace(later, strategic=None, envelope=replace(ENVELOPE, sequence=2))
    for record in (STRATEGIC, later, undecided):
        plain.apply(plain_state, record)
        viewed.apply(state, record)

    assert {"ACME": later} == state.views
    assert plain.dump(plain_state) == viewed.dump(state)
    assert {} == viewed.load(viewed.dump(state)).views
    assert viewed.dump(state) == viewed.dump(viewed.load(viewed.dump(state)))


def test_dead_letters_of_the_stage_are_its_failures() -> None:
    """Fates that other stages sealed, and refusals, are none."""
    logic = ViewedLogic(StrategicLogic())
    state = logic.initial()
    fates = [
        None,
        seal(OutcomeKind.DEAD_LETTERED, "strategic", "POLICY_FAILED"),
        seal(OutcomeKind.DEAD_LETTERED, "ingest", "UNREADABLE"),
        seal(OutcomeKind.EXPIRED, "strategic", "LATE"),
    ]
    for sequence, fate in enumerate(fates):
        envelope = replace(ENVELOPE, sequence=sequence, outcome=fate)
        logic.apply(state, replace(STRATEGIC, strategic=None, envelope=envelope))

    assert (4, 1) == (logic.records, logic.failed)
