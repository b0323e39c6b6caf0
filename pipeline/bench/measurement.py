"""What one phase of load showed, and whether its rate was sustained; pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from pipeline.bench.driver import Sent
from pipeline.bench.reader import Checked

__all__ = ["Latency", "Measurement", "lag_growth", "latency_of", "measured"]

MOST_ERRORS = 0.01
MOST_LAG_GROWTH = 0.01
# Less than this is the jitter of a busy machine, however short the phase.
LEAST_BACKLOG_S = 0.1
_HIGHEST_US = 3_600_000_000
_DIGITS = 3
_LAG_POINTS = 100
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies from the moment a packet was due, milliseconds.

    Attributes:
        mean: Arithmetic mean.
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        p999: 99.9th percentile.
        max: Longest.
    """

    mean: float
    p50: float
    p95: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """One phase of load.

    Attributes:
        contender: Who was measured.
        rate: Packets a second offered.
        seconds: For how long.
        sent: Packets sent.
        lost: Sent and never seen.
        duplicates: Seen again.
        misordered: Seen after a later one of their symbol.
        errors: Expired, shed or dead-lettered.
        error_rate: (errors + lost + duplicates + misordered) / sent.
        lag_growth: How fast the backlog grew, as a share of the rate.
        latency: Latencies; None where nothing came out.
        cpu_us: CPU per packet, microseconds, by worker, broker and load.
        rss_mb: Resident memory at the end, megabytes, by worker and broker.
        record_bytes: Mean size of a record of the last hop.
        load_late_ms_p99: How late the load was sent.
        restarts: Workers that ended and were started again.
        sustained: Whether the rate was.
        why_not: What speaks against it.
    """

    contender: str
    rate: float
    seconds: float
    sent: int
    lost: int
    duplicates: int
    misordered: int
    errors: int
    error_rate: float
    lag_growth: float
    latency: Latency | None
    cpu_us: Mapping[str, float]
    rss_mb: Mapping[str, float]
    record_bytes: float
    load_late_ms_p99: float
    restarts: int
    sustained: bool
    why_not: tuple[str, ...]
    labels: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def latency_of(latency_us: NDArray[np.int64]) -> Latency | None:
    """Return the percentiles by a high dynamic range histogram; None without any."""
    if not len(latency_us):
        return None
    histogram = HdrHistogram(1, _HIGHEST_US, _DIGITS)
    values, counts = np.unique(np.clip(latency_us, 1, _HIGHEST_US), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)
    longest = int(values[-1])
    p50, p95, p99, p999 = (
        min(histogram.get_value_at_percentile(each), longest) / 1000
        for each in (50.0, 95.0, 99.0, 99.9)
    )
    return Latency(float(latency_us.mean()) / 1000, p50, p95, p99, p999, longest / 1000)


def lag_growth(
    due_us: NDArray[np.int64], latency_us: NDArray[np.int64], rate: float, seconds: float
) -> float:
    """Return how fast the backlog grew while the load lasted, as a share of the rate.

    The backlog at a moment is how many packets were due and had not come out. Its slope is that of
    a least-squares line through the second to the last of a hundred moments; 0.01 means that one
    packet in a hundred was left for later. A backlog that comes and goes has none.

    Args:
        due_us: When packets that arrived were due.
        latency_us: Their latencies.
        rate: Packets a second.
        seconds: How long the load lasted.
    """
    if len(due_us) < 2 or seconds <= 0.0:  # noqa: PLR2004  # a line needs two points
        return 1.0
    start = int(due_us.min())
    times = np.linspace(0.0, seconds, _LAG_POINTS + 1)[1:]
    moments = start + times * _SECOND_US
    due, done = np.sort(due_us), np.sort(due_us + latency_us)
    lag = np.searchsorted(due, moments, "right") - np.searchsorted(done, moments, "right")
    slope = float(np.polyfit(times, lag, 1)[0])
    return slope / rate


def measured(
    contender: str,
    rate: float,
    sent: Sent,
    seen: Checked,
    *,
    cpu_s: Mapping[str, float],
    rss_mb: Mapping[str, float],
    restarts: int,
    labels: Mapping[str, Any] | None = None,
) -> Measurement:
    """Return the measurement of a phase, with its verdict."""
    seconds = sent.count / rate
    arrived = max(1, len(seen.due_us))
    bad = seen.errors + seen.lost + seen.duplicates + seen.misordered + sent.failed
    error_rate = bad / max(1, sent.count)
    growth = lag_growth(seen.due_us, seen.latency_us, rate, seconds)
    wrong = {
        f"{seen.lost} lost": seen.lost,
        f"{seen.duplicates} twice": seen.duplicates,
        f"{seen.misordered} out of order": seen.misordered,
        f"{sent.failed} not sent": sent.failed,
        f"error rate {error_rate:.3f}": error_rate >= MOST_ERRORS,
        f"lag grows by {growth:.1%}": (
            growth >= MOST_LAG_GROWTH and growth * seconds >= LEAST_BACKLOG_S
        ),
        f"{restarts} workers restarted": restarts,
    }
    why_not = tuple(text for text, holds in wrong.items() if holds)
    return Measurement(
        contender, rate, seconds, sent.count, seen.lost, seen.duplicates, seen.misordered,
        seen.errors, error_rate, growth, latency_of(seen.latency_us),
        {name: spent * 1e6 / arrived for name, spent in cpu_s.items()}, rss_mb,
        seen.bytes_mean, sent.late_ms_p99, restarts, not why_not, why_not, labels or {},
    )  # fmt: skip
