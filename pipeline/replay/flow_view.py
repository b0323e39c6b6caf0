"""A flow for people and for machines."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.control.state import ControlView
from pipeline.packets.events import Alert, AuditRecord, EmergencyEvent
from pipeline.packets.models import (
    Bar,
    DeadLetter,
    Envelope,
    Execution,
    MarketData,
    OrderEvent,
    PortfolioUpdate,
    Risk,
    Strategic,
    Superposition,
    Tactical,
)
from pipeline.replay.flow import Flow, Step

__all__ = ["flow_lines", "flow_to_dict", "utc"]

_PARTS = {
    "StrategicSignal": "strategic",
    "TacticalSignal": "tactical",
    "RiskAssessment": "risk",
    "ExecutionPlan": "execution",
}
_HASH = 12


def utc(time_us: int) -> str:
    """Return microseconds since the Unix epoch as ISO 8601; as they are beyond what dates hold."""
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return str(time_us)


# -- for machines ----------------------------------------------------------------------------------


def flow_to_dict(flow: Flow) -> dict[str, Any]:
    """Return a flow as JSON has it; times are microseconds since the Unix epoch, UTC."""
    envelope, outcome = flow.envelope, flow.outcome
    return {
        "flow_id": flow.flow_id,
        **({} if envelope is None else _identity(envelope)),
        "outcome": None if outcome is None else msgspec.to_builtins(outcome),
        "order_state": flow.order_state,
        "latency_ms": latencies(flow),
        "steps": [_step(step) for step in flow.steps],
        "dead_letters": [_step(step) for step in flow.dead_letters],
        "mentions": [_step(step) for step in flow.mentions],
        "unknown": list(flow.unknown),
    }


def latencies(flow: Flow) -> dict[str, float | None]:
    """Return from acceptance to the plan, and to the end of the last order, milliseconds."""
    envelope = flow.envelope
    if envelope is None:
        return {"to_plan": None, "to_fill": None}
    events = [step.record for step in flow.steps if isinstance(step.record, OrderEvent)]
    ended = flow.outcome is not None and envelope.trace
    return {
        "to_plan": _ms(envelope.trace[-1].finished - envelope.accepted_at) if ended else None,
        "to_fill": _ms(events[-1].journal.now - envelope.accepted_at) if events else None,
    }


def _identity(envelope: Envelope) -> dict[str, Any]:
    return {
        "symbol": envelope.symbol,
        "account": envelope.account,
        "sequence": envelope.sequence,
        "priority": envelope.priority,
        "event_time": envelope.event_time,
        "accepted_at": envelope.accepted_at,
        "deadline": envelope.deadline,
    }


def _step(step: Step) -> dict[str, Any]:
    entry = step.entry
    return {
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
        "appended_at": entry.timestamp_ms * 1000,
        "type": type(step.record).__name__,
        "latency_ms": step_latencies(step),
        "control": None if step.control is None else _control(step.control),
        "record": msgspec.to_builtins(step.record, str_keys=True),
    }


def _control(view: ControlView) -> dict[str, Any]:
    fences = view.fences
    return {
        "trading_state": view.trading_state,
        "epoch": view.epoch,
        "reason": view.reason,
        "isolated": _isolated(view),
        "breakers_open": sorted(fences.breakers),
    }


def _isolated(view: ControlView) -> list[str]:
    fences = view.fences
    kinds = {
        "stage": fences.stages,
        "symbol": fences.symbols,
        "policy": fences.policies,
        "source": fences.sources,
    }
    return [f"{kind}:{name}" for kind, names in kinds.items() for name in sorted(names)]


def step_latencies(step: Step) -> dict[str, float]:
    """Return where a stage's record spent its time, milliseconds.

    `transport` is from the decision before (acceptance for the first stage) until its worker took
    it from the broker, `queue` until it was worked on, `processing` until it was decided, `broker`
    until the broker had appended it, of which the broker tells whole milliseconds.
    """
    envelope = step.envelope
    if envelope is None or not envelope.trace or step.journal is None:
        return {}
    mine = envelope.trace[-1]
    before = envelope.trace[-2].finished if len(envelope.trace) > 1 else envelope.accepted_at
    return {
        "transport": _ms(mine.received - before),
        "queue": _ms(mine.started - mine.received),
        "processing": _ms(mine.finished - mine.started),
        "broker": max(0.0, _ms(step.entry.timestamp_ms * 1000 - mine.finished)),
    }


def _ms(microseconds: int) -> float:
    return round(microseconds / 1000, 3)


# -- for people ------------------------------------------------------------------------------------


def flow_lines(flow: Flow) -> Iterator[str]:
    """Yield a flow as lines of text."""
    yield from _head(flow)
    envelope = flow.envelope
    zero_us = envelope.accepted_at if envelope else flow.steps[0].entry.timestamp_ms * 1000
    for step in flow.steps:
        yield ""
        yield from _step_lines(step, zero_us)
    for title, steps in (("dead letters", flow.dead_letters), ("mentioned by", flow.mentions)):
        if steps:
            yield ""
            yield title
            for step in steps:
                yield f"  {utc(step.entry.timestamp_ms * 1000)}  {step.entry}"
                yield from (f"    {line}" for line in _content(step.record))
    for sentence in flow.unknown:
        yield f"not known: {sentence}"


def _head(flow: Flow) -> Iterator[str]:
    envelope, outcome = flow.envelope, flow.outcome
    if envelope is None:
        yield f"flow {flow.flow_id}"
        return
    yield (
        f"flow {flow.flow_id}: {envelope.symbol} number {envelope.sequence}, account"
        f" {envelope.account}, priority {envelope.priority}"
    )
    timeout_ms = _ms(envelope.deadline - envelope.accepted_at)
    yield f"accepted  {utc(envelope.accepted_at)}, deadline {timeout_ms:g} ms later"
    found = latencies(flow)
    if outcome is None:
        yield "outcome   none yet"
    else:
        plan = f", {found['to_plan']:g} ms after acceptance" if found["to_plan"] else ""
        yield f"outcome   {_outcome(outcome)}{plan}"
    if flow.order_state is not None:
        yield f"orders    {flow.order_state}, {found['to_fill']:g} ms after acceptance"


def _outcome(outcome: Any) -> str:
    reasons = f" ({', '.join(outcome.reasons)})" if outcome.reasons else ""
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"{outcome.kind} by {outcome.stage}{reasons}{detail}"


def _step_lines(step: Step, zero_us: int) -> Iterator[str]:
    journal, envelope = step.journal, step.envelope
    at_us = step.entry.timestamp_ms * 1000
    if journal is not None:
        at_us = envelope.trace[-1].finished if envelope and envelope.trace else journal.now
    yield f"{_ms(at_us - zero_us):>+10.1f} ms  {step.entry}  {type(step.record).__name__}"
    if found := step_latencies(step):
        text = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
        yield f"    {'ms':<9} {text}"
    yield from (f"    {line}" for line in _content(step.record))
    if envelope is not None and (policy := envelope.policy) is not None:
        yield (
            f"    policy    {policy.name} {policy.version}, sha256 {policy.sha256[:_HASH]},"
            f" on the state after record {policy.state_sequence}"
        )
    if envelope is not None and envelope.outcome is not None:
        yield f"    outcome   {_outcome(envelope.outcome)}"
    if journal is not None:
        yield (
            f"    writer    {journal.owner}, build {journal.build}, log sequence"
            f" {journal.log_sequence}, epoch {journal.epoch}"
        )
    if step.control is not None:
        yield f"    control   {_control_text(step.control)}"


def _control_text(view: ControlView) -> str:
    parts = [f"{view.trading_state} at epoch {view.epoch}"]
    if view.reason:
        parts.append(view.reason)
    if isolated := _isolated(view):
        parts.append(f"isolated {', '.join(isolated)}")
    if view.fences.breakers:
        parts.append(f"breakers open {', '.join(sorted(view.fences.breakers))}")
    return "; ".join(parts)


def _content(record: Struct) -> Iterator[str]:
    """Yield what a record says, without what all records say."""
    if isinstance(record, MarketData):
        yield f"bar       {_bar(record.bar)}, from {record.envelope.source_system}"
        return
    if isinstance(record, OrderEvent):
        yield from _order_event(record)
        return
    if isinstance(record, PortfolioUpdate):
        yield (
            f"account   position {record.position:g} {record.symbol}, cash {record.cash:,.2f},"
            f" realised {record.realised:,.2f}, released {record.released:,.2f}"
        )
        return
    if isinstance(record, Alert | AuditRecord):
        yield f"{record.level}: {record.message}"
        return
    if isinstance(record, EmergencyEvent):
        yield f"{record.emergency_level} {record.emergency_type} {record.course}:"
        yield record.description
        return
    if isinstance(record, DeadLetter):
        yield f"{record.error_class} at {record.stage}, attempt {record.attempt}: {record.message}"
        return
    part = getattr(record, _PARTS.get(type(record).__name__, ""), None)
    if part is not None:
        yield from _DECISIONS[type(part)](part)
    for view in getattr(record, "views", ()):
        yield f"  {_view(view)}"


def _bar(bar: Bar) -> str:
    return (
        f"open {bar.open:g}, high {bar.high:g}, low {bar.low:g}, close {bar.close:g},"
        f" volume {bar.volume:g}"
    )


def _chances(distribution: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {chance:.3f}" for name, chance in distribution.items())


def _view(view: Superposition) -> str:
    return (
        f"{view.source:<18} {_chances(view.distribution)} (confidence {view.confidence:.3f},"
        f" coherence {view.coherence:.3f})"
    )


def _strategic(part: Strategic) -> Iterator[str]:
    yield (
        f"decision  {part.action}: {_chances(part.distribution)} (confidence"
        f" {part.confidence:.3f}, coherence {part.coherence:.3f})"
    )
    yield (
        f"          signal {part.signal_strength:+.3f}, regime {part.regime}, volatility"
        f" {part.volatility:.5f}"
    )


def _tactical(part: Tactical) -> Iterator[str]:
    yield (
        f"decision  {part.action}: {_chances(part.distribution)} (confidence"
        f" {part.confidence:.3f}, coherence {part.coherence:.3f})"
    )
    yield (
        f"          entry {part.entry:g}, momentum {part.momentum:+.4f}, volume ratio"
        f" {part.volume_ratio:.2f}, true range {part.atr:g}{_because(part.reasons)}"
    )


def _risk(part: Risk) -> Iterator[str]:
    bounds = part.envelope
    yield f"decision  {part.verdict}, score {part.risk_score:.3f}{_because(part.reasons)}"
    yield (
        f"envelope  {bounds.side} up to {bounds.max_quantity:g} at {bounds.reference_price:g},"
        f" stop {bounds.stop:g}, target {bounds.target:g}, reserved {part.reserved:,.2f}"
    )
    yield (
        f"account   equity {part.equity:,.2f}, exposure {part.exposure:,.2f}, drawdown"
        f" {part.drawdown:.4f}, value at risk {part.value_at_risk:,.2f}"
    )


def _execution(part: Execution) -> Iterator[str]:
    yield (
        f"decision  {len(part.orders)} orders, urgency {part.urgency:.3f}, participation"
        f" {part.participation:.4f}, slippage {part.expected_slippage:.6f}{_because(part.reasons)}"
    )
    for order in part.orders:
        yield (
            f"order     {order.client_order_id}: {order.side} {order.quantity:g}"
            f" {order.order_type} at {order.limit_price:g}, after {order.delay_ms} ms"
        )


_DECISIONS: Mapping[type[Struct], Any] = {
    Strategic: _strategic,
    Tactical: _tactical,
    Risk: _risk,
    Execution: _execution,
}


def _because(reasons: tuple[str, ...]) -> str:
    return f", because of {', '.join(reasons)}" if reasons else ""


def _order_event(event: OrderEvent) -> Iterator[str]:
    name = event.client_order_id or "the whole flow"
    yield f"order     {name}: {event.kind}, flow {event.flow_state}{_because(event.reasons)}"
    if event.filled:
        yield (
            f"fill      {event.side} {event.filled:g} of {event.quantity:g} at {event.price:g},"
            f" fee {event.fee:g}, venue order {event.venue_order_id}"
        )
