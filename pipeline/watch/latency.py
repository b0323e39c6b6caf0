"""Figures of latencies, by a high dynamic range histogram."""

from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

__all__ = ["LatencyFigures", "Recorder"]

_HIGHEST_US = 3_600_000_000
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Figures of a latency, milliseconds; percentiles to three digits.

    Attributes:
        count: How many were measured.
        mean: Arithmetic mean.
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        p999: 99.9th percentile.
        max: Longest.
    """

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    p999: float
    max: float


class Recorder:
    """Counts latencies in a high dynamic range histogram: 1 us to an hour, three digits."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _HIGHEST_US, _DIGITS)
        self._count = 0
        self._total_us = 0
        self._longest_us = 0

    def add(self, latency_us: int) -> None:
        """Count one; what is below a microsecond, as clocks that are read twice give, counts so."""
        latency_us = min(max(latency_us, 1), _HIGHEST_US)
        self._histogram.record_value(latency_us)
        self._count += 1
        self._total_us += latency_us
        self._longest_us = max(self._longest_us, latency_us)

    def figures(self) -> LatencyFigures | None:
        """Return the figures so far; None without any latency."""
        if not self._count:
            return None
        p50, p95, p99, p999 = (
            min(self._histogram.get_value_at_percentile(p), self._longest_us) / 1000
            for p in (50.0, 95.0, 99.0, 99.9)
        )
        mean = self._total_us / self._count / 1000
        return LatencyFigures(self._count, mean, p50, p95, p99, p999, self._longest_us / 1000)
