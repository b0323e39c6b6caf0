"""From flows to the series of the report's charts; pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.pages.charts import Mark, Point
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = [
    "LatencyBin",
    "fill_marks",
    "histogram",
    "latency_over_time",
    "log10_ms",
    "per_second",
    "prices",
]

_US = 1_000_000
_BINS_PER_DECADE = 20


class LatencyBin(NamedTuple):
    """Latencies of the flows that were due within one stretch of time.

    Attributes:
        at_s: Middle of the stretch, seconds after the first.
        p50: Median, milliseconds.
        p99: 99th percentile, milliseconds.
    """

    at_s: float
    p50: float
    p99: float


def latency_over_time(
    latencies: Iterable[tuple[int, int]], first_us: int, bin_s: float
) -> list[LatencyBin]:
    """Return percentiles by stretches of time.

    Args:
        latencies: (due, latency) of each flow, microseconds.
        first_us: Moment zero.
        bin_s: Length of a stretch, seconds.
    """
    bins: dict[int, list[int]] = defaultdict(list)
    for due_us, latency_us in latencies:
        bins[math.floor((due_us - first_us) / _US / bin_s)].append(latency_us)
    found = []
    for index, values in sorted(bins.items()):
        p50, p99 = np.percentile(values, (50, 99)) / 1000
        found.append(LatencyBin((index + 0.5) * bin_s, float(p50), float(p99)))
    return found


def per_second(moments_us: Iterable[int], first_us: int, bin_s: float) -> list[Point]:
    """Return (middle of a stretch in seconds, events a second) without gaps between."""
    counts: dict[int, int] = defaultdict(int)
    for moment_us in moments_us:
        counts[math.floor((moment_us - first_us) / _US / bin_s)] += 1
    if not counts:
        return []
    span = range(min(counts), max(counts) + 1)
    return [((index + 0.5) * bin_s, counts[index] / bin_s) for index in span]


def histogram(latencies_us: Sequence[int]) -> list[tuple[float, float, float]]:
    """Return columns (log10 of ms from, to, count); each a twentieth of a decade wide."""
    counts: dict[int, int] = defaultdict(int)
    for latency_us in latencies_us:
        counts[math.floor(log10_ms(latency_us / 1000) * _BINS_PER_DECADE)] += 1
    return [
        (index / _BINS_PER_DECADE, (index + 1) / _BINS_PER_DECADE, float(count))
        for index, count in sorted(counts.items())
    ]


def log10_ms(latency_ms: float) -> float:
    """Return where a latency lies on the histogram's axis; what is below 1 us lies there."""
    return math.log10(max(latency_ms, 0.001))


def prices(ends: Iterable[FlowEnd], first_us: int) -> Mapping[str, list[Point]]:
    """Return closes by symbol as (seconds, price), in order of time."""
    found: dict[str, list[Point]] = defaultdict(list)
    for end in ends:
        if end.price is not None:
            found[end.symbol].append(((end.accepted_at - first_us) / _US, end.price))
    return {symbol: sorted(points) for symbol, points in sorted(found.items())}


def fill_marks(
    fills: Iterable[FillSeen], accepted_us: Mapping[str, int], first_us: int
) -> Mapping[str, list[Mark]]:
    """Return a mark for each filled order by symbol, at its bar and its price."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for each in fills:
        accepted = accepted_us.get(each.flow_id)
        if each.filled <= 0.0 or accepted is None:
            continue
        up = each.side == "BUY"
        title = f"{'bought' if up else 'sold'} {each.filled:g} at {each.price:.2f}"
        found[each.symbol].append(Mark(((accepted - first_us) / _US, each.price), up, title))
    return found
