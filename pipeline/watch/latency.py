"""Figures of latencies: of a few values exactly, of any number by a histogram."""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

__all__ = ["BOUNDS_S", "Buckets", "LatencyFigures", "Recorder", "figures_of", "percentile"]

BOUNDS_S = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.085, 0.1,
    0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of buckets, seconds: log spaced, with the targets and their alert limits."""

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


class Buckets:
    """Counts latencies by bucket, for Prometheus; for percentiles see `Recorder`.

    Attributes:
        counts: How many lie in each bucket of `BOUNDS_S`, those above the last bound at the end.
        total_us: Sum of all of them, microseconds.
    """

    _bounds_us = tuple(round(each * 1e6) for each in BOUNDS_S)

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_us = 0

    def add(self, latency_us: int) -> None:
        """Count one; a bound belongs to the bucket below it."""
        self.counts[bisect_left(self._bounds_us, latency_us)] += 1
        self.total_us += latency_us


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """Return the least value that `percent` per cent of the values do not exceed.

    Args:
        values: Values, at least one, in any order.
        percent: Above 0, up to 100.
    """
    rank = _rank(len(values), percent)
    return float(np.partition(values, rank)[rank])


def figures_of(values_ms: NDArray[np.float64]) -> LatencyFigures | None:
    """Return the exact figures of latencies in milliseconds; None without any."""
    if not len(values_ms):
        return None
    ranks = [_rank(len(values_ms), percent) for percent in (50.0, 95.0, 99.0, 99.9)]
    ordered = np.partition(values_ms, ranks)
    p50, p95, p99, p999 = (float(ordered[rank]) for rank in ranks)
    mean, longest = float(values_ms.mean()), float(values_ms.max())
    return LatencyFigures(len(values_ms), mean, p50, p95, p99, p999, longest)


def _rank(count: int, percent: float) -> int:
    return max(math.ceil(count * percent / 100 - 1e-9), 1) - 1
