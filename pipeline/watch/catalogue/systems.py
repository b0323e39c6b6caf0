"""Metrics of the systems beside the path: coordination, workers, control; pure."""

from collections.abc import Callable, Iterator
from typing import Final

from pipeline.packets.events import TradingState
from pipeline.watch.catalogue.metric import Metric, Read, Sample, by, latency, one
from pipeline.watch.coordination import WorkersOf
from pipeline.watch.view import MonitorView

__all__ = ["SYSTEMS"]

_QUANTILE: Final = ("quantile",)


def _workers(read: Callable[[WorkersOf], float | None]) -> Read:
    return lambda view: [((name,), read(each)) for name, each in view.workers.items()]


def _trading(view: MonitorView) -> Iterator[Sample]:
    if view.control is not None:
        for state in TradingState:
            yield (state.value,), float(view.control.trading_state is state)


def _fences(view: MonitorView) -> Iterator[Sample]:
    if view.control is not None:
        fences = view.control.fences
        yield ("stage",), len(fences.stages)
        yield ("symbol",), len(fences.symbols)
        yield ("source",), len(fences.sources)
        yield ("policy",), len(fences.policies)
        yield ("breaker",), len(fences.breakers)


SYSTEMS: Final[tuple[Metric, ...]] = (
    # -- coordination
    Metric(
        "cascade_coordination_success_ratio",
        "Share of coordination requests that every affected system answered in time.",
        one(lambda each: each.coordination.success_rate),
    ),
    Metric(
        "cascade_coordination_requests",
        "Coordination requests that ended within the window.",
        one(lambda each: each.coordination.requests),
    ),
    Metric(
        "cascade_conflict_resolution_quantile_seconds",
        "From a request to the resolution of its conflict.",
        latency(lambda each: each.coordination.conflict_resolution_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_coordination_response_quantile_seconds",
        "From a request to each of its answers.",
        latency(lambda each: each.coordination.response_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_synchronisations_per_minute",
        "Completed synchronisations a minute.",
        one(lambda each: each.coordination.synchronisations_per_minute),
    ),
    Metric(
        "cascade_coordination_message_latency_quantile_seconds",
        "From a message's composition to its place in Kafka.",
        latency(lambda each: each.coordination.message_latency_ms),
        _QUANTILE,
    ),
    Metric(
        "cascade_coordination_messages_per_second",
        "Coordination messages a second.",
        one(lambda each: each.coordination.messages_per_second),
    ),
    # -- workers and machine
    Metric(
        "cascade_live_workers",
        "Live workers of a system, as heartbeats tell.",
        _workers(lambda each: each.count),
        ("system",),
    ),
    Metric(
        "cascade_worker_cpu_ratio",
        "Highest load of a system's workers, share of one core.",
        _workers(lambda each: each.cpu),
        ("system",),
    ),
    Metric(
        "cascade_worker_memory_bytes",
        "Resident memory of a system's workers.",
        _workers(lambda each: each.memory_bytes),
        ("system",),
    ),
    Metric(
        "cascade_worker_event_loop_lag_seconds",
        "By how much an event loop of a system's workers woke up late, the worst of ten seconds.",
        _workers(lambda each: each.loop_lag_s),
        ("system",),
    ),
    Metric(
        "cascade_worker_retries",
        "Retries of policies by a system's live workers, since they began.",
        _workers(lambda each: each.retries),
        ("system",),
    ),
    Metric(
        "cascade_worker_breaker_trips",
        "Times that the breakers of a system's live workers opened, since they began.",
        _workers(lambda each: each.breaker_trips),
        ("system",),
    ),
    Metric(
        "cascade_worker_open_breakers",
        "Workers of a system whose breaker is not closed.",
        _workers(lambda each: each.breaker_open),
        ("system",),
    ),
    Metric(
        "cascade_host_cpu_ratio",
        "Share of all processors' time spent working, on the monitor's machine.",
        one(lambda each: each.host.cpu_usage),
    ),
    Metric(
        "cascade_host_memory_ratio",
        "Share of the memory in use, on the monitor's machine.",
        one(lambda each: each.host.memory_usage),
    ),
    Metric(
        "cascade_system_load_ratio",
        "Load of a system: as it announced, else the share of the time in which it decided.",
        by(lambda each: each.host.system_loads),
        ("system",),
    ),
    # -- control
    Metric(
        "cascade_trading_state",
        "Whether orders may go out, by the control log: 1 for the state that is in force.",
        _trading,
        ("state",),
    ),
    Metric(
        "cascade_fences",
        "What is isolated, or held by a breaker that was forced open, by kind.",
        _fences,
        ("kind",),
    ),
)
"""Metrics of the systems."""
