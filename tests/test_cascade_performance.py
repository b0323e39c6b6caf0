"""Performance of a whole cascade: figures of every packet, coherent, and verdicts that follow.

How fast it is depends on the machine, so nothing here asserts a time: `scripts/bench` and
`tests/load_test_cascade.py` say what a machine carries. What is asserted is that every packet of a
known load is in the figures, that they fit together, and that no verdict comes from nothing.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from pipeline.cascade import CascadePerformanceMonitor, SuperpositionCascadeManager
from pipeline.cascade.demo.flow import bars
from pipeline.cascade.manager import FlowOutcome
from pipeline.cascade.performance import LatencyFigures, RealTimeMetrics
from pipeline.events import EventBus
from pipeline.settings import Settings
from tests.cluster import cluster
from tests.kafka_workers import wait_until

__all__ = ["cluster"]

STAGES = ["strategic", "tactical", "risk", "execution"]
FLOWS = 200
AT_ONCE = 20
WINDOW_S = 3600.0


@pytest.fixture(scope="module")
def event_bus(cluster: Settings) -> Iterator[EventBus]:
    """The connection of the components under test."""
    with EventBus(settings=cluster) as bus:
        yield bus


@pytest.fixture(scope="module")
def unused(event_bus: EventBus) -> Iterator[CascadePerformanceMonitor]:
    """A monitor that began before the first packet."""
    with CascadePerformanceMonitor(event_bus) as monitor:
        yield monitor.ready()


@pytest.fixture(scope="module")
def before(unused: CascadePerformanceMonitor) -> RealTimeMetrics:
    """What it says before there is anything to say."""
    return unused.get_real_time_metrics(WINDOW_S)


@pytest.fixture(scope="module")
def outcomes(
    event_bus: EventBus, unused: CascadePerformanceMonitor, before: RealTimeMetrics
) -> list[FlowOutcome]:
    """How flows ended, of which at most a known number were in flight at once."""
    with SuperpositionCascadeManager(event_bus, max_concurrent_flows=AT_ONCE) as manager:
        ids = [
            manager.inject_superposition("CONTEXT_UPDATE", bar, "market_data", symbol="PERF")
            for bar in bars(FLOWS)
        ]
        ended = [manager.wait_for(packet_id, 60.0) for packet_id in ids]
    wait_until(lambda: unused.get_real_time_metrics(WINDOW_S).packets >= FLOWS, "all measured")
    return ended


@pytest.fixture(scope="module")
def metrics(unused: CascadePerformanceMonitor, outcomes: list[FlowOutcome]) -> RealTimeMetrics:
    """What the monitor says after the load, once the second in which it ended is full."""

    def counted() -> int:
        return sum(unused.get_real_time_metrics(WINDOW_S).errors.outcomes.values())

    wait_until(lambda: counted() >= FLOWS, "full seconds with all packets")
    return unused.get_real_time_metrics(WINDOW_S)


def rises(figures: LatencyFigures) -> bool:
    """Say whether percentiles rise as they must, to the three digits that they have."""
    row = [figures.p50, figures.p95, figures.p99, figures.p999, figures.max]
    return all(low <= high * 1.001 for low, high in pairwise(row))


def test_without_packets_no_target_is_met(before: RealTimeMetrics) -> None:
    """Nothing measured is a state of its own, and no pass."""
    assert 0 == before.packets
    assert "no_data" == before.latency_verdict
    assert before.latency.end_to_end_ms is None
    assert before.errors.failure_rate is None


def test_every_packet_is_measured(metrics: RealTimeMetrics, outcomes: list[FlowOutcome]) -> None:
    """The monitor counts what was injected, by the outcomes that the manager saw."""
    assert FLOWS == metrics.packets == len(outcomes)
    kinds = Counter(outcome.kind.value for outcome in outcomes)
    assert kinds == {kind: n for kind, n in metrics.errors.outcomes.items() if n}


def test_the_figures_fit_together(metrics: RealTimeMetrics, outcomes: list[FlowOutcome]) -> None:
    """Percentiles rise, the longest is the longest seen, and stages take no more than the whole."""
    found = metrics.latency.end_to_end_ms
    assert found is not None
    assert FLOWS == found.count
    assert rises(found)
    longest = max(outcome.latency_ms for outcome in outcomes)
    assert longest == pytest.approx(found.max, rel=0.002)
    assert STAGES == [name for name in STAGES if name in metrics.latency.systems]
    for each in metrics.latency.systems.values():
        assert each.processing_ms is not None
        assert rises(each.processing_ms)
        assert each.processing_ms.mean <= found.mean


def test_the_verdict_follows_from_the_figures(metrics: RealTimeMetrics) -> None:
    """The target is met just when p99 is within it."""
    found = metrics.latency.end_to_end_ms
    assert found is not None
    within = found.p99 <= metrics.latency_target_ms
    assert ("met" if within else "missed") == metrics.latency_verdict


def test_a_report_says_the_same(
    unused: CascadePerformanceMonitor, metrics: RealTimeMetrics
) -> None:
    """A report is over the same packets, with a score from 0 to 1."""
    report = unused.generate_performance_report(WINDOW_S)
    assert report.end_to_end_latency_ms == metrics.latency.end_to_end_ms
    assert report.performance_score is not None
    assert 0.0 <= report.performance_score <= 1.0
