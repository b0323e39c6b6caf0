"""A flow as a trace of OpenTelemetry, made afterwards from what the packets themselves say.

Workers measure each packet anyway and write it into its envelope; whoever wants a trace reads it
there, so the path pays nothing. Ids are pure functions of the flow: exported twice, it is the same
trace. A replay of the flow is a trace of its own whose root links to the flow's.

A stage's span lasts from when a worker took the packet until it was finished; how long of that it
queued is an attribute. An order's lasts from its announcement to its last event.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from pipeline.errors import ConfigurationError, UsageError
from pipeline.packets.codec import decode
from pipeline.packets.models import Envelope, OrderEvent, SandboxRecord, Trace
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay.flow import FILLS, Flow
from pipeline.replay.logs import LOGS
from pipeline.replay.reading import TopicReader

__all__ = ["SpanDraft", "export", "replay_trace", "sandbox_records", "trace_of"]

_FAILED = frozenset({OutcomeKind.DEAD_LETTERED, OutcomeKind.EXPIRED})
_SERVICE = "cascade"
_ROOT = "flow"


class SpanDraft(Struct, frozen=True, kw_only=True):
    """A span before any library has seen it.

    Attributes:
        name: Its name.
        trace_id: 32 hexadecimal digits.
        span_id: 16.
        parent_id: 16, or empty for the root.
        start_us: Begin, microseconds since the Unix epoch, UTC.
        end_us: End.
        attributes: By OpenTelemetry's names where it has one.
        links: Spans of other traces, as (trace_id, span_id).
        failed: Whether the packet ended here, expired or dead-lettered.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    start_us: int
    end_us: int
    attributes: dict[str, str | int | float]
    links: tuple[tuple[str, str], ...] = ()
    failed: bool = False


def _hash(*parts: str, digits: int) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:digits]


def trace_of(flow: Flow) -> list[SpanDraft]:
    """Return the spans of a flow, its root first; none where no packet of it was found."""
    envelope = flow.envelope
    if envelope is None:
        return []
    topics = {step.entry.topic: step for step in flow.steps if step.envelope is not None}
    spans = [
        _stage(flow.flow_id, "", each, envelope, _destination(topics, each.stage))
        for each in envelope.trace
    ]
    spans += _orders(flow)
    return [_root(flow.flow_id, "", envelope, spans), *spans]


def replay_trace(flow: Flow, replay_id: str, records: Iterable[SandboxRecord]) -> list[SpanDraft]:
    """Return the spans of a flow's replay, its root first and linked to the flow's own.

    Args:
        flow: The flow.
        replay_id: The replay.
        records: Its sandbox's records; those of other flows are left out.
    """
    found = [each for each in records if each.flow_id == flow.flow_id and each.value]
    packets: list[tuple[SandboxRecord, Envelope]] = [
        (each, envelope)
        for each in found
        if (envelope := getattr(decode(each.value), "envelope", None)) and envelope.trace
    ]
    spans: list[SpanDraft] = []
    newest: Envelope | None = None
    for record, envelope in sorted(packets, key=lambda packet: len(packet[1].trace)):
        newest = envelope
        extra: dict[str, str | int | float] = {
            "messaging.destination.name": record.topic,
            "cascade.replay.agreement": record.agreement,
        }
        spans.append(_stage(flow.flow_id, replay_id, envelope.trace[-1], envelope, extra))
    if newest is None:
        return []
    return [_root(flow.flow_id, replay_id, newest, spans), *spans]


def sandbox_records(reader: TopicReader) -> list[SandboxRecord]:
    """Return all records of a sandbox; it has topics of the logs that were replayed, no others."""
    found = []
    for topic in sorted(LOGS):
        try:
            partitions = reader.partitions(topic)
        except UsageError:
            continue
        for partition in partitions:
            for entry in reader.read(topic, partition, *reader.bounds(topic, partition)):
                record = decode(entry.value or b"")
                if isinstance(record, SandboxRecord):
                    found.append(record)
    return found


def _ids(flow_id: str, replay_id: str) -> tuple[str, str]:
    """Return (trace id, span id of the root)."""
    return (
        _hash("trace", flow_id, replay_id, digits=32),
        _hash("span", flow_id, replay_id, _ROOT, digits=16),
    )


def _root(
    flow_id: str, replay_id: str, envelope: Envelope, spans: Sequence[SpanDraft]
) -> SpanDraft:
    trace_id, span_id = _ids(flow_id, replay_id)
    outcome = envelope.outcome
    attributes: dict[str, str | int | float] = {
        "cascade.flow_id": flow_id,
        "cascade.symbol": envelope.symbol,
        "cascade.deadline_us": envelope.deadline,
    }
    if outcome is not None:
        attributes["cascade.outcome"] = str(outcome.kind)
    if replay_id:
        attributes["cascade.replay.id"] = replay_id
    return SpanDraft(
        name="replay" if replay_id else _ROOT,
        trace_id=trace_id,
        span_id=span_id,
        start_us=envelope.accepted_at,
        end_us=max([envelope.accepted_at, *(each.end_us for each in spans)]),
        attributes=attributes,
        links=(_ids(flow_id, ""),) if replay_id else (),
        failed=outcome is not None and outcome.kind in _FAILED,
    )


def _destination(topics: dict[str, Any], stage: str) -> dict[str, str | int | float]:
    step = topics.get(f"cascade.{stage}")
    if step is None:
        return {}
    return {
        "messaging.destination.name": step.entry.topic,
        "messaging.destination.partition.id": str(step.entry.partition),
        "messaging.kafka.offset": step.entry.offset,
    }


def _stage(
    flow_id: str,
    replay_id: str,
    trace: Trace,
    envelope: Envelope,
    more: dict[str, str | int | float],
) -> SpanDraft:
    trace_id, parent_id = _ids(flow_id, replay_id)
    outcome = envelope.outcome
    ended_here = outcome is not None and outcome.stage == trace.stage
    return SpanDraft(
        name=f"process {trace.stage}",
        trace_id=trace_id,
        span_id=_hash("span", flow_id, replay_id, trace.stage, digits=16),
        parent_id=parent_id,
        start_us=trace.received,
        end_us=max(trace.received, trace.finished),
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.consumer.group.name": f"cascade.{trace.stage}",
            "cascade.queued_us": max(0, trace.started - trace.received),
            **more,
        },
        failed=ended_here and outcome is not None and outcome.kind in _FAILED,
    )


def _orders(flow: Flow) -> list[SpanDraft]:
    """Return a span for each child order."""
    events: dict[str, list[tuple[int, OrderEvent]]] = {}
    for step in flow.steps:
        record = step.record
        if isinstance(record, OrderEvent) and record.client_order_id:
            at_us = step.entry.timestamp_ms * 1000
            events.setdefault(record.client_order_id, []).append((at_us, record))
    trace_id, parent_id = _ids(flow.flow_id, "")
    return [
        SpanDraft(
            name="order",
            trace_id=trace_id,
            span_id=_hash("span", flow.flow_id, "", order, digits=16),
            parent_id=parent_id,
            start_us=min(at_us for at_us, _ in found),
            end_us=max(at_us for at_us, _ in found),
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": FILLS,
                "cascade.client_order_id": order,
                "cascade.order.kind": str(found[-1][1].kind),
            },
        )
        for order, found in events.items()
    ]


def export(drafts: Sequence[SpanDraft], exporter: Any = None) -> int:
    """Hand spans to OpenTelemetry; return how many it took.

    Args:
        drafts: The spans.
        exporter: A span exporter; None: OTLP over HTTP, to OTEL_EXPORTER_OTLP_ENDPOINT.

    Raises:
        ConfigurationError: If the extra `otel` is not installed, or nobody took them.
    """
    try:
        from opentelemetry.sdk.trace.export import SpanExportResult

        from pipeline.replay.otel import finished_span, otlp_exporter
    except ImportError as error:
        raise ConfigurationError(
            "Expected OpenTelemetry, is not installed: pip install 'marl-cascade[otel]'"
        ) from error
    exporter = exporter or otlp_exporter()
    try:
        taken = exporter.export([finished_span(each, _SERVICE) for each in drafts])
    finally:
        exporter.shutdown()
    if taken is not SpanExportResult.SUCCESS:
        raise ConfigurationError(
            "Expected the collector to take the spans, did not: check OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    return len(drafts)
