"""Metrics of the path: latency, throughput, errors, and what it has to keep to; pure."""

from collections.abc import Callable, Iterator
from typing import Final

from pipeline.watch.catalogue.metric import Metric, Sample, by, latency, one, quantiles
from pipeline.watch.lag import LagState
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.metrics import SystemLatency
from pipeline.watch.view import MonitorView

__all__ = ["PATH"]

_MS = 1000.0
_QUANTILE: Final = ("quantile",)
_STAGE: Final = ("stage",)
_STAGE_QUANTILE: Final = ("quantile", "stage")


def _paths(view: MonitorView) -> Iterator[Sample]:
    latency = view.metrics.latency
    yield from quantiles(latency.end_to_end_ms, "any")
    yield from quantiles(latency.decided_ms, "decided")
    yield from quantiles(latency.recorded_ms, "recorded")


def _of_stage(
    read: Callable[[SystemLatency], LatencyFigures | None],
) -> Callable[[MonitorView], Iterator[Sample]]:
    def found(view: MonitorView) -> Iterator[Sample]:
        for stage, each in view.metrics.latency.systems.items():
            for (quantile,), number in quantiles(read(each)):
                yield (quantile, stage), number

    return found


def _packets(view: MonitorView) -> Iterator[Sample]:
    for (stage, outcome), count in view.whole.sealed.items():
        yield (outcome, stage), count


def _states(view: MonitorView) -> Iterator[Sample]:
    for name, lag in view.metrics.throughput.backlogs.items():
        for state in LagState:
            yield (name, state.value), float(lag.state is state)


PATH: Final[tuple[Metric, ...]] = (
    # -- latency
    Metric(
        "cascade_end_to_end_latency_quantile_seconds",
        "From acceptance to the last decision, over the window: of any packet, of those that all"
        " stages decided on, or, recorded, of any until the broker had the record of its end.",
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
        latency(lambda each: each.latency.network_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_latency_target_seconds",
        "Target of the end-to-end latency's p99.",
        one(lambda each: each.latency_target_ms / _MS),
    ),
    # -- throughput
    Metric(
        "cascade_throughput_packets_per_second",
        "Packets a second that ended without a failure.",
        one(lambda each: each.throughput.packets_per_second),
    ),
    Metric(
        "cascade_offered_packets_per_second",
        "Packets a second that were offered.",
        one(lambda each: each.throughput.offered_per_second),
    ),
    Metric(
        "cascade_stage_utilisation_ratio",
        "Share of the time in which a stage decided.",
        by(lambda each: each.throughput.utilisation),
        _STAGE,
    ),
    Metric(
        "cascade_queue_depth_packets",
        "Packets that wait for a stage: mean of those that got through, or its lag if more.",
        by(lambda each: each.throughput.queue_depths),
        _STAGE,
    ),
    Metric(
        "cascade_backlog_records",
        "Records in Kafka that a stage has not taken.",
        by(lambda each: {name: lag.records for name, lag in each.throughput.backlogs.items()}),
        _STAGE,
    ),
    Metric(
        "cascade_backlog_age_seconds",
        "Age of the oldest record that a stage has not taken.",
        by(lambda each: {name: lag.seconds for name, lag in each.throughput.backlogs.items()}),
        _STAGE,
    ),
    Metric(
        "cascade_oldest_open_flow_seconds",
        "Age of the oldest packet that has not ended.",
        one(lambda each: each.throughput.oldest_open_s),
    ),
    Metric(
        "cascade_backlog_state",
        "How a stage works its input off, by Burrow's rules: 1 for the state that it is in.",
        _states,
        ("stage", "state"),
        kept=False,
    ),
    # -- errors
    Metric(
        "cascade_packets_total",
        "Packets that ended, by the stage that sealed their fate, and outcome.",
        _packets,
        ("outcome", "stage"),
        counter=True,
    ),
    Metric(
        "cascade_retries_total",
        "Retries by all stages, of packets that ended.",
        lambda view: [((), view.whole.retries)],
        counter=True,
    ),
    Metric(
        "cascade_failure_ratio",
        "Share of packets that ended expired, shed or dead-lettered.",
        one(lambda each: each.errors.failure_rate),
    ),
    Metric(
        "cascade_stage_failure_ratio",
        "Share of the packets that a stage decided on which failed there.",
        by(lambda each: each.errors.system_error_rates),
        _STAGE,
    ),
    Metric(
        "cascade_retries_per_packet_ratio",
        "Retries for each packet that ended.",
        one(lambda each: each.errors.retries_per_packet),
    ),
    Metric(
        "cascade_breaker_trips_total",
        "Times that a stage's breaker opened.",
        by(lambda each: each.errors.breaker_trips),
        _STAGE,
        counter=True,
    ),
    Metric(
        "cascade_undecodable_records_total",
        "Records of the execution log that could not be read.",
        one(lambda each: each.errors.undecodable),
        counter=True,
    ),
    # -- objectives
    Metric(
        "cascade_watched_seconds_total",
        "Seconds in which it was known whether the path was available.",
        lambda view: [((), view.uptime.availability.whole_s)],
        counter=True,
    ),
    Metric(
        "cascade_available_seconds_total",
        "Seconds of them in which each stage had a live worker, and none stood still.",
        lambda view: [((), view.uptime.availability.good_s)],
        counter=True,
    ),
    Metric(
        "cascade_offering_seconds_total",
        "Seconds in which it was known what was offered.",
        lambda view: [((), view.uptime.throughput.whole_s)],
        counter=True,
    ),
    Metric(
        "cascade_carrying_seconds_total",
        "Seconds of them in which as much came out, up to 1,000 packets a second.",
        lambda view: [((), view.uptime.throughput.good_s)],
        counter=True,
    ),
)
"""Metrics of the path."""
