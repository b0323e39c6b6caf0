"""Rules about one packet: integrity, continuity, budgets, bounds, configuration."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline.packets import models
from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.packets.identity import client_order_id
from pipeline.packets.vocabulary import Action, OutcomeKind, Side, SuperpositionType, Verdict
from pipeline.rules import checks
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import PacketRule, packet_rule

__all__ = ["PACKET_RULES"]

_T = ValidationType
_STAGES = ("strategic", "tactical", "risk", "execution")
_RECORDS = tuple(checks.RECORD_STAGES)
_PASSING = frozenset({Verdict.APPROVE, Verdict.REDUCE_SIZE})
_RELATIVE = 1e-9  # sums of fractions of one quantity
_SHA256 = re.compile(r"[0-9a-f]{64}")

# What each record is, who writes it, and whom it is for.
_ROUTES: Mapping[type, tuple[SuperpositionType, str, str]] = {
    models.MarketData: (SuperpositionType.CONTEXT_UPDATE, "", "strategic"),
    models.StrategicSignal: (SuperpositionType.STRATEGIC_SIGNAL, "strategic", "tactical"),
    models.TacticalSignal: (SuperpositionType.TACTICAL_SIGNAL, "tactical", "risk"),
    models.RiskAssessment: (SuperpositionType.RISK_ASSESSMENT, "risk", "execution"),
    models.ExecutionPlan: (SuperpositionType.EXECUTION_PLAN, "execution", "gateway"),
}

_LOOK_AT_WRITER = (
    "Find out which build wrote it: journal.owner and journal.build of the record name it.",
    "Isolate the stage that wrote it until that is known: `cascade control isolate`.",
)
_LOOK_AT_SOURCE = ("Correct the source of the market data; its packets are dead-lettered.",)

BARS = PacketRule(
    "data.bar",
    _T.DATA_INTEGRITY,
    checks.bar,
    rule_name="Open and close lie between low and high",
    looks_at=("bar",),
    remediation=_LOOK_AT_SOURCE,
)

IDENTITY = PacketRule(
    "data.identity",
    _T.DATA_INTEGRITY,
    checks.identity,
    rule_name="Flow and packet ids are those of the packet's content",
    of=(models.MarketData, *_RECORDS),
    level=ValidationLevel.CRITICAL,
    remediation=_LOOK_AT_WRITER,
)


@packet_rule(
    "data.fill",
    _T.DATA_INTEGRITY,
    of=(models.OrderEvent,),
    level=ValidationLevel.CRITICAL,
    remediation=(
        "Reconcile the account with the venue before trading goes on: `cascade control halt`.",
    ),
)
def fill(event: models.OrderEvent) -> str | None:
    """A fill has a side and a price, and no more units than ordered."""
    if event.filled <= 0.0:
        return None
    if event.side is Side.NONE or event.price <= 0.0:
        return f"Expected side and price of {event.filled} units, was {event.side}, {event.price}"
    if event.filled > event.quantity * (1.0 + _RELATIVE):
        return f"Expected up to {event.quantity} units filled, was {event.filled}"
    return None


@packet_rule(
    "flow.route",
    _T.FLOW_CONTINUITY,
    of=tuple(_ROUTES),
    remediation=("Correct who writes the topic; a misrouted packet is dead-lettered.",),
)
def route(packet: Any) -> str | None:
    """Type, source and target are those of the packet's place in the cascade."""
    kind, source, target = _ROUTES[type(packet)]
    envelope = packet.envelope
    was = (envelope.packet_type, envelope.source_system, envelope.target_system)
    expected = (kind, source or envelope.source_system, target)
    if was == expected:
        return None
    return f"Expected {' '.join(expected)}, was {' '.join(was)}"


@packet_rule("flow.trace", _T.FLOW_CONTINUITY, of=_RECORDS, remediation=_LOOK_AT_WRITER)
def trace(packet: Any) -> str | None:
    """The trace names each stage on the way once, in order."""
    stage = checks.RECORD_STAGES[type(packet)]
    # A flow whose packet could not be read begins where that was noticed.
    began = packet.envelope.trace[0].stage if packet.envelope.trace else stage
    expected = _STAGES[_STAGES.index(began) if began in _STAGES else 0 : _STAGES.index(stage) + 1]
    was = tuple(each.stage for each in packet.envelope.trace)
    return None if was == expected else f"Expected a trace of {expected}, was {was}"


@packet_rule("flow.fate", _T.FLOW_CONTINUITY, of=_RECORDS, remediation=_LOOK_AT_WRITER)
def fate(packet: Any) -> str | None:
    """What goes on carries its stage's decision to go on, and what ends says how."""
    stage = checks.RECORD_STAGES[type(packet)]
    outcome, decision = packet.envelope.outcome, getattr(packet, stage)
    if outcome is None:
        return _goes_on(stage, decision)
    if stage != "execution" and outcome.kind is OutcomeKind.EXECUTED:
        return f"Expected execution to execute, was {stage}"
    if stage == "execution" and (outcome.kind is OutcomeKind.EXECUTED) != bool(
        decision is not None and decision.orders
    ):
        return f"Expected orders exactly where a flow is executed, was {outcome.kind}"
    return None


def _goes_on(stage: str, decision: Any) -> str | None:
    if stage == "execution":
        return "Expected an outcome at the end of the flow, was none"
    if decision is None:
        return f"Expected a decision of {stage} in a flow that goes on, was none"
    if stage == "tactical" and decision.action is Action.HOLD:
        return "Expected HOLD to end the flow, was a flow that goes on"
    if stage == "risk" and decision.verdict not in _PASSING:
        return f"Expected {decision.verdict} to end the flow, was a flow that goes on"
    return None


@packet_rule(
    "performance.budget",
    _T.PERFORMANCE_COMPLIANCE,
    of=_RECORDS,
    level=ValidationLevel.WARNING,
    with_context=True,
    remediation=(
        "Give the stage more workers or cores, or a larger share: CASCADE_STAGES__*__BUDGET_MS.",
    ),
)
def budget(packet: Any, context: ValidationContext) -> str | None:
    """A stage works no longer on a packet than its share of the deadline."""
    stage = checks.RECORD_STAGES[type(packet)]
    newest = packet.envelope.trace[-1] if packet.envelope.trace else None
    if newest is None:
        return None
    spent_ms = (newest.finished - newest.started) / 1000
    most_ms = context.settings.scaled_budget_ms(stage)
    return None if spent_ms <= most_ms else f"Expected {most_ms:.1f} ms, was {spent_ms:.1f}"


@packet_rule(
    "performance.deadline",
    _T.PERFORMANCE_COMPLIANCE,
    of=(models.ExecutionPlan,),
    looks_at=("execution",),
    remediation=("Look at `cascade metrics` for the stage that spends the time.",),
)
def in_time(plan: models.ExecutionPlan) -> str | None:
    """Orders are planned before the flow's deadline."""
    envelope, outcome = plan.envelope, plan.envelope.outcome
    if outcome is None or outcome.kind is not OutcomeKind.EXECUTED:
        return None
    late_us = plan.journal.now - envelope.deadline
    return (
        None if late_us <= 0 else f"Expected orders by the deadline, was {late_us / 1000} ms late"
    )


@packet_rule(
    "security.envelope",
    _T.SECURITY_VALIDATION,
    of=(models.ExecutionPlan,),
    looks_at=("execution",),
    level=ValidationLevel.CRITICAL,
    remediation=(
        "Halt trading, then find out who planned it: `cascade control halt`.",
        *_LOOK_AT_WRITER,
    ),
)
def within_envelope(plan: models.ExecutionPlan) -> str | None:
    """Orders are approved: side and quantity of risk's envelope, ids of the flow."""
    orders = plan.execution.orders if plan.execution else ()
    if not orders:
        return None
    if plan.risk is None or plan.risk.verdict not in _PASSING:
        return "Expected an approval of risk before orders, was none"
    bounds, flow = plan.risk.envelope, plan.envelope.flow_id
    ids = [each.client_order_id for each in orders]
    if ids != [client_order_id(flow, index) for index in range(len(orders))]:
        return f"Expected order ids of flow {flow}, was {ids}"
    if any(each.side is not bounds.side for each in orders):
        return f"Expected orders to {bounds.side}, was {sorted({str(o.side) for o in orders})}"
    total = math.fsum(each.quantity for each in orders)
    if total > bounds.max_quantity * (1.0 + _RELATIVE):
        return f"Expected up to {bounds.max_quantity} units, was {total}"
    return None


RESERVATION = PacketRule(
    "security.reservation",
    _T.SECURITY_VALIDATION,
    checks.reservation,
    rule_name="Risk reserves what it approves",
    of=(models.RiskAssessment,),
    looks_at=("risk",),
    level=ValidationLevel.CRITICAL,
    remediation=_LOOK_AT_WRITER,
)


@packet_rule(
    "security.attribution",
    _T.SECURITY_VALIDATION,
    of=_RECORDS,
    remediation=("Have the policy stamp its decisions with name, version and hash.",),
)
def attribution(packet: Any) -> str | None:
    """Each decision names the policy that made it: name, version, hash."""
    stage = checks.RECORD_STAGES[type(packet)]
    if getattr(packet, stage) is None:
        return None
    stamp = packet.envelope.policy
    if stamp is not None and _SHA256.fullmatch(stamp.sha256):
        return None
    return f"Expected the decision of {stage} to name its policy and hash, was {stamp}"


@packet_rule(
    "security.account",
    _T.SECURITY_VALIDATION,
    of=tuple(_ROUTES),
    with_context=True,
    remediation=("Correct CASCADE_ACCOUNT of whoever publishes; risk refuses other accounts.",),
)
def account(packet: Any, context: ValidationContext) -> str | None:
    """Packets are for the account that risk keeps."""
    was, expected = packet.envelope.account, context.settings.account
    return None if was == expected else f"Expected account {expected}, was {was}"


@packet_rule(
    "configuration.deadline",
    _T.CONFIGURATION_VALIDATION,
    of=(models.MarketData,),
    level=ValidationLevel.WARNING,
    with_context=True,
    remediation=("Give publisher and workers the same CASCADE_TIMEOUT_MS.",),
)
def configured_deadline(packet: models.MarketData, context: ValidationContext) -> str | None:
    """Deadlines are those of the settings that workers run under."""
    envelope = packet.envelope
    was_ms = (envelope.deadline - envelope.accepted_at) / 1000
    expected_ms = context.settings.cascade_timeout_ms
    if was_ms == expected_ms:
        return None
    return f"Expected a deadline {expected_ms} ms after acceptance, was {was_ms:g}"


PACKET_RULES = (
    BARS,
    IDENTITY,
    fill,
    route,
    trace,
    fate,
    budget,
    in_time,
    within_envelope,
    RESERVATION,
    attribution,
    account,
    configured_deadline,
)
"""Rules about one packet, less superpositions and times."""
