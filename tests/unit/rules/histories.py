"""A small sound run, log by log, to plant violations in."""

from collections.abc import Sequence
from dataclasses import replace as replace_evidence
from typing import Any

from msgspec.structs import replace

from pipeline.packets.identity import client_order_id, flow_id, packet_id
from pipeline.packets.models import (
    Bar,
    ChildOrder,
    Envelope,
    Execution,
    ExecutionPlan,
    Journal,
    OrderEvent,
    Outcome,
    PortfolioUpdate,
    Risk,
    RiskAssessment,
    RiskEnvelope,
    StrategicSignal,
    TacticalSignal,
)
from pipeline.packets.vocabulary import (
    FlowState,
    OrderEventKind,
    OrderType,
    OutcomeKind,
    Side,
    SuperpositionType,
    Verdict,
)
from pipeline.rules.oracle import Accepted, Evidence, VenueFact

__all__ = ["NOW", "ORDER", "change", "drop", "repeat", "sound"]

NOW = 1_700_000_000_000_000
_BAR = Bar(10.0, 11.0, 9.0, 10.5, 100.0, 60)
_EPOCH = 3
_TRADED, _HELD = 0, 1  # sequence numbers of the two flows
ORDER = client_order_id(flow_id("market", "AAPL", _TRADED), 0)


def _journal(sequence: int, topic: str, source: int, *, logged: bool = True) -> Journal:
    """Return the journal of a log's record `sequence`, made from record `source` of a topic."""
    epoch, number = (_EPOCH, source) if logged else (-1, -1)
    return Journal(
        sequence, _EPOCH, topic, 0, source + (_EPOCH + 1 if logged else 0), epoch, number,
        source + 1, epoch, number, NOW, 0, "owner", "build",
    )  # fmt: skip


def _envelope(stage: str, sequence: int, outcome: Outcome | None = None) -> Envelope:
    flow = flow_id("market", "AAPL", sequence)
    return Envelope(
        flow, packet_id(flow, stage), "", SuperpositionType.CONTEXT_UPDATE, stage, "next", "AAPL",
        "main", sequence, 1, NOW, NOW, NOW + 100_000, 0, 0, (), None, outcome,
    )  # fmt: skip


def _log(*records: Any) -> list[Accepted]:
    return [
        Accepted(0, _EPOCH + 1 + place, each, each.journal) for place, each in enumerate(records)
    ]


def sound() -> Evidence:
    """Return a run of two flows: one traded, one held by the strategic stage."""
    held = Outcome(OutcomeKind.HELD, "strategic", ())
    executed = Outcome(OutcomeKind.EXECUTED, "execution", ())
    risk = Risk(
        Verdict.APPROVE, 0.1, (), RiskEnvelope(Side.BUY, 10.0, 10.0, 9.0, 12.0), (), 1e6, 0.0, 0.0,
        0.0, 100.0,
    )  # fmt: skip
    order = ChildOrder(ORDER, Side.BUY, 10.0, OrderType.LIMIT, 10.0, 0)
    logs = {
        "strategic": _log(
            StrategicSignal(
                _journal(0, "cascade.market", 0, logged=False),
                _envelope("strategic", _TRADED), _BAR,
            ),
            StrategicSignal(
                _journal(1, "cascade.market", 1, logged=False),
                _envelope("strategic", _HELD, held), _BAR,
            ),
        ),
        "tactical": _log(
            TacticalSignal(
                _journal(0, "cascade.strategic", 0), _envelope("tactical", _TRADED), _BAR
            ),
            TacticalSignal(
                _journal(1, "cascade.strategic", 1), _envelope("tactical", _HELD, held), _BAR
            ),
        ),
        "risk": _log(
            RiskAssessment(
                _journal(0, "cascade.tactical", 0), _envelope("risk", _TRADED), _BAR, risk=risk
            ),
            RiskAssessment(
                _journal(1, "cascade.tactical", 1), _envelope("risk", _HELD, held), _BAR
            ),
            PortfolioUpdate(
                _journal(2, "cascade.fills", 1), flow_id("market", "AAPL", _TRADED), "main", "AAPL",
                ORDER, OrderEventKind.FILLED, FlowState.FILLED, Side.BUY, 10.0, 10.0, 0.0, 100.0,
                10.0, 0.0, 0.0,
            ),
        ),
        "execution": _log(
            ExecutionPlan(
                _journal(0, "cascade.risk", 0), _envelope("execution", _TRADED, executed), _BAR,
                risk=risk, execution=Execution((order,), 0.5, 0.1, 0.0, ()),
            ),
            ExecutionPlan(
                _journal(1, "cascade.risk", 1), _envelope("execution", _HELD, held), _BAR
            ),
        ),
        "fills": _log(
            _event(0, OrderEventKind.SUBMITTING, FlowState.OPEN, 0.0),
            _event(1, OrderEventKind.FILLED, FlowState.FILLED, 10.0),
        ),
    }  # fmt: skip
    records = {f"cascade.{name}": log for name, log in logs.items()}
    return Evidence({("cascade.market", 0): range(2)}, records, (), (VenueFact(ORDER, NOW, 10.0),))


def _event(sequence: int, kind: OrderEventKind, state: FlowState, filled: float) -> OrderEvent:
    flow = flow_id("market", "AAPL", _TRADED)
    return OrderEvent(
        _journal(sequence, "cascade.execution", 0), flow, "plan", "main", "AAPL", ORDER, kind,
        state, Side.BUY, 10.0, filled, 10.0, 0.0, "", NOW, NOW, NOW + 100_000, (),
    )  # fmt: skip


def _with(evidence: Evidence, stage: str, log: Sequence[Accepted]) -> Evidence:
    return replace_evidence(evidence, records={**evidence.records, f"cascade.{stage}": log})


def change(evidence: Evidence, stage: str, index: int, **changes: Any) -> Evidence:
    """Return the evidence with a record changed; `journal` may be given as a dict of changes."""
    log = list(evidence.of(stage))
    was = log[index]
    if isinstance(changes.get("journal"), dict):
        changes["journal"] = replace(was.journal, **changes["journal"])
    record = replace(was.record, **changes)
    log[index] = was._replace(record=record, journal=record.journal)
    return _with(evidence, stage, log)


def drop(evidence: Evidence, stage: str, index: int) -> Evidence:
    """Return the evidence without a record."""
    log = list(evidence.of(stage))
    del log[index]
    return _with(evidence, stage, log)


def repeat(evidence: Evidence, stage: str, index: int) -> Evidence:
    """Return the evidence with a record twice, the second time at the end of its log."""
    log = list(evidence.of(stage))
    return _with(evidence, stage, [*log, log[index]._replace(offset=log[-1].offset + 1)])
