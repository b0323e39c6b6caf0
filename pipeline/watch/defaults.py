"""The thresholds that hold until somebody sets others."""

from typing import Final

from pipeline.settings import Settings, Stages
from pipeline.watch.thresholds import EvaluationMethod, MetricType, PerformanceThreshold

__all__ = ["OLDEST_OPEN_FLOW", "default_thresholds"]

OLDEST_OPEN_FLOW: Final = "oldest_open_flow"
"""Subject of the latency of flows that have not ended, so far."""

_OPEN_FLOW_MS = 30_000.0
# 70, 85 and 100 ms where the target is 100 ms.
_SHARES_OF_TARGET = (0.7, 0.85, 1.0)
# A percentile of fewer is hardly one, and one failure of few packets is no rate.
_LATENCIES = 5
_PACKETS = 20


def default_thresholds(settings: Settings, target_latency_ms: float) -> list[PerformanceThreshold]:
    """Return the thresholds of the specification.

    Args:
        settings: Time budgets of the stages.
        target_latency_ms: Target of the end-to-end latency, milliseconds: p95 is an emergency from
            there on.
    """
    low_ms, middle_ms, high_ms = (share * target_latency_ms for share in _SHARES_OF_TARGET)
    p95 = EvaluationMethod.P95
    limits = PerformanceThreshold
    return [
        limits(
            MetricType.LATENCY, low_ms, middle_ms, high_ms,
            evaluation_method=p95, minimum_samples=_LATENCIES,
        ),
        limits(MetricType.THROUGHPUT, 500.0, 300.0, 100.0),
        limits(MetricType.ERROR_RATE, 0.01, 0.05, 0.10, minimum_samples=_PACKETS),
        limits(MetricType.QUEUE_DEPTH, 500.0, 800.0, 1000.0, window_size=5.0),
        limits(MetricType.SYSTEM_LOAD, 0.7, 0.8, 0.9),
        limits(MetricType.CPU_USAGE, 0.9, window_size=60.0),
        limits(MetricType.MEMORY_USAGE, 0.8, 0.9, 0.95),
        limits(
            MetricType.LATENCY, _OPEN_FLOW_MS,
            evaluation_method=EvaluationMethod.LAST, subject=OLDEST_OPEN_FLOW,
        ),
        *(
            limits(
                MetricType.LATENCY, settings.scaled_budget_ms(stage),
                evaluation_method=p95, subject=stage, minimum_samples=_LATENCIES,
            )
            for stage in Stages.model_fields
        ),
    ]  # fmt: skip
