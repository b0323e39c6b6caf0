"""Every flow as a trace, exported while the cascade runs, by the monitor.

The monitor reads the end of each flow anyway, and its last packet carries the times of all stages;
the orders' events are read beside it, from a minute before the start on. A monitor that stands by
has no ends, and so exports nothing; one that goes on for another may export the last seconds once
more, under the same ids.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from prometheus_client.core import Metric

from pipeline.clock import Clock
from pipeline.errors import ConfigurationError
from pipeline.metrics.families import counter
from pipeline.packets.models import OrderEvent
from pipeline.settings import Settings
from pipeline.watch.group import Entry, GroupReader
from pipeline.watch.observations import FillSeen, FlowEnd
from pipeline.watch.tracing.assembly import PATIENCE_S, TraceAssembly
from pipeline.watch.tracing.spans import FILLS

__all__ = ["SPANS", "LiveTracing", "require_tracing"]

SPANS = "cascade_trace_spans_total"
"""Metric of what became of the spans."""


def require_tracing() -> None:
    """Check that traces can be exported from here.

    Raises:
        ConfigurationError: If the extra `otel` is not installed.
    """
    try:
        import pipeline.watch.tracing.otel  # noqa: F401  # whether it can be
    except ImportError as error:
        raise ConfigurationError(
            "Expected OpenTelemetry, is not installed: pip install 'marl-cascade[otel]'"
        ) from error


class LiveTracing:
    """Exports the traces of flows as they end.

    Args:
        settings: Share of the flows that is exported.
        connect: Returns settings with a broker, or raises.
        clock: Clock.

    Raises:
        ConfigurationError: If the extra `otel` is not installed.
    """

    def __init__(self, settings: Settings, connect: Callable[[], Settings], clock: Clock) -> None:
        require_tracing()
        from pipeline.watch.tracing.otel import SpanOutlet, sampler

        self._outlet = SpanOutlet()
        self._assembly = TraceAssembly(
            sampler(settings.trace_ratio), self._outlet.offer, clock.now_us
        )
        begin = datetime.fromtimestamp(clock.now_us() / 1e6 - PATIENCE_S, UTC)
        self._orders = GroupReader(connect, (FILLS,), name="tracing", start=begin)

    @classmethod
    def of(
        cls, settings: Settings, connect: Callable[[], Settings], clock: Clock
    ) -> "LiveTracing | None":
        """Return it where the settings ask for traces, else None."""
        return cls(settings, connect, clock) if settings.trace_ratio > 0.0 else None

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._orders.start(self._take_events)

    def take_ends(self, ends: Sequence[FlowEnd]) -> None:
        """Take ends of flows, in the order of their log; never waits."""
        self._assembly.take_ends(ends)

    def sweep(self) -> None:
        """Export what has waited too long for its orders; call it about once a second."""
        self._assembly.sweep()

    def collect(self) -> Iterable[Metric]:
        """Return what became of the spans."""
        fates = (
            ("exported", self._outlet.exported),
            ("failed", self._outlet.failed),
            ("dropped", self._outlet.dropped),
        )
        yield counter(
            SPANS,
            "Spans that a collector took, did not take, or that were dropped for want of room.",
            ("fate",),
            [((fate,), float(count)) for fate, count in fates],
        )

    def close(self) -> None:
        """Export what waits, as far as a collector takes it within seconds, and end."""
        self._orders.close()
        self._outlet.close()

    def _take_events(self, entries: Sequence[Entry]) -> None:
        events = [
            FillSeen.of(each.packet, each.timestamp_ms)
            for each in entries
            if isinstance(each.packet, OrderEvent)
        ]
        self._assembly.take_events(events)
