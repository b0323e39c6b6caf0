"""A flow as a trace of OpenTelemetry, made afterwards from what stands in the topics.

It is the trace that the monitor exports continuously where `CASCADE_TRACE_RATIO` says so, see
`pipeline.watch.tracing`, with the same ids. A replay of the flow is a trace of its own whose root
links to the flow's.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import ConfigurationError, UsageError
from pipeline.packets.codec import decode
from pipeline.packets.models import Envelope, OrderEvent, SandboxRecord, Trace
from pipeline.replay.flow import Flow
from pipeline.replay.logs import LOGS
from pipeline.replay.reading import TopicReader
from pipeline.watch.tracing.live import require_tracing
from pipeline.watch.tracing.spans import (
    Attributes,
    SpanDraft,
    order_span,
    root_span,
    stage_span,
)

__all__ = ["export", "replay_trace", "sandbox_records", "trace_of"]


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


def _root(
    flow_id: str, replay_id: str, envelope: Envelope, spans: Sequence[SpanDraft]
) -> SpanDraft:
    known: Attributes = {
        "cascade.symbol": envelope.symbol,
        "cascade.deadline_us": envelope.deadline,
    }
    outcome = envelope.outcome.kind if envelope.outcome else None
    return root_span(
        flow_id, envelope.accepted_at, spans, known, outcome=outcome, replay_id=replay_id
    )


def _destination(topics: dict[str, Any], stage: str) -> Attributes:
    step = topics.get(f"cascade.{stage}")
    if step is None:
        return {}
    return {
        "messaging.destination.name": step.entry.topic,
        "messaging.destination.partition.id": str(step.entry.partition),
        "messaging.kafka.offset": step.entry.offset,
    }


def _stage(
    flow_id: str, replay_id: str, trace: Trace, envelope: Envelope, more: Attributes
) -> SpanDraft:
    outcome = envelope.outcome
    here = outcome.kind if outcome is not None and outcome.stage == trace.stage else None
    return stage_span(flow_id, trace, more, ended_here=here, replay_id=replay_id)


def _orders(flow: Flow) -> list[SpanDraft]:
    """Return a span for each child order."""
    events: dict[str, list[tuple[int, OrderEvent]]] = {}
    for step in flow.steps:
        record = step.record
        if isinstance(record, OrderEvent) and record.client_order_id:
            at_us = step.entry.timestamp_ms * 1000
            events.setdefault(record.client_order_id, []).append((at_us, record))
    return [
        order_span(flow.flow_id, order, [at_us for at_us, _ in found], str(found[-1][1].kind))
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
    require_tracing()
    from pipeline.watch.tracing.otel import finished_span, otlp_exporter, succeeded

    exporter = exporter or otlp_exporter()
    try:
        taken = succeeded(exporter.export([finished_span(each) for each in drafts]))
    finally:
        exporter.shutdown()
    if not taken:
        raise ConfigurationError(
            "Expected the collector to take the spans, did not: check OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    return len(drafts)
