"""The metrics of the monitor: name, meaning, labels, and where each comes from; pure.

One list for `/metrics`, for the snapshots on `cascade.metrics`, and so for alerts and dashboards.
Base units throughout: seconds, bytes, ratios from 0 to 1. A metric that was not measured has no
sample. Names end in what they count or in their unit; `kafka_*` are called as kafka-lag-exporter
calls them, so that dashboards made for it fit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.watch.latency import LatencyFigures
from pipeline.watch.metrics import RealTimeMetrics, SystemLatency
from pipeline.watch.view import MonitorView

__all__ = ["CATALOGUE", "Metric", "Sample", "figures", "samples", "spelled"]

Labels = tuple[str, ...]
Sample = tuple[Labels, float | None]
Read = Callable[[MonitorView], Iterable[Sample]]

_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: Its name, as Prometheus has it.
        help: What it says.
        read: Returns its samples, (values of the labels, number or None where not measured).
        labels: Names of its labels, in alphabetical order.
        counter: Whether it only grows, until the monitor begins anew.
    """

    name: str
    help: str
    read: Read
    labels: Labels = ()
    counter: bool = False


def samples(view: MonitorView) -> Iterator[tuple[Metric, Labels, float]]:
    """Yield what was measured: metric, values of its labels, number."""
    for metric in CATALOGUE:
        for labels, number in metric.read(view):
            if number is not None:
                yield metric, labels, float(number)


def spelled(name: str, labels: Mapping[str, str]) -> str:
    """Return a series as Prometheus spells it, labels in alphabetical order."""
    if not labels:
        return name
    return f"{name}{{{','.join(f'{key}={_quoted(labels[key])}' for key in sorted(labels))}}}"


def figures(view: MonitorView) -> dict[str, float]:
    """Return what was measured, by the spelling of each series."""
    return {
        spelled(metric.name, dict(zip(metric.labels, labels, strict=True))): number
        for metric, labels, number in samples(view)
    }


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


# -- reading ---------------------------------------------------------------------------------------


def _one(read: Callable[[RealTimeMetrics], float | None]) -> Read:
    return lambda view: [((), read(view.metrics))]


def _quantiles(figures: LatencyFigures | None, *labels: str) -> Iterator[Sample]:
    """Yield a latency's percentiles, seconds; the quantile is the last label but for `stage`."""
    if figures is None:
        return
    for quantile, number_ms in (
        ("0.5", figures.p50),
        ("0.95", figures.p95),
        ("0.99", figures.p99),
        ("0.999", figures.p999),
    ):
        yield (*labels, quantile), number_ms / _MS


def _latency(read: Callable[[RealTimeMetrics], LatencyFigures | None]) -> Read:
    return lambda view: _quantiles(read(view.metrics))


def _paths(view: MonitorView) -> Iterator[Sample]:
    latency = view.metrics.latency
    yield from _quantiles(latency.end_to_end_ms, "any")
    yield from _quantiles(latency.decided_ms, "decided")


def _of_stage(
    read: Callable[[SystemLatency], LatencyFigures | None],
) -> Callable[[MonitorView], Iterator[Sample]]:
    def found(view: MonitorView) -> Iterator[Sample]:
        for stage, each in view.metrics.latency.systems.items():
            for (quantile,), number in _quantiles(read(each)):
                yield (quantile, stage), number

    return found


def _by(read: Callable[[RealTimeMetrics], Mapping[str, float | int | None]]) -> Read:
    return lambda view: [((name,), number) for name, number in read(view.metrics).items()]


_QUANTILE: Final = ("quantile",)
_STAGE: Final = ("stage",)
_STAGE_QUANTILE: Final = ("quantile", "stage")


CATALOGUE: Final[tuple[Metric, ...]] = (
    # -- latency
    Metric(
        "cascade_end_to_end_latency_quantile_seconds",
        "From acceptance to the last decision, over the window: of any packet, or of those that"
        " all stages decided on.",
        _paths,
        ("path", "quantile"),
    ),
    Metric(
        "cascade_stage_processing_quantile_seconds",
        "Deciding, by stage; packets of a round take as long as the round.",
        _of_stage(lambda each: each.processing_ms),
        _STAGE_QUANTILE,
    ),
    Metric(
        "cascade_stage_queue_wait_quantile_seconds",
        "Waiting in the stage's worker.",
        _of_stage(lambda each: each.queue_wait_ms),
        _STAGE_QUANTILE,
    ),
    Metric(
        "cascade_stage_broker_quantile_seconds",
        "From the stage before, through Kafka, to the worker.",
        _of_stage(lambda each: each.broker_ms),
        _STAGE_QUANTILE,
    ),
    Metric(
        "cascade_stage_latency_quantile_seconds",
        "Waiting and deciding, by stage; what its time budget is held against.",
        _of_stage(lambda each: each.total_ms),
        _STAGE_QUANTILE,
    ),
    Metric(
        "cascade_network_latency_quantile_seconds",
        "The part of the end-to-end latency spent between the stages.",
        _latency(lambda each: each.latency.network_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_latency_target_seconds",
        "Target of the end-to-end latency's p99.",
        _one(lambda each: each.latency_target_ms / _MS),
    ),
    # -- throughput
    Metric(
        "cascade_throughput_packets_per_second",
        "Packets a second that ended without a failure.",
        _one(lambda each: each.throughput.packets_per_second),
    ),
    Metric(
        "cascade_offered_packets_per_second",
        "Packets a second that were offered.",
        _one(lambda each: each.throughput.offered_per_second),
    ),
    Metric(
        "cascade_stage_utilisation_ratio",
        "Share of the time in which a stage decided.",
        _by(lambda each: each.throughput.utilisation),
        _STAGE,
    ),
    Metric(
        "cascade_queue_depth_packets",
        "Packets that wait for a stage: mean of those that got through, or its lag if more.",
        _by(lambda each: each.throughput.queue_depths),
        _STAGE,
    ),
    Metric(
        "cascade_backlog_records",
        "Records in Kafka that a stage has not taken.",
        _by(lambda each: {name: lag.records for name, lag in each.throughput.backlogs.items()}),
        _STAGE,
    ),
    Metric(
        "cascade_backlog_age_seconds",
        "Age of the oldest record that a stage has not taken.",
        _by(lambda each: {name: lag.seconds for name, lag in each.throughput.backlogs.items()}),
        _STAGE,
    ),
    Metric(
        "cascade_oldest_open_flow_seconds",
        "Age of the oldest packet that has not ended.",
        _one(lambda each: each.throughput.oldest_open_s),
    ),
    # -- errors
    Metric(
        "cascade_failure_ratio",
        "Share of packets that ended expired, shed or dead-lettered.",
        _one(lambda each: each.errors.failure_rate),
    ),
    Metric(
        "cascade_stage_failure_ratio",
        "Share of the packets that a stage decided on which failed there.",
        _by(lambda each: each.errors.system_error_rates),
        _STAGE,
    ),
    Metric(
        "cascade_retries_per_packet_ratio",
        "Retries for each packet that ended.",
        _one(lambda each: each.errors.retries_per_packet),
    ),
    Metric(
        "cascade_breaker_trips_total",
        "Times that a stage's breaker opened.",
        _by(lambda each: each.errors.breaker_trips),
        _STAGE,
        counter=True,
    ),
    Metric(
        "cascade_undecodable_records_total",
        "Records of the execution log that could not be read.",
        _one(lambda each: each.errors.undecodable),
        counter=True,
    ),
    # -- coordination
    Metric(
        "cascade_coordination_success_ratio",
        "Share of coordination requests that every affected system answered in time.",
        _one(lambda each: each.coordination.success_rate),
    ),
    Metric(
        "cascade_coordination_requests",
        "Coordination requests that ended within the window.",
        _one(lambda each: each.coordination.requests),
    ),
    Metric(
        "cascade_conflict_resolution_quantile_seconds",
        "From a request to the resolution of its conflict.",
        _latency(lambda each: each.coordination.conflict_resolution_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_coordination_response_quantile_seconds",
        "From a request to each of its answers.",
        _latency(lambda each: each.coordination.response_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_synchronisations_per_minute",
        "Completed synchronisations a minute.",
        _one(lambda each: each.coordination.synchronisations_per_minute),
    ),
    Metric(
        "cascade_coordination_message_latency_quantile_seconds",
        "From a message's composition to its place in Kafka.",
        _latency(lambda each: each.coordination.message_latency_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_coordination_messages_per_second",
        "Coordination messages a second.",
        _one(lambda each: each.coordination.messages_per_second),
    ),
    # -- machine
    Metric(
        "cascade_host_cpu_ratio",
        "Share of all processors' time spent working, on the monitor's machine.",
        _one(lambda each: each.host.cpu_usage),
    ),
    Metric(
        "cascade_host_memory_ratio",
        "Share of the memory in use, on the monitor's machine.",
        _one(lambda each: each.host.memory_usage),
    ),
    Metric(
        "cascade_system_load_ratio",
        "Load of a system: as it announced, else the share of the time in which it decided.",
        _by(lambda each: each.host.system_loads),
        ("system",),
    ),
)
"""All metrics of the monitor."""
