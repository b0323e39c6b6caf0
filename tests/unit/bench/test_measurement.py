"""What a phase showed, and the verdict on its rate."""

from typing import Any

import numpy as np
import pytest

from pipeline.bench.driver import Sent
from pipeline.bench.measurement import Measurement, lag_growth, latency_of, measured
from pipeline.bench.reader import Checked

RATE, SECONDS = 500.0, 10.0
COUNT = round(RATE * SECONDS)
START_US = 1_800_000_000_000_000
DUE = START_US + (np.arange(COUNT) * 1e6 / RATE).astype(np.int64)


def verdict(latency_ms: Any = 5.0, **planted: Any) -> Measurement:
    """Return the measurement of a phase without faults but for those planted."""
    sent = Sent(0, COUNT, planted.pop("failed", 0), START_US, 0.1, 300 * COUNT)
    restarts = planted.pop("restarts", 0)
    latency_us = np.broadcast_to(np.asarray(latency_ms) * 1000, DUE.shape).astype(np.int64)
    facts = {"lost": 0, "duplicates": 0, "misordered": 0, "errors": 0, "strays": 0} | planted
    seen = Checked(DUE, latency_us, bytes_mean=300.0, **facts)
    return measured(
        "loop", RATE, sent, seen, cpu_s={"worker": 1.0}, rss_mb={}, restarts=restarts
    )  # fmt: skip


def test_a_steady_latency_is_sustained() -> None:
    """Everything out, in order, with a backlog that does not grow: sustained."""
    assert (True, ()) == (verdict().sustained, verdict().why_not)


@pytest.mark.parametrize(
    "planted",
    [
        {"lost": 1},
        {"duplicates": 1},
        {"misordered": 1},
        {"failed": 1},
        {"restarts": 1},
        {"errors": COUNT // 100},
        {"latency_ms": np.linspace(5.0, 500.0, COUNT)},
    ],
)
def test_each_shortfall_denies_the_verdict(planted: dict[str, Any]) -> None:
    """One packet lost, repeated, out of order or not sent, a restart, errors, a growing backlog."""
    found = verdict(**planted)
    assert (False, 1) == (found.sustained, min(1, len(found.why_not)))


def test_errors_below_one_in_a_hundred_are_allowed() -> None:
    """An error rate just under 0.01 is still sustained."""
    assert verdict(errors=COUNT // 100 - 1).sustained


def test_a_single_stall_is_no_growth() -> None:
    """A backlog that comes in mid-phase and goes does not count as growing."""
    late = np.full(COUNT, 5.0)
    stalled = slice(COUNT // 2, COUNT // 2 + 250)
    late[stalled] = np.linspace(500.0, 5.0, 250)
    assert verdict(late).sustained


def test_lag_growth_is_the_share_left_behind() -> None:
    """With a capacity a tenth below the rate, the backlog grows by a tenth of the rate."""
    latency_us = ((DUE - START_US) / 9).astype(np.int64) + 5000
    assert 0.1 == pytest.approx(lag_growth(DUE, latency_us, RATE, SECONDS), abs=0.005)


def test_nothing_seen_is_growth() -> None:
    """Where nothing came out, all of it was left behind."""
    nothing = np.array([], dtype=np.int64)
    assert 1.0 == lag_growth(nothing, nothing, RATE, SECONDS)


def test_percentiles_are_of_all_packets() -> None:
    """Percentiles are right to three digits, and the longest exactly."""
    found = latency_of(np.arange(1, 10_001, dtype=np.int64) * 100)
    assert found is not None
    assert 500.0 == pytest.approx(found.p50, rel=2e-3)
    assert 990.0 == pytest.approx(found.p99, rel=2e-3)
    assert 1000.0 == found.max


def test_no_packets_no_latency() -> None:
    """What was not measured is None, never 0."""
    assert latency_of(np.array([], dtype=np.int64)) is None


def test_cpu_is_per_packet() -> None:
    """A second of CPU over 5,000 packets is 200 us each."""
    assert 200.0 == verdict().cpu_us["worker"]
