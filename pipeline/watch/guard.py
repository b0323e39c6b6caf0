"""Measurements against thresholds, and the alerts that come of it; pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pipeline.errors import UsageError
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.watch.alerts import AlertBook
from pipeline.watch.thresholds import (
    CASCADE,
    UNITS,
    MetricType,
    PerformanceThreshold,
    ThresholdStatus,
    ThresholdWatch,
)
from pipeline.watch.trends import Trend, TrendDirection

__all__ = ["TRENDS", "Measured", "ThresholdGuard"]

TRENDS: Final[Mapping[str, MetricType]] = {
    "latency_ms": MetricType.LATENCY,
    "failure_rate": MetricType.ERROR_RATE,
    "queue_depth": MetricType.QUEUE_DEPTH,
    "system_load": MetricType.SYSTEM_LOAD,
    "memory_usage": MetricType.MEMORY_USAGE,
    "cpu_usage": MetricType.CPU_USAGE,
    "packets_per_second": MetricType.THROUGHPUT,
}
"""Metrics whose trends are followed, by the name of their samples."""

_HORIZON_S = 60.0
_CONFIRMED = 2


class Measured(NamedTuple):
    """What is held against the limits of a threshold.

    Attributes:
        value: What was measured; None for no data.
        exempt: It is as good as it can be, whatever the limits say.
    """

    value: float | None
    exempt: bool = False


class ThresholdGuard:
    """The thresholds in force, and the alerts that are raised. Not thread-safe.

    Args:
        measure: Returns what is held against a threshold at a moment, microseconds since the Unix
            epoch.
        history_size: Most alerts that are remembered after their end.
    """

    def __init__(
        self, measure: Callable[[PerformanceThreshold, int], Measured], history_size: int
    ) -> None:
        self._measure = measure
        self.alerts = AlertBook(history_size)
        self._watches: dict[tuple[MetricType, str], ThresholdWatch] = {}
        self._rising: dict[str, int] = {}

    def set(self, threshold: PerformanceThreshold, now_us: int) -> list[Alert]:
        """Put a threshold in force in place of the one of the same metric and subject.

        Returns:
            The end of the alert of the one before, if it was raised.
        """
        key = (threshold.metric_type, threshold.subject)
        ended = self._resolve(threshold.named, "other limits are in force", {}, now_us)
        self._watches[key] = ThresholdWatch(threshold, now_us)
        return ended

    def remove(self, metric: MetricType, subject: str, now_us: int) -> list[Alert]:
        """Watch a metric of a subject no more.

        Raises:
            UsageError: If there is no threshold.
        """
        watch = self._watches.pop((metric, subject), None)
        if watch is None:
            raise UsageError(f"Expected a threshold on {metric.value} of {subject}, was none")
        return self._resolve(watch.status.threshold.named, "its threshold was removed", {}, now_us)

    def statuses(self) -> tuple[ThresholdStatus, ...]:
        """Return how each threshold stands, as of the last sample."""
        return tuple(watch.status for watch in self._watches.values())

    def judge(self, now_us: int) -> list[Alert]:
        """Hold what is measured now against all thresholds; return what is to be told of."""
        return [alert for watch in self._watches.values() for alert in self._judged(watch, now_us)]

    def foresee(self, trends: Mapping[str, Trend], now_us: int) -> list[Alert]:
        """Raise an INFO alert for each metric that will reach its warning limit within a minute.

        Only once two calls in a row say so: of many tests, one is significant by chance. Not of
        the throughput, which falls with what is offered.
        """
        told: list[Alert] = []
        for name, metric in TRENDS.items():
            if metric is MetricType.THROUGHPUT:
                continue
            watch = self._watches.get((metric, CASCADE))
            limit = watch.status.threshold.warning_threshold if watch else None
            ahead_s = _reaches(trends.get(name), limit)
            subject = f"trend of {metric.value}"
            if watch is None or limit is None or ahead_s is None or watch.status.level is not None:
                self._rising.pop(name, None)
                told += self._resolve(subject, f"{name} leads to no limit soon", {}, now_us)
                continue
            self._rising[name] = self._rising.get(name, 0) + 1
            if self._rising[name] >= _CONFIRMED and self.alerts.of(subject) is None:
                slope = trends[name].slope_per_s
                message = (
                    f"{name} will reach {limit:g} {UNITS[metric]} in about {ahead_s:.0f} s: it"
                    f" changes by {slope * 60:.3g} a minute"
                )
                context = {"metric": metric.value, "seconds": ahead_s, "slope_per_s": slope}
                level = PerformanceAlert.INFO
                told.append(self.alerts.raise_(subject, level, message, context, now_us))
        return told

    def _judged(self, watch: ThresholdWatch, now_us: int) -> list[Alert]:
        threshold = watch.status.threshold
        measured = self._measure(threshold, now_us)
        if not watch.take(measured.value, now_us, exempt=measured.exempt):
            return []
        status = watch.status
        context = _context(status)
        if status.level is None:
            return self._resolve(threshold.named, _sentence(status), context, now_us)
        return [
            self.alerts.raise_(threshold.named, status.level, _sentence(status), context, now_us)
        ]

    def _resolve(
        self, subject: str, message: str, context: Mapping[str, Any], now_us: int
    ) -> list[Alert]:
        ended = self.alerts.resolve(subject, message, context, now_us)
        return [ended] if ended is not None else []


def _reaches(trend: Trend | None, limit: float | None) -> float | None:
    """Return in how many seconds a rising trend reaches its limit, if soon."""
    if trend is None or limit is None or trend.direction is not TrendDirection.RISING:
        return None
    ahead_s = trend.seconds_to(limit)
    return ahead_s if ahead_s is not None and ahead_s <= _HORIZON_S else None


def _sentence(status: ThresholdStatus) -> str:
    threshold = status.threshold
    unit = UNITS[threshold.metric_type]
    value = 0.0 if status.value is None else status.value
    what = (
        f"{threshold.evaluation_method.value} {threshold.named} over {threshold.window_size:g} s is"
        f" {value:.4g} {unit}"
    )
    if status.level is None:
        return f"{what}: within its limits again"
    side = "below" if threshold.falls else "from"
    limit = threshold.limits[status.level] or 0.0
    return f"{what}: {status.level.value} {side} {limit:g} {unit}"


def _context(status: ThresholdStatus) -> dict[str, Any]:
    threshold = status.threshold
    return {
        "metric": threshold.metric_type.value,
        "system": threshold.subject,
        "value": status.value,
        "unit": UNITS[threshold.metric_type],
        "window_s": threshold.window_size,
        "limits": {
            level.value: limit for level, limit in threshold.limits.items() if limit is not None
        },
    }
