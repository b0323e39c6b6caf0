"""What follows from figures: a score, whether the target is met, what to do; pure."""

from collections.abc import Iterator, Mapping

from pipeline.watch.lag import LagState
from pipeline.watch.latency import LatencyFigures
from pipeline.watch.metrics import ErrorFigures, SystemLatency, ThroughputFigures, Verdict
from pipeline.watch.trends import Trend, TrendDirection

__all__ = ["latency_verdict", "performance_score", "recommendations"]

_WORST_ERROR_RATE = 0.10
_WORST_DEPTH = 1000.0
_TARGET_ERROR_RATE = 0.01
_BUSY = 0.8
_MOST_TRIPS = 0
_RISING_BADLY = ("latency_ms", "queue_depth", "failure_rate", "memory_usage")


def latency_verdict(figures: LatencyFigures | None, target_ms: float) -> Verdict:
    """Return whether p99 is within the target; no_data where nothing was measured."""
    if figures is None:
        return "no_data"
    return "met" if figures.p99 <= target_ms else "missed"


def performance_score(
    latency: LatencyFigures | None,
    throughput: ThroughputFigures,
    errors: ErrorFigures,
    target_ms: float,
) -> float | None:
    """Return how well the cascade does, 0 to 1; None where no packet ended.

    The least of these, since no good figure makes up for a bad one; what is not measured is left
    out:

    - latency: target / p99, at most 1
    - throughput: packets a second that got through / packets a second offered, at most 1
    - errors: 1 - failure rate / 0.10, at least 0
    - queues: 1 - depth of the deepest / 1000, at least 0
    """
    if latency is None and errors.failure_rate is None:
        return None
    scores = [1.0]
    if latency is not None:
        scores.append(min(1.0, target_ms / latency.p99) if latency.p99 > 0.0 else 1.0)
    through, offered = throughput.packets_per_second, throughput.offered_per_second
    if through is not None and offered:
        scores.append(min(1.0, through / offered))
    if errors.failure_rate is not None:
        scores.append(max(0.0, 1.0 - errors.failure_rate / _WORST_ERROR_RATE))
    if (depth := throughput.queue_depth) is not None:
        scores.append(max(0.0, 1.0 - depth / _WORST_DEPTH))
    return min(scores)


def recommendations(
    latency: LatencyFigures | None,
    systems: Mapping[str, SystemLatency],
    throughput: ThroughputFigures,
    errors: ErrorFigures,
    trends: Mapping[str, Trend],
    target_ms: float,
) -> tuple[str, ...]:
    """Return what to do, most urgent first; empty where nothing is wrong, or known."""
    return (
        *_about_backlogs(throughput),
        *_about_errors(errors),
        *_about_latency(latency, systems, throughput, target_ms),
        *_about_trends(trends),
    )


def _about_backlogs(throughput: ThroughputFigures) -> Iterator[str]:
    for name, backlog in throughput.backlogs.items():
        if backlog.state is LagState.STALL:
            yield (
                f"{name} works off nothing while {backlog.records} records wait: see whether its"
                " worker runs, whether it is isolated, and its log"
            )
        elif backlog.state is LagState.WARN:
            yield f"{name} falls behind ({backlog.records} records): add workers, or offer less"
        elif backlog.state is LagState.REWIND:
            yield f"the position of {name} went back: see who reset its group"


def _about_errors(errors: ErrorFigures) -> Iterator[str]:
    if errors.failure_rate is not None and errors.failure_rate > _TARGET_ERROR_RATE:
        bad = {name: errors.outcomes.get(name, 0) for name in ("expired", "shed", "dead_lettered")}
        listed = ", ".join(f"{count} {name}" for name, count in bad.items() if count)
        yield f"{errors.failure_rate:.1%} of the packets fail ({listed or 'as reported'})"
        if bad["dead_lettered"]:
            yield "see the reasons with `cascade dlq list`"
        if bad["expired"] or bad["shed"]:
            yield "packets are too late: see which system they wait for, below or in the report"
    for name, trips in errors.breaker_trips.items():
        if trips > _MOST_TRIPS:
            yield f"the breaker of {name} opened {trips} times: its policy fails, see its log"


def _about_latency(
    latency: LatencyFigures | None,
    systems: Mapping[str, SystemLatency],
    throughput: ThroughputFigures,
    target_ms: float,
) -> Iterator[str]:
    if latency is None or latency.p99 <= target_ms:
        return
    shares = {
        (name, kind): figures.p99
        for name, parts in systems.items()
        for kind, figures in (
            ("queue", parts.queue_wait_ms),
            ("processing", parts.processing_ms),
            ("broker", parts.broker_ms),
        )
        if figures is not None
    }
    if not shares:
        return
    (name, kind), longest_ms = max(shares.items(), key=lambda each: each[1])
    where = f"p99 of {latency.p99:.0f} ms is over {target_ms:g} ms; most goes to {name}"
    if kind == "queue":
        yield f"{where}, waiting in its worker ({longest_ms:.0f} ms): add workers of {name}"
    elif kind == "processing":
        yield f"{where}, deciding ({longest_ms:.0f} ms): its policy is too slow for its rounds"
    else:
        yield f"{where}, between Kafka and its worker ({longest_ms:.0f} ms): see broker and network"
    for system, share in throughput.utilisation.items():
        if share is not None and share > _BUSY:
            yield f"{system} decides {share:.0%} of the time: it is close to its limit"


def _about_trends(trends: Mapping[str, Trend]) -> Iterator[str]:
    for name in _RISING_BADLY:
        trend = trends.get(name)
        if trend is not None and trend.direction is TrendDirection.RISING:
            yield (
                f"{name} rises: by {trend.slope_per_s * 60:.3g} a minute over the last"
                f" {trend.span_s:.0f} s"
            )
