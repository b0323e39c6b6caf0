"""The performance monitor on a real Kafka, beside real workers."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import numpy as np
import pytest

from pipeline.cascade.performance import (
    CascadePerformanceMonitor,
    MetricType,
    PerformanceThreshold,
    attached,
)
from pipeline.errors import BrokerUnavailable
from pipeline.events import EventBus, Received
from pipeline.packets.codec import encode
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.packets.identity import flow_id
from pipeline.rules import oracle
from pipeline.settings import Settings, load_settings
from pipeline.watch.lag import LagState, SystemLag
from tests.cluster import cluster
from tests.kafka_workers import (
    StartWorker,
    committed,
    market_data,
    read_log,
    run_settings,
    send,
    start_worker,
    wait_until,
)

__all__ = ["cluster", "run_settings", "start_worker"]  # fixtures

_SYMBOLS = ("AAPL", "GOOG", "IBM")


@pytest.fixture
def bus(cluster: Settings) -> Iterator[EventBus]:
    """A connection to the running cluster."""
    with EventBus(settings=cluster) as connected:
        yield connected


def _offer(settings: Settings, first: int, count: int) -> None:
    """Offer `count` bars of each symbol, from sequence number `first` on."""
    send(
        settings,
        "cascade.market",
        [
            (symbol.encode(), encode(market_data(symbol, first + number, settings)))
            for number in range(count)
            for symbol in _SYMBOLS
        ],
    )


def test_figures_are_those_of_the_log(bus: EventBus, cluster: Settings) -> None:
    """Counts, outcomes and percentiles agree with an independent reading of the log."""
    with CascadePerformanceMonitor(bus, sampling_interval=0.05).ready(60.0) as monitor:
        _offer(cluster, 0, 200)
        send(cluster, "cascade.market", [(b"IBM", b"no packet at all")])
        expected = 200 * len(_SYMBOLS) + 1
        wait_until(lambda: monitor.get_real_time_metrics().packets >= expected, "all packets")
        metrics = monitor.get_real_time_metrics(3600.0)
        wait_until(
            lambda: {each.records for each in _backlogs(monitor).values()} == {0},
            "nothing to wait any more",
        )
        trace = monitor.get_packet_trace(flow_id("market", "IBM", 150))

    accepted = oracle.accepted_records(read_log(cluster, "cascade.execution"))
    packets = [each.record for each in accepted]
    envelopes = [each.envelope for each in packets if hasattr(each, "envelope")]
    assert expected == len(envelopes) == metrics.packets
    assert not metrics.errors.undecodable
    outcomes = Counter(each.outcome.kind.value for each in envelopes)
    assert 1 == outcomes["dead_lettered"]
    assert 1 - 1 / expected == metrics.success_rate
    latencies = [(each.trace[-1].finished - each.accepted_at) / 1000 for each in envelopes]
    assert metrics.latency.end_to_end_ms is not None
    assert metrics.latency.since_start_ms is not None
    for found in (metrics.latency.end_to_end_ms, metrics.latency.since_start_ms):
        for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
            value = float(np.percentile(latencies, percent, method="inverted_cdf"))
            assert value == pytest.approx(getattr(found, name), rel=0.05)
    assert ["strategic", "tactical", "risk", "execution"] == list(metrics.latency.systems)
    (one,) = [each for each in envelopes if each.flow_id == flow_id("market", "IBM", 150)]
    assert trace is not None
    assert one.outcome.kind.value == trace.outcome
    assert [(each.stage, each.received, each.started, each.finished) for each in one.trace] == [
        (each.system, each.arrived, each.started, each.finished) for each in trace.systems
    ]


def _backlogs(monitor: CascadePerformanceMonitor) -> dict[str, SystemLag]:
    return dict(monitor.get_real_time_metrics().throughput.backlogs)


def test_who_watches_is_in_no_ones_way(bus: EventBus, cluster: Settings) -> None:
    """The monitor reads in a group of its own and commits nothing; no stage loses a partition."""
    with CascadePerformanceMonitor(bus).ready(60.0):
        _offer(cluster, 1000, 5)
        for name in ("risk", "execution"):
            group = f"cascade.{name}"
            wait_until(partial(committed, cluster, group), f"positions of {name}")
    with CascadePerformanceMonitor(bus, group="cascade.monitor.kept", start="earliest") as kept:
        kept.ready(60.0)
        before = kept.get_real_time_metrics().packets
        wait_until(lambda: committed(cluster, "cascade.monitor.kept"), "the named group's position")
    assert before > 0


def test_a_named_group_goes_on_where_it_stopped(bus: EventBus, cluster: Settings) -> None:
    """A later monitor of the group counts what ended meanwhile, and no packet twice."""
    group = "cascade.monitor.resumed"
    with CascadePerformanceMonitor(bus, group=group, start="earliest").ready(60.0) as first:
        before = first.get_real_time_metrics().packets
    _offer(cluster, 2000, 10)
    with CascadePerformanceMonitor(bus).ready(60.0) as counting:
        _offer(cluster, 2010, 10)
        last = [flow_id("market", symbol, 2019) for symbol in _SYMBOLS]
        wait_until(lambda: all(map(counting.get_packet_trace, last)), "the last packets")
    with CascadePerformanceMonitor(bus, group=group, start="earliest").ready(60.0) as second:
        after = second.get_real_time_metrics().packets
    with CascadePerformanceMonitor(bus, start="earliest").ready(60.0) as whole:
        everything = whole.get_real_time_metrics().packets
    assert 60 == after
    assert everything == before + after


def test_an_alert_reaches_kafka(bus: EventBus, cluster: Settings) -> None:
    """A threshold that is broken is told of on cascade.alerts, within seconds."""
    heard: list[Alert] = []

    def hear(received: Received) -> None:
        if isinstance(received.packet, Alert) and "LATENCY of cascade" in received.packet.message:
            heard.append(received.packet)

    bus.subscribe("cascade.alerts", hear).ready()
    with CascadePerformanceMonitor(bus, sampling_interval=0.05).ready(60.0) as monitor:
        monitor.set_threshold(PerformanceThreshold(MetricType.LATENCY, 0.001, window_size=3600.0))
        _offer(cluster, 3000, 5)
        wait_until(lambda: heard, "the alert on cascade.alerts")
        (active,) = (a for a in monitor.get_active_alerts() if a.id == heard[0].id)
    assert active == heard[0]
    assert PerformanceAlert.WARNING is heard[0].level
    assert "ms" == json.loads(heard[0].context)["unit"]


def test_a_look_at_a_running_cascade_sees_what_ended_lately(
    bus: EventBus, cluster: Settings
) -> None:
    """A monitor that was not there before has the last minute, at once."""
    with CascadePerformanceMonitor(bus).ready(60.0) as there:
        _offer(cluster, 4000, 5)
        wait_until(lambda: there.get_real_time_metrics().packets >= 15, "the packets")
    with attached(bus, look_back_s=600.0) as monitor:
        metrics = monitor.get_real_time_metrics(600.0)
    assert metrics.packets >= 15
    assert metrics.latency.end_to_end_ms is not None
    assert metrics.host.memory_usage is not None


def test_a_dead_stage_is_a_stall(run_settings: Settings, start_worker: StartWorker) -> None:
    """Records that wait for a killed worker are counted, and their age grows."""
    worker = start_worker("strategic", run_settings)
    _offer(run_settings, 0, 5)
    with EventBus(settings=run_settings) as bus, CascadePerformanceMonitor(bus) as monitor:
        wait_until(lambda: sum(committed(run_settings, "cascade.strategic").values()) == 15, "work")
        worker.kill()
        _offer(run_settings, 5, 7)

        def stalled() -> bool:
            lag = monitor.get_real_time_metrics().throughput.backlogs.get("strategic")
            return lag is not None and (lag.state, lag.records) == (LagState.STALL, 21)

        wait_until(stalled, "the stall")
        metrics = monitor.get_real_time_metrics()
        assert metrics.throughput.oldest_open_s is not None
        assert metrics.throughput.oldest_open_s > 0.0
        assert 21.0 == metrics.throughput.queue_depths["strategic"]
        assert "no_data" == metrics.latency_verdict
        report = monitor.generate_performance_report()
    assert any("strategic works off nothing" in each for each in report.recommendations)


def test_without_a_broker_hands_still_measure() -> None:
    """Nothing blocks or fails for want of a broker, and nothing pretends to be connected."""
    settings = load_settings(broker="127.0.0.1:1")
    bus = EventBus(settings=settings, connect_timeout_s=0.5)
    with closing(bus), CascadePerformanceMonitor(bus) as monitor:
        monitor.track_packet_start("p")
        monitor.track_packet_completion("p")
        with pytest.raises(BrokerUnavailable, match=r"cascade\.execution"):
            monitor.ready(0.5)
        metrics = monitor.get_real_time_metrics()
        assert (1, False) == (metrics.packets, metrics.connected)
        with pytest.raises(BrokerUnavailable):
            attached(bus)
