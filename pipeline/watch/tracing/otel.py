"""Spans as OpenTelemetry's library has them; imported only where the extra `otel` is installed."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pipeline.watch.tracing.spans import SpanDraft

__all__ = ["SpanOutlet", "finished_span", "otlp_exporter", "sampler", "succeeded"]

_logger = logging.getLogger(__name__)

QUEUE: Final = 10_240
"""Most spans that wait for a collector: two seconds of 1,000 flows a second, some 20 MB."""

_FAREWELL_S = 3.0


def otlp_exporter() -> OTLPSpanExporter:
    """Return the exporter that the environment's OTEL_EXPORTER_OTLP_* describe."""
    return OTLPSpanExporter()


def succeeded(result: SpanExportResult) -> bool:
    """Say whether spans have arrived."""
    return result is SpanExportResult.SUCCESS


def sampler(ratio: float) -> Callable[[str], bool]:
    """Return what says of a trace, by its id alone, whether it is among the share exported."""
    rule = TraceIdRatioBased(ratio)

    def sampled(trace_id: str) -> bool:
        result = rule.should_sample(None, int(trace_id, 16), "")
        return result.decision is Decision.RECORD_AND_SAMPLE

    return sampled


def finished_span(draft: SpanDraft) -> ReadableSpan:
    """Return a draft as a span that has ended."""
    root = not draft.parent_id
    return ReadableSpan(
        name=draft.name,
        context=_context(draft.trace_id, draft.span_id),
        parent=None if root else _context(draft.trace_id, draft.parent_id),
        resource=_resource(),
        attributes=draft.attributes,
        links=[Link(_context(*each)) for each in draft.links],
        kind=SpanKind.INTERNAL if root else SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR if draft.failed else StatusCode.UNSET),
        start_time=draft.start_us * 1000,
        end_time=draft.end_us * 1000,
    )


class SpanOutlet:
    """Hands traces to a collector in batches, on a thread of its own; whoever offers never waits.

    A trace for which there is no room is dropped whole, so that no collector shows half of one.

    Args:
        exporter: A span exporter; None: OTLP over HTTP, to OTEL_EXPORTER_OTLP_ENDPOINT.
        queue: Most spans that wait, those on their way among them.

    Attributes:
        exported: Spans that the collector took.
        failed: Spans that it did not take, after the exporter's own retries.
        dropped: Spans that were not tried, for want of room.
    """

    def __init__(self, exporter: SpanExporter | None = None, queue: int = QUEUE) -> None:
        self.exported = self.failed = self.dropped = 0
        self._offered = 0
        self._queue = queue
        self._exporter = exporter or otlp_exporter()
        # It writes a line for each try; here stands one for each change.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._processor = BatchSpanProcessor(
            _Counted(self._exporter, self._count),
            max_queue_size=queue,
            max_export_batch_size=min(512, queue),
        )
        self._in_reach: bool | None = None

    def offer(self, spans: Sequence[SpanDraft]) -> None:
        """Take a trace, or count its spans as dropped; called by one thread at a time."""
        waiting = self._offered - self.exported - self.failed
        if waiting + len(spans) > self._queue:
            self.dropped += len(spans)
            return
        self._offered += len(spans)
        for each in spans:
            self._processor.on_end(finished_span(each))

    def close(self) -> None:
        """Export what waits, as far as a collector takes it within three seconds."""
        farewell = threading.Thread(target=self._processor.shutdown, daemon=True)
        farewell.start()
        farewell.join(_FAREWELL_S)
        if farewell.is_alive():
            self._exporter.shutdown()  # ends its retries

    def _count(self, spans: int, *, taken: bool) -> None:
        if taken:
            self.exported += spans
        else:
            self.failed += spans
        if taken is not self._in_reach:
            self._in_reach = taken
            if taken:
                _logger.info("collector takes traces")
            else:
                _logger.warning("collector does not take traces: see OTEL_EXPORTER_OTLP_ENDPOINT")


class _Counted(SpanExporter):
    """An exporter whose successes and failures are counted."""

    def __init__(self, exporter: SpanExporter, count: Callable[..., None]) -> None:
        self._exporter = exporter
        self._count = count

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:
            _logger.exception("spans could not be exported")
            result = SpanExportResult.FAILURE
        self._count(len(spans), taken=succeeded(result))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


@lru_cache(maxsize=1)
def _resource() -> Resource:
    """Return whose spans these are; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go first."""
    return Resource({"service.name": "cascade"}).merge(OTELResourceDetector().detect())


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )  # fmt: skip
