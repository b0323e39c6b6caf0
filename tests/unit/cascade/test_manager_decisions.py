"""From a callback's answer to what its stage records."""

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.cascade.manager.decisions import PolicyReason, translate
from pipeline.errors import InvalidPacket
from pipeline.packets.models import (
    Bar,
    ChildOrder,
    Execution,
    Outcome,
    Risk,
    RiskEnvelope,
    Strategic,
    Superposition,
    Tactical,
)
from pipeline.packets.vocabulary import Action, OrderType, OutcomeKind, Regime, Side, Verdict
from pipeline.stages.contract import Draft, seal

SHARES = {"BUY": 0.7, "HOLD": 0.2, "SELL": 0.1}
BAR = Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60)
STRATEGIC = Strategic(0.0, 1.0, 1.0, Action.HOLD, {"HOLD": 1.0}, Regime.TREND_UP, 0.02)
TACTICAL = Tactical(
    Action.HOLD, 1.0, 1.0, 1.0, {"HOLD": 1.0}, 10.4, 0.01, 1.5, 0.3, ("NO_ALIGNMENT",)
)
ENVELOPE = RiskEnvelope(Side.BUY, 8.0, 10.0, 9.0, 12.0)
RISK = Risk(Verdict.APPROVE, 0.2, (), ENVELOPE, (), 1e6, 0.0, 0.0, 0.0, 80.0)
ORDER = ChildOrder("x", Side.BUY, 8.0, OrderType.LIMIT, 10.0, 0)
EXECUTION = Execution((ORDER,), 0.5, 0.01, 0.001, ())
PACKET = SimpleNamespace(bar=BAR, risk=RISK, envelope=SimpleNamespace(flow_id="f", symbol="A"))
WARMUP = Outcome(OutcomeKind.HELD, "strategic", ("WARMUP",))


def built_in(stage: str, part: Any, outcome: Outcome | None = None) -> Draft:
    """Return what the built-in stage would record."""
    return Draft({stage: part}, outcome)


def ask(stage: str, answer: Any, draft: Draft) -> Draft:
    """Translate an answer."""
    return translate(stage, answer, PACKET, draft, "mine")


@pytest.mark.parametrize("answer", [SHARES, Superposition("mine", SHARES, 0.7, 0.5)])
def test_a_strategic_distribution_is_a_decision(answer: Any) -> None:
    """Strength is P(BUY) - P(SELL), confidence that of the action; measurements stay."""
    found = ask("strategic", answer, built_in("strategic", STRATEGIC))

    decision = found.parts["strategic"]
    assert found.outcome is None
    assert (pytest.approx(0.6), 0.7, Action.BUY, Regime.TREND_UP, 0.02) == (
        decision.signal_strength, decision.confidence, decision.action, decision.regime,
        decision.volatility,
    )  # fmt: skip
    assert ["mine"] == [view.source for view in found.parts["views"]]


def test_a_strategic_policy_need_not_warm_up() -> None:
    """A decision while the built-in warms up goes on, in a range."""
    warming = replace_regime(STRATEGIC, Regime.WARMUP)

    found = ask("strategic", {"SELL": 1.0}, built_in("strategic", warming, WARMUP))

    assert found.outcome is None
    assert Regime.RANGE is found.parts["strategic"].regime
    assert Action.SELL is found.parts["strategic"].action


def replace_regime(part: Strategic, regime: Regime) -> Strategic:
    """Return the part in another regime."""
    from msgspec import structs

    return structs.replace(part, regime=regime)


def test_a_tactical_distribution_keeps_what_was_measured() -> None:
    """Entry, momentum, volume ratio and true range are the built-in's; its gate is not."""
    draft = built_in("tactical", TACTICAL, seal(OutcomeKind.HELD, "tactical", "NO_ALIGNMENT"))

    found = ask("tactical", SHARES, draft)

    decision = found.parts["tactical"]
    assert found.outcome is None
    assert (Action.BUY, 0.7, 10.4, 0.01, 1.5, 0.3, ()) == (
        decision.action, decision.probability, decision.entry, decision.momentum,
        decision.volume_ratio, decision.atr, decision.reasons,
    )  # fmt: skip


def test_a_tactical_hold_ends_the_flow() -> None:
    """Choosing HOLD is a result, with its reason."""
    found = ask("tactical", {"HOLD": 1.0}, built_in("tactical", TACTICAL))

    assert (OutcomeKind.HELD, (PolicyReason.POLICY_HOLD,)) == outcome(found)


def outcome(draft: Draft) -> tuple[OutcomeKind, tuple[str, ...]]:
    """Return kind and reasons of a draft's outcome."""
    assert draft.outcome is not None
    return draft.outcome.kind, draft.outcome.reasons


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("strategic", STRATEGIC),
        ("tactical", TACTICAL),
        ("risk", RISK),
        ("execution", EXECUTION),
    ],
)
def test_none_holds(stage: str, part: Any) -> None:
    """No decision ends the flow as held, never as an error, and lets nothing out."""
    found = ask(stage, None, built_in(stage, part))

    assert (OutcomeKind.HELD, (PolicyReason.NO_DECISION,)) == outcome(found)
    if stage == "risk":
        assert (Verdict.DELAY, 0.0, 0.0) == (
            found.parts["risk"].verdict, found.parts["risk"].reserved,
            found.parts["risk"].envelope.max_quantity,
        )  # fmt: skip
    if stage == "execution":
        assert () == found.parts["execution"].orders


def test_a_part_is_taken_as_it_is() -> None:
    """Who returns the stage's own part decides all of it."""
    for stage, part in (("strategic", STRATEGIC), ("tactical", TACTICAL)):
        assert part is ask(stage, part, built_in(stage, part)).parts[stage]


@pytest.mark.parametrize(
    ("answer", "verdict", "quantity"),
    [
        (Verdict.APPROVE, Verdict.APPROVE, 8.0),
        ("REDUCE_SIZE", Verdict.REDUCE_SIZE, 4.0),
        ({"APPROVE": 0.4, "REDUCE_SIZE": 0.6}, Verdict.REDUCE_SIZE, 4.0),
        ("REJECT", Verdict.REJECT, 0.0),
        ({"EMERGENCY_STOP": 1.0}, Verdict.EMERGENCY_STOP, 0.0),
    ],
)
def test_risk_is_only_made_stricter(answer: Any, verdict: Verdict, quantity: float) -> None:
    """Verdicts bound what the limits allowed, and the reservation follows the quantity."""
    found = ask("risk", answer, built_in("risk", RISK))

    risk = found.parts["risk"]
    assert (verdict, quantity, quantity * 10.0) == (
        risk.verdict, risk.envelope.max_quantity, risk.reserved,
    )  # fmt: skip
    rejected = verdict in (Verdict.REJECT, Verdict.EMERGENCY_STOP)
    assert rejected == (found.outcome is not None)


def test_limits_cannot_be_widened() -> None:
    """An approval does not lift a refusal, and a larger envelope is cut to the allowed one."""
    refused = built_in(
        "risk", risk_with(verdict=Verdict.REJECT), seal(OutcomeKind.REJECTED, "risk", "LIMIT")
    )
    assert refused is ask("risk", Verdict.APPROVE, refused)
    larger = risk_with(envelope=RiskEnvelope(Side.BUY, 80.0, 10.0, 9.0, 12.0))
    assert 8.0 == ask("risk", larger, built_in("risk", RISK)).parts["risk"].envelope.max_quantity
    smaller = risk_with(envelope=RiskEnvelope(Side.BUY, 2.0, 10.0, 9.0, 12.0))
    found = ask("risk", smaller, built_in("risk", RISK)).parts["risk"]
    assert (Verdict.REDUCE_SIZE, 2.0, 20.0) == (
        found.verdict, found.envelope.max_quantity, found.reserved,
    )  # fmt: skip


def risk_with(**changes: Any) -> Risk:
    """Return the risk part with changes."""
    from msgspec import structs

    return structs.replace(RISK, **changes)


def test_orders_get_the_flows_ids() -> None:
    """Orders of a policy go out under ids that are functions of the flow."""
    orders = [replace_order(5.0), replace_order(3.0)]

    found = ask("execution", orders, built_in("execution", EXECUTION))

    assert ["f-000", "f-001"] == [each.client_order_id for each in found.parts["execution"].orders]
    assert OutcomeKind.EXECUTED is outcome(found)[0]


def replace_order(quantity: float, side: Side = Side.BUY) -> ChildOrder:
    """Return an order of so many units."""
    return ChildOrder("any", side, quantity, OrderType.LIMIT, 10.0, 0)


@pytest.mark.parametrize(
    "orders",
    [
        [replace_order(9.0)],
        [replace_order(4.0), replace_order(4.1)],
        [replace_order(1.0, Side.SELL)],
    ],
)
def test_orders_outside_the_envelope_are_refused(orders: list[ChildOrder]) -> None:
    """More than risk allows, or another side, is a failure of the policy."""
    with pytest.raises(InvalidPacket):
        ask("execution", orders, built_in("execution", EXECUTION))


@pytest.mark.parametrize(
    ("path", "kind", "orders"),
    [
        ("EXECUTE", None, 1),
        ("SLICE", None, 1),
        ("HOLD", OutcomeKind.HELD, 0),
        ("REJECT", OutcomeKind.REJECTED, 0),
    ],
)
def test_a_path_keeps_or_drops_the_plan(path: str, kind: OutcomeKind | None, orders: int) -> None:
    """EXECUTE and SLICE keep the built-in plan, HOLD and REJECT drop it."""
    draft = built_in("execution", EXECUTION)

    found = ask("execution", {path: 1.0}, draft)

    assert orders == len(found.parts["execution"].orders)
    assert (draft.outcome if kind is None else kind) == (
        found.outcome.kind if found.outcome else None
    )


def test_execution_control_cannot_be_overruled() -> None:
    """Where the built-in plan has no orders, no answer makes any."""
    refused = built_in("execution", Execution((), 0.0, 0.0, 0.0, ("HALTED",)))

    assert refused is ask("execution", [replace_order(1.0)], refused)


@pytest.mark.parametrize(
    "answer", [{"BUY": 0.5}, {"UP": 1.0}, {"BUY": 1.5, "SELL": -0.5}, "BUY", 3, {}]
)
def test_what_is_no_answer_is_refused(answer: Any) -> None:
    """Not a distribution, or over other names: a failure of the policy that says why."""
    with pytest.raises(InvalidPacket):
        ask("tactical", answer, replace(built_in("tactical", TACTICAL)))
