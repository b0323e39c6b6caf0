"""Spans as OpenTelemetry's library has them; imported only where the extra `otel` is installed."""

from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

__all__ = ["finished_span", "otlp_exporter"]


def otlp_exporter() -> OTLPSpanExporter:
    """Return the exporter that the environment's OTEL_EXPORTER_OTLP_* describe."""
    return OTLPSpanExporter()


def finished_span(draft: Any, service: str) -> ReadableSpan:
    """Return a draft (`pipeline.replay.traces.SpanDraft`) as a span that has ended."""
    root = not draft.parent_id
    return ReadableSpan(
        name=draft.name,
        context=_context(draft.trace_id, draft.span_id),
        parent=None if root else _context(draft.trace_id, draft.parent_id),
        resource=Resource({"service.name": service}),
        attributes=draft.attributes,
        links=[Link(_context(*each)) for each in draft.links],
        kind=SpanKind.INTERNAL if root else SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR if draft.failed else StatusCode.UNSET),
        start_time=draft.start_us * 1000,
        end_time=draft.end_us * 1000,
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )  # fmt: skip
