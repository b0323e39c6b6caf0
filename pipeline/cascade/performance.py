"""`CascadePerformanceMonitor`: how fast the cascade is, where time goes, and who is told.

    with CascadePerformanceMonitor(target_end_to_end_latency_ms=100.0) as monitor:
        monitor.add_alert_callback(print)
        metrics = monitor.get_real_time_metrics()
        print(metrics.latency.end_to_end_ms, metrics.latency_verdict)

It reads the traces that packets carry, in a consumer group of its own, so nothing it does is in
their way. Packets that do not go through this cascade can be reported with the `track_*` calls.
What is not measured is None, its verdict `no_data`: that is never a pass. Ratios are 0 to 1, and
times milliseconds where the name says so.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.clock import Clock, WallClock
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.watch.core import PerformanceCore
from pipeline.watch.host import HostFigures, read_host
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.metrics import (
    CascadePerformanceReport,
    ErrorFigures,
    LatencyMetrics,
    RealTimeMetrics,
    SystemLatency,
    ThroughputFigures,
)
from pipeline.watch.monitoring import Monitor
from pipeline.watch.offsets import Backlog
from pipeline.watch.source import FlowSource, KafkaFlows, Start
from pipeline.watch.thresholds import (
    CASCADE,
    EvaluationMethod,
    MetricType,
    PerformanceThreshold,
    ThresholdState,
    ThresholdStatus,
)
from pipeline.watch.traces import PacketTrace, SystemTimes
from pipeline.watch.trends import Trend, TrendDirection

__all__ = [
    "CascadePerformanceMonitor",
    "CascadePerformanceReport",
    "ErrorFigures",
    "EvaluationMethod",
    "LatencyFigures",
    "LatencyMetrics",
    "MetricType",
    "PacketTrace",
    "PerformanceAlert",
    "PerformanceThreshold",
    "RealTimeMetrics",
    "SystemLatency",
    "SystemTimes",
    "ThresholdState",
    "ThresholdStatus",
    "ThroughputFigures",
    "Trend",
    "TrendDirection",
    "attached",
]

_WINDOW_S = 10.0
_LONGEST_WINDOW_S = 3600.0
_READY_S = 15.0


class CascadePerformanceMonitor:
    """Watches a cascade's performance; thread-safe. Observing begins at once, in the background.

    Without a broker it waits for one; what is reported by hand is measured all the same.

    Args:
        event_bus: Connection to Kafka; None: one of its own, closed with the monitor.
        target_end_to_end_latency_ms: Target of p99 from acceptance to the last decision,
            milliseconds; the latency's alert thresholds are shares of it. None: the setting
            `performance.target_latency_ms`.
        sampling_interval: Seconds between samples, which thresholds and trends are judged by. None:
            the setting `performance.sampling_interval`.
        report_interval: Seconds between reports, see `add_report_callback`. None: the setting
            `performance.report_interval`.
        history_size: Most samples, packet traces and ended alerts that are kept. None: the setting
            `performance.history_size`.
        start: Which packets count: those that end from now on (`latest`), all that the log has
            (`earliest`), or those since a moment.
        group: Consumer group, without namespace; None: one of this monitor alone. With a name, a
            later monitor of the group goes on where this one stopped.
        source: Where ends of packets come from; None: the cascade's log.
        look: Returns what waits before each system; None: the broker's offsets.
        host: Returns how busy this machine is.
        clock: Clock.

    Raises:
        UsageError: An interval, target or size that is not above 0.
    """

    def __init__(
        self,
        event_bus: EventBus | None = None,
        target_end_to_end_latency_ms: float | None = None,
        sampling_interval: float | None = None,
        report_interval: float | None = None,
        history_size: int | None = None,
        *,
        start: Start = "latest",
        group: str | None = None,
        source: FlowSource | None = None,
        look: Callable[[], Backlog] | None = None,
        host: Callable[[], HostFigures] = read_host,
        clock: Clock | None = None,
    ) -> None:
        self._own_bus = event_bus is None
        self.event_bus = event_bus or EventBus()
        settings = self.event_bus.settings
        defaults = settings.performance
        self.target_end_to_end_latency_ms = _positive(
            "target_end_to_end_latency_ms", target_end_to_end_latency_ms, defaults.target_latency_ms
        )
        self.sampling_interval = _positive(
            "sampling_interval", sampling_interval, defaults.sampling_interval
        )
        self.report_interval = _positive(
            "report_interval", report_interval, defaults.report_interval
        )
        self.history_size = int(_positive("history_size", history_size, defaults.history_size))
        self._clock = clock or WallClock()
        self._core = PerformanceCore(
            settings, self.target_end_to_end_latency_ms, self.history_size, self._clock.now_us()
        )
        self._source = source or KafkaFlows(self.event_bus.connect, group=group, start=start)
        self._monitor = Monitor(
            self._core,
            self.event_bus,
            self._source,
            look=look,
            read_host=host,
            clock=self._clock,
            sampling_interval_s=self.sampling_interval,
            report_interval_s=self.report_interval,
        )
        self._lock = self._monitor.lock
        self._monitor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether the cascade's records are being read now."""
        return self._source.connected

    def ready(self, timeout_s: float = _READY_S) -> Self:
        """Wait until no packet that ends from then on is missed, and those it began with counted.

        Raises:
            BrokerUnavailable: If that is not within `timeout_s`; it goes on trying.
        """
        self._source.ready(timeout_s)
        return self

    def close(self) -> None:
        """End observing; figures stay as they are."""
        self._monitor.close()
        if self._own_bus:
            self.event_bus.close()

    shutdown = close

    def sample(self) -> None:
        """Take a sample now, beside those that are taken by themselves."""
        self._monitor.sample()

    # -- packets that are reported by hand -------------------------------------------------------

    def track_packet_start(self, packet: Any) -> str:
        """Report that a packet sets out now.

        Args:
            packet: A packet with an envelope, anything with a `packet_id`, or the id itself.

        Returns:
            Its id.

        Raises:
            UsageError: If it has no id.
        """
        packet_id = _id_of(packet)
        with self._lock:
            self._core.start(packet_id, self._clock.now_us())
        return packet_id

    def track_system_entry(self, packet_id: str, system_id: str) -> None:
        """Report that a system begins with a packet now.

        Raises:
            UsageError: If the packet is not under way, or another system still has it.
        """
        with self._lock:
            self._core.tracker.enter(packet_id, system_id, self._clock.now_us())

    def track_system_exit(
        self, packet_id: str, system_id: str, *, success: bool = True, error: str = ""
    ) -> None:
        """Report that a system is done with a packet now.

        Args:
            packet_id: The packet.
            system_id: The system that it is in.
            success: Whether the system did its work.
            error: What failed.

        Raises:
            UsageError: If the packet is not in that system.
        """
        now_us = self._clock.now_us()
        with self._lock:
            self._core.tracker.leave(packet_id, system_id, now_us, success=success, error=error)

    def track_packet_completion(self, packet_id: str, *, success: bool = True) -> PacketTrace:
        """Report that a packet has ended now, and return its trace.

        A packet of the cascade that was counted already, from its own trace, does not count twice.

        Raises:
            UsageError: If the packet is not under way.
        """
        now_us = self._clock.now_us()
        with self._lock:
            trace = self._core.tracker.complete(packet_id, now_us, success=success)
            self._core.take_trace(trace, now_us)
        return trace

    # -- figures ---------------------------------------------------------------------------------

    def get_real_time_metrics(self, window_s: float = _WINDOW_S) -> RealTimeMetrics:
        """Return the figures of the last seconds.

        Args:
            window_s: How many, up to 3600. Figures of times are over at most the last 32,768
                packets.

        Raises:
            UsageError: If the window is not above 0, or too long.
        """
        _check_window(window_s)
        with self._lock:
            return self._core.metrics(
                self._clock.now_us(),
                window_s,
                connected=self.connected,
                undecodable=self._source.undecodable,
            )

    def get_system_performance(
        self, system_id: str, window_s: float = _WINDOW_S
    ) -> SystemLatency | None:
        """Return where time goes at one system; None where no packet came through it yet."""
        return self.get_real_time_metrics(window_s).latency.systems.get(system_id)

    def get_packet_trace(self, packet_id: str) -> PacketTrace | None:
        """Return a packet's way through the systems, ended or under way; None where not known.

        Args:
            packet_id: Id of any packet of the flow, or the flow's.
        """
        with self._lock:
            return self._core.trace(packet_id)

    def get_history(self, metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return (moments, values) of a sampled metric, oldest first, at most `history_size`.

        Args:
            metric: latency_ms, failure_rate, packets_per_second, queue_depth, system_load,
                cpu_usage or memory_usage; the moments are microseconds since the Unix epoch.
        """
        with self._lock:
            return self._core.samples.points(metric, 0)

    def analyze_trends(self, window_s: float = math.inf) -> Mapping[str, Trend]:
        """Return the trend of each sampled metric over the history, or its last seconds."""
        with self._lock:
            return self._core.trends(window_s)

    def generate_performance_report(
        self, window_s: float | None = None
    ) -> CascadePerformanceReport:
        """Return a report over the last seconds; those of a report interval where None.

        Raises:
            UsageError: If the window is not above 0, or too long.
        """
        if window_s is not None:
            _check_window(window_s)
        return self._monitor.report(window_s)

    def get_reports(self) -> list[CascadePerformanceReport]:
        """Return the last reports that were made by themselves, oldest first, at most 100."""
        return list(self._monitor.reports)

    def add_report_callback(self, callback: Callable[[CascadePerformanceReport], None]) -> None:
        """Have `callback` called with a report each `report_interval`; what it raises is logged."""
        self._monitor.add_report_callback(callback)

    # -- thresholds and alerts -------------------------------------------------------------------

    def set_threshold(self, threshold: PerformanceThreshold) -> None:
        """Put a threshold in force from now on, in place of the one of its metric and subject."""
        with self._lock:
            self._monitor.tell(self._core.guard.set(threshold, self._clock.now_us()))

    def remove_threshold(self, metric_type: MetricType, subject: str = CASCADE) -> None:
        """Watch a metric of a subject no more.

        Raises:
            UsageError: If there is no threshold.
        """
        with self._lock:
            self._monitor.tell(self._core.guard.remove(metric_type, subject, self._clock.now_us()))

    def get_thresholds(self) -> tuple[ThresholdStatus, ...]:
        """Return how each threshold stands, as of the last sample."""
        with self._lock:
            return self._core.guard.statuses()

    def add_alert_callback(self, callback: Callable[[Alert], None]) -> None:
        """Have `callback` called with each alert from now on, on a thread of its own.

        Alerts also go to `cascade.alerts`. Each is told of when it is raised, when its level
        changes, when it is acknowledged, and when it ends, see the `state` in its context.
        """
        self._monitor.outbox.add_callback(callback)

    def get_active_alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that are raised, oldest first."""
        with self._lock:
            return self._core.guard.alerts.active()

    def get_alert_history(self) -> tuple[Alert, ...]:
        """Return the last alerts that ended, oldest first, at most `history_size`."""
        with self._lock:
            return self._core.guard.alerts.ended()

    def acknowledge_alert(self, alert_id: str, author: str) -> Alert:
        """Note that somebody takes care of an alert; return it as it is now.

        Raises:
            UsageError: If no such alert is raised.
        """
        with self._lock:
            alert = self._core.guard.alerts.acknowledge(alert_id, self._clock.now_us(), author)
            self._monitor.tell([alert])
        return alert


def attached(event_bus: EventBus, look_back_s: float = 60.0) -> CascadePerformanceMonitor:
    """Return a monitor that has read what ended lately, for one look at a cascade that runs.

    Args:
        event_bus: Connection to Kafka.
        look_back_s: Since how many seconds ago.

    Raises:
        BrokerUnavailable: If no cascade runs.
    """
    event_bus.connect()
    start = datetime.now(UTC) - timedelta(seconds=look_back_s)
    monitor = CascadePerformanceMonitor(event_bus, start=start)
    try:
        monitor.ready()
        monitor.sample()
    except BaseException:
        monitor.close()
        raise
    return monitor


def _positive(name: str, given: float | None, default: float) -> float:
    value = default if given is None else given
    if not (value > 0.0 and math.isfinite(value)):
        raise UsageError(f"Expected {name} above 0, was {value}")
    return value


def _check_window(window_s: float) -> None:
    if not 0.0 < window_s <= _LONGEST_WINDOW_S:
        raise UsageError(
            f"Expected a window of up to {_LONGEST_WINDOW_S:g} s, was {window_s}; the history has"
            " samples from before"
        )


def _id_of(packet: Any) -> str:
    if isinstance(packet, str):
        found: Any = packet
    else:
        found = getattr(getattr(packet, "envelope", packet), "packet_id", None)
    if not isinstance(found, str) or not found:
        raise UsageError(
            f"Expected a packet with a packet_id, or an id, was {type(packet).__name__}"
        )
    return found
