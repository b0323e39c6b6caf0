"""What the monitor says: figures of one moment, and reports. None always means: not measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pipeline.packets.events import Alert
from pipeline.watch.coordination import CoordinationFigures
from pipeline.watch.host import HostFigures
from pipeline.watch.lag import SystemLag
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.thresholds import ThresholdStatus
from pipeline.watch.trends import Trend

__all__ = [
    "CascadePerformanceReport",
    "ErrorFigures",
    "LatencyMetrics",
    "RealTimeMetrics",
    "SystemLatency",
    "ThroughputFigures",
    "Verdict",
    "to_dict",
]

Verdict = Literal["met", "missed", "no_data"]
"""How a target stands; what was not measured is never met."""


@dataclass(frozen=True, slots=True)
class SystemLatency:
    """Where time goes at one system, milliseconds.

    Attributes:
        broker_ms: From the system before it, through Kafka, to its worker.
        queue_wait_ms: Waiting in its worker.
        processing_ms: Deciding. Packets of one round are decided together: each takes as long as
            its round.
        total_ms: Waiting and deciding; what its time budget is held against.
    """

    broker_ms: LatencyFigures | None
    queue_wait_ms: LatencyFigures | None
    processing_ms: LatencyFigures | None
    total_ms: LatencyFigures | None


@dataclass(frozen=True, slots=True)
class LatencyMetrics:
    """Latency, milliseconds.

    Attributes:
        end_to_end_ms: From acceptance to the last decision, of every packet that ended in the
            window.
        decided_ms: The same of packets that all systems decided on.
        recorded_ms: From acceptance until the broker had the record of the packet's end.
        network_ms: The part of the end-to-end latency spent between the systems.
        since_start_ms: End to end, over all packets since the monitor began, by histogram.
        systems: By system.
    """

    end_to_end_ms: LatencyFigures | None
    decided_ms: LatencyFigures | None
    recorded_ms: LatencyFigures | None
    network_ms: LatencyFigures | None
    since_start_ms: LatencyFigures | None
    systems: Mapping[str, SystemLatency]


@dataclass(frozen=True, slots=True)
class ThroughputFigures:
    """How much goes through.

    Attributes:
        packets_per_second: Packets a second that ended without a failure, over the window's full
            seconds.
        offered_per_second: Packets a second that were offered.
        utilisation: Share of the time in which each system decided, 0 to 1.
        queue_depths: Packets that wait for each system: the mean of those that got through, or
            what its group's offsets say, whichever is more.
        backlogs: How far each system is behind on its inputs in Kafka.
        packets_open: Packets under way that were reported by hand.
        oldest_open_s: Age of the oldest packet that has not ended, as far as it was watched,
            seconds.
    """

    packets_per_second: float | None
    offered_per_second: float | None
    utilisation: Mapping[str, float | None]
    queue_depths: Mapping[str, float | None]
    backlogs: Mapping[str, SystemLag]
    packets_open: int
    oldest_open_s: float | None

    @property
    def queue_depth(self) -> float | None:
        """The deepest of the queues."""
        known = [depth for depth in self.queue_depths.values() if depth is not None]
        return max(known) if known else None


@dataclass(frozen=True, slots=True)
class ErrorFigures:
    """What went wrong within the window; rates are ratios from 0 to 1.

    Attributes:
        failure_rate: Share of packets that ended expired, shed or dead-lettered, or were reported
            as failed. That nothing was traded is no failure.
        system_error_rates: Share of the packets that a system decided on which failed there.
        outcomes: Packets by outcome.
        retries: Retries by all systems, of packets that ended in the window.
        retries_per_packet: The same for each packet.
        breaker_trips: Times that a system's breaker opened, since the monitor began, as told by
            the outcomes.
        undecodable: Records that could not be read, since the monitor began.
    """

    failure_rate: float | None
    system_error_rates: Mapping[str, float]
    outcomes: Mapping[str, int]
    retries: int
    retries_per_packet: float | None
    breaker_trips: Mapping[str, int]
    undecodable: int


@dataclass(frozen=True, slots=True)
class RealTimeMetrics:
    """The figures of one moment.

    Attributes:
        timestamp: Moment, microseconds since the Unix epoch, UTC.
        window_s: Length of the window that figures are over, seconds.
        connected: Whether records of the cascade are being read.
        packets: Packets that ended since the monitor began.
        success_rate: Share of them that did not fail, 0 to 1.
        latency_target_ms: Target of the end-to-end latency, milliseconds.
        latency_verdict: Whether the window's p99 of every packet is within the target.
        latency: Latency.
        throughput: Throughput.
        errors: Errors.
        coordination: Coordination.
        host: This machine, and the systems' announced loads.
        thresholds: How each threshold stands.
        alerts: Alerts that are raised.
    """

    timestamp: int
    window_s: float
    connected: bool
    packets: int
    success_rate: float | None
    latency_target_ms: float
    latency_verdict: Verdict
    latency: LatencyMetrics
    throughput: ThroughputFigures
    errors: ErrorFigures
    coordination: CoordinationFigures
    host: HostFigures
    thresholds: tuple[ThresholdStatus, ...]
    alerts: tuple[Alert, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return to_dict(self)


@dataclass(frozen=True, slots=True)
class CascadePerformanceReport:
    """The performance over a report's window, with what follows from it.

    Attributes:
        report_id: Its id.
        timestamp: Moment, microseconds since the Unix epoch, UTC.
        window_s: Length of the window, seconds.
        end_to_end_latency_ms: Of every packet that ended.
        system_latencies: By system.
        throughput_metrics: Throughput.
        error_rates: Errors.
        queue_depths: Packets that wait, by system.
        system_loads: Load by system, 0 to 1: as it announced, else the share of time it decided.
        performance_score: 0 to 1, see `pipeline.watch.reporting.performance_score`; None where
            nothing was measured.
        latency_verdict: Whether p99 is within the target.
        alerts: Alerts that are raised.
        recommendations: What to do, for people; empty where nothing is wrong, or known.
        trend_analysis: Trend of each metric over the history.
    """

    report_id: str
    timestamp: int
    window_s: float
    end_to_end_latency_ms: LatencyFigures | None
    system_latencies: Mapping[str, SystemLatency]
    throughput_metrics: ThroughputFigures
    error_rates: ErrorFigures
    queue_depths: Mapping[str, float | None]
    system_loads: Mapping[str, float]
    performance_score: float | None
    latency_verdict: Verdict
    alerts: tuple[Alert, ...]
    recommendations: tuple[str, ...]
    trend_analysis: Mapping[str, Trend]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return to_dict(self)


def to_dict(figures: RealTimeMetrics | CascadePerformanceReport) -> dict[str, Any]:
    """Return figures as JSON takes them; what is not a finite number becomes None."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(figures))
    return found
