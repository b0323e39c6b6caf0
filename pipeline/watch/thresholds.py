"""Limits of what is measured, and the level that a measurement is at; pure.

A level is entered as soon as its limit is reached, and left only when the value is better than the
limit by the hysteresis, so that a value at its limit makes one alert, not one a second. What is not
measured is NO_DATA: that neither raises nor ends an alert, and is no pass.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.packets.events import PerformanceAlert
from pipeline.watch.latency import percentile

__all__ = [
    "CASCADE",
    "UNITS",
    "EvaluationMethod",
    "MetricType",
    "PerformanceThreshold",
    "ThresholdState",
    "ThresholdStatus",
    "ThresholdWatch",
    "evaluate",
]

CASCADE: Final = "cascade"
"""Subject of a threshold on the cascade as a whole."""


class MetricType(StrEnum):
    """What is measured; `UNITS` has the unit of each."""

    LATENCY = "LATENCY"
    THROUGHPUT = "THROUGHPUT"
    ERROR_RATE = "ERROR_RATE"
    QUEUE_DEPTH = "QUEUE_DEPTH"
    SYSTEM_LOAD = "SYSTEM_LOAD"
    MEMORY_USAGE = "MEMORY_USAGE"
    CPU_USAGE = "CPU_USAGE"


UNITS: Final[Mapping[MetricType, str]] = {
    MetricType.LATENCY: "ms",
    MetricType.THROUGHPUT: "packets/s",
    MetricType.ERROR_RATE: "ratio",
    MetricType.QUEUE_DEPTH: "packets",
    MetricType.SYSTEM_LOAD: "ratio",
    MetricType.MEMORY_USAGE: "ratio",
    MetricType.CPU_USAGE: "ratio",
}
"""Unit of each metric; a ratio is 0 to 1, never percent."""


class EvaluationMethod(StrEnum):
    """What of the values within the window is held against the limits."""

    AVERAGE = "average"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    LAST = "last"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"


class ThresholdState(StrEnum):
    """How a measurement stands to its limits."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"
    NO_DATA = "no_data"


_LONGEST_S = 3600.0
_PERCENTS = {EvaluationMethod.P50: 50.0, EvaluationMethod.P95: 95.0, EvaluationMethod.P99: 99.0}
_LEVELS = (PerformanceAlert.WARNING, PerformanceAlert.CRITICAL, PerformanceAlert.EMERGENCY)
_STATES = {
    None: ThresholdState.OK,
    PerformanceAlert.WARNING: ThresholdState.WARNING,
    PerformanceAlert.CRITICAL: ThresholdState.CRITICAL,
    PerformanceAlert.EMERGENCY: ThresholdState.EMERGENCY,
}


@dataclass(frozen=True, slots=True)
class PerformanceThreshold:
    """Limits of one metric of one subject; None where a level is never reached.

    Attributes:
        metric_type: What is measured; its unit, see `UNITS`, is that of the limits.
        warning_threshold: From here on WARNING. THROUGHPUT is bad below its limits, all else above.
        critical_threshold: From here on CRITICAL.
        emergency_threshold: From here on EMERGENCY.
        window_size: Values of how many seconds are looked at.
        evaluation_method: What of them counts. ERROR_RATE takes only `average`: it is the share of
            the packets within the window.
        subject: `cascade`, or the system concerned.
        hysteresis: By what share of a limit a value must be better for its level to be left.
        minimum_samples: With fewer values in the window it is NO_DATA.

    Raises:
        UsageError: Limits in the wrong order, percent for a ratio, or figures without sense.
    """

    metric_type: MetricType
    warning_threshold: float | None = None
    critical_threshold: float | None = None
    emergency_threshold: float | None = None
    window_size: float = 10.0
    evaluation_method: EvaluationMethod = EvaluationMethod.AVERAGE
    subject: str = CASCADE
    hysteresis: float = 0.1
    minimum_samples: int = 1

    def __post_init__(self) -> None:
        limits = [limit for limit in self.limits.values() if limit is not None]
        if not limits or not all(math.isfinite(limit) and limit >= 0.0 for limit in limits):
            raise UsageError(f"Expected at least one limit, 0 or more, was {self.named}: {limits}")
        if limits != sorted(limits, reverse=self.falls):
            order = "falling" if self.falls else "rising"
            raise UsageError(f"Expected {order} limits of {self.named}, was {limits}")
        if UNITS[self.metric_type] == "ratio" and max(limits) > 1.0:
            raise UsageError(
                f"Expected limits of {self.named} as ratios from 0 to 1, was {limits}; one per cent"
                " is 0.01"
            )
        if not (0.0 < self.window_size <= _LONGEST_S and 0.0 <= self.hysteresis < 1.0):
            raise UsageError(
                f"Expected a window_size of up to {_LONGEST_S:g} s and a hysteresis below 1 of"
                f" {self.named}, was {self.window_size} and {self.hysteresis}"
            )
        if self.minimum_samples < 1:
            raise UsageError(f"Expected minimum_samples from 1 on, was {self.minimum_samples}")
        only_average = self.metric_type is MetricType.ERROR_RATE
        if only_average and self.evaluation_method is not EvaluationMethod.AVERAGE:
            raise UsageError(
                f"Expected the average of {self.named}, was {self.evaluation_method.value}: each"
                " packet failed or did not"
            )

    @property
    def named(self) -> str:
        """Metric and subject, for people."""
        return f"{self.metric_type.value} of {self.subject}"

    @property
    def falls(self) -> bool:
        """Whether the metric is bad below its limits."""
        return self.metric_type is MetricType.THROUGHPUT

    @property
    def limits(self) -> Mapping[PerformanceAlert, float | None]:
        """The limit of each level, least level first."""
        found = (self.warning_threshold, self.critical_threshold, self.emergency_threshold)
        return dict(zip(_LEVELS, found, strict=True))

    def level_of(
        self, value: float, *, held: PerformanceAlert | None = None
    ) -> PerformanceAlert | None:
        """Return the level that a value is at; None for none.

        Args:
            value: The value, in the unit of the metric.
            held: The level before: up to it, a limit counts as reached within the hysteresis too.
        """
        highest = None
        for level, limit in self.limits.items():
            if limit is None:
                continue
            holding = held is not None and _LEVELS.index(level) <= _LEVELS.index(held)
            margin = limit * self.hysteresis if holding else 0.0
            if (value < limit + margin) if self.falls else (value >= limit - margin):
                highest = level
        return highest


def evaluate(method: EvaluationMethod, values: NDArray[np.float64]) -> float | None:
    """Return what of some values, in order of time, is held against limits; None without any."""
    if not len(values):
        return None
    if method in _PERCENTS:
        return percentile(values, _PERCENTS[method])
    if method is EvaluationMethod.MAXIMUM:
        return float(values.max())
    if method is EvaluationMethod.MINIMUM:
        return float(values.min())
    return float(values[-1] if method is EvaluationMethod.LAST else values.mean())


@dataclass(frozen=True, slots=True)
class ThresholdStatus:
    """How a measurement stands.

    Attributes:
        threshold: Its limits.
        state: How it stands; NO_DATA where nothing was measured.
        value: What was measured, in the unit of the metric; None where nothing was.
        level: The level that holds: the last known one while there is no data.
        since_us: Since when the level holds, microseconds since the Unix epoch.
    """

    threshold: PerformanceThreshold
    state: ThresholdState
    value: float | None
    level: PerformanceAlert | None
    since_us: int


class ThresholdWatch:
    """Follows one threshold's level over time."""

    def __init__(self, threshold: PerformanceThreshold, now_us: int) -> None:
        self.status = ThresholdStatus(threshold, ThresholdState.NO_DATA, None, None, now_us)

    def take(self, value: float | None, now_us: int, *, exempt: bool = False) -> bool:
        """Take a measurement; return whether the level is another one now.

        Args:
            value: What was measured; None for no data.
            now_us: Now, microseconds since the Unix epoch, UTC.
            exempt: It is as good as it can be, whatever the limits say.
        """
        before = self.status
        threshold = before.threshold
        if value is None:
            self.status = ThresholdStatus(
                threshold, ThresholdState.NO_DATA, None, before.level, before.since_us
            )
            return False
        level = None if exempt else threshold.level_of(value, held=before.level)
        changed = level is not before.level
        since_us = now_us if changed else before.since_us
        self.status = ThresholdStatus(threshold, _STATES[level], value, level, since_us)
        return changed
