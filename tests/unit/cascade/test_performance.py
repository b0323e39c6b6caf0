"""The monitor over a bus in memory: what it does by itself, and what its settings change."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import pytest

from pipeline.cascade.performance import (
    CascadePerformanceMonitor,
    CascadePerformanceReport,
    MetricType,
    PerformanceThreshold,
    ThresholdState,
)
from pipeline.errors import UsageError
from pipeline.events import EventBus
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.packets.identity import packet_id
from pipeline.settings import load_settings
from pipeline.watch.host import HostFigures
from pipeline.watch.offsets import Backlog
from pipeline.watch.source import Take
from tests.kafka_workers import wait_until
from tests.unit.cascade.fake_bus import FakeBus
from tests.unit.watch.factories import BEGIN_US, flow, flow_end, seconds


class Hands:
    """A clock that stands until it is moved."""

    skewed = False

    def __init__(self) -> None:
        self.us = BEGIN_US

    def now_us(self) -> int:
        """Return where its hands are."""
        return self.us

    def move(self, after_s: float) -> None:
        """Move them on."""
        self.us += round(after_s * 1e6)


class Ends:
    """A source that hands over what a test gives it."""

    undecodable = 0

    def __init__(self) -> None:
        self.connected = False
        self.take: Take = lambda ends: None  # noqa: ARG005  # until it starts

    def start(self, take: Take) -> None:
        """Begin."""
        self.take, self.connected = take, True

    def ready(self, timeout_s: float) -> None:
        """It is at once."""

    def close(self) -> None:
        """End it."""
        self.connected = False


class Made(NamedTuple):
    """A monitor, and what it hangs on."""

    monitor: CascadePerformanceMonitor
    bus: FakeBus
    clock: Hands
    ends: Ends


Make = Callable[..., Made]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make monitors that sample only when told, unless a test says otherwise."""
    made: list[CascadePerformanceMonitor] = []

    def one(**more: Any) -> Made:
        bus, clock, ends = FakeBus(), Hands(), Ends()
        defaults = {
            "sampling_interval": 3600.0,
            "report_interval": 3600.0,
            "host": lambda: HostFigures(0.1, 0.2, 0.3, {}),
            "look": lambda: Backlog(0, {}),
            "source": ends,
            "clock": clock,
        }
        monitor = CascadePerformanceMonitor(cast(EventBus, bus), **{**defaults, **more})
        made.append(monitor)
        return Made(monitor, bus, clock, ends)

    yield one
    for monitor in made:
        monitor.close()


def test_a_packet_reported_by_hand_is_measured(make: Make) -> None:
    """The specification's four calls give a trace, and figures by system."""
    monitor, _, clock, _ = make()
    assert "p-1" == monitor.track_packet_start("p-1")
    clock.move(0.002)
    monitor.track_system_entry("p-1", "strategic")
    under_way = monitor.get_packet_trace("p-1")
    clock.move(0.005)
    monitor.track_system_exit("p-1", "strategic", success=True)
    trace = monitor.track_packet_completion("p-1", success=True)

    metrics = monitor.get_real_time_metrics()

    assert under_way is not None
    assert under_way.latency_ms is None
    assert trace == monitor.get_packet_trace("p-1")
    assert 7.0 == trace.latency_ms
    assert metrics.latency.end_to_end_ms is not None
    assert (1, 7.0) == (metrics.latency.end_to_end_ms.count, metrics.latency.end_to_end_ms.p99)
    strategic = monitor.get_system_performance("strategic")
    assert strategic is not None
    assert strategic.queue_wait_ms is not None
    assert strategic.processing_ms is not None
    assert (2.0, 5.0) == (strategic.queue_wait_ms.p50, strategic.processing_ms.p50)
    assert (1, 1.0) == (metrics.packets, metrics.success_rate)


def test_a_packet_is_known_by_any_id_of_its_flow(make: Make) -> None:
    """What a stage calls the packet, or the flow's own id, leads to the same trace."""
    monitor, _, clock, ends = make()
    clock.move(2.0)
    ends.take([flow_end(1, 1.0)])
    found = monitor.get_packet_trace(packet_id(flow(1), "tactical"))
    assert found is not None
    assert found == monitor.get_packet_trace(flow(1))
    assert ["strategic", "tactical", "risk", "execution"] == [s.system for s in found.systems]
    assert monitor.get_packet_trace("unknown") is None


@pytest.mark.parametrize("packet", [object(), None, "", 7])
def test_a_packet_without_an_id_is_refused(make: Make, packet: object) -> None:
    """Nothing is measured under no name."""
    with pytest.raises(UsageError, match="packet_id"):
        make().monitor.track_packet_start(packet)


def test_failures_reported_by_hand_are_failures(make: Make) -> None:
    """A packet that failed lowers the success rate, and its system is named."""
    monitor, _, clock, _ = make()
    clock.move(1.0)
    for number, success in enumerate((True, False, True, True)):
        name = f"p{number}"
        monitor.track_packet_start(name)
        monitor.track_system_entry(name, "risk")
        monitor.track_system_exit(name, "risk", success=success, error="" if success else "no")
        monitor.track_packet_completion(name, success=success)
    clock.move(2.0)
    metrics = monitor.get_real_time_metrics()
    assert 0.75 == metrics.success_rate
    assert 0.25 == metrics.errors.failure_rate
    assert {"risk": 0.25} == metrics.errors.system_error_rates


def test_no_data_is_no_pass(make: Make) -> None:
    """A monitor that has seen nothing says so everywhere, and its JSON has nulls, not zeros."""
    monitor = make().monitor
    monitor.sample()
    metrics, report = monitor.get_real_time_metrics(), monitor.generate_performance_report()
    assert "no_data" == metrics.latency_verdict == report.latency_verdict
    assert report.performance_score is None
    assert metrics.to_dict()["latency"]["end_to_end_ms"] is None
    assert report.to_dict()["performance_score"] is None
    states = {
        each.threshold.metric_type: each.state
        for each in monitor.get_thresholds()
        if each.threshold.subject == "cascade"
    }
    for metric in (MetricType.LATENCY, MetricType.THROUGHPUT, MetricType.ERROR_RATE):
        assert ThresholdState.NO_DATA is states[metric]


def test_an_alert_goes_to_callbacks_and_to_kafka(make: Make) -> None:
    """What breaks a threshold is told of here and on cascade.alerts, and when it ends too."""
    monitor, bus, clock, ends = make()
    heard: list[Alert] = []
    monitor.add_alert_callback(heard.append)
    clock.move(2.0)
    ends.take([flow_end(number, 1.5, work_ms=40.0) for number in range(10)])
    monitor.sample()

    wait_until(lambda: any("cascade" in each.message for each in heard), "the alert")
    (latency,) = (a for a in monitor.get_active_alerts() if "of cascade" in a.message)
    assert PerformanceAlert.EMERGENCY is latency.level
    context = json.loads(latency.context)
    assert ("ms", 172.0, "raised") == (context["unit"], context["value"], context["state"])

    noted = monitor.acknowledge_alert(latency.id, "ann")
    assert noted.acknowledged
    monitor.remove_threshold(MetricType.LATENCY)

    def told() -> list[Any]:
        return [each for each in bus.topics.packets("cascade.alerts") if each.id == latency.id]  # type: ignore[attr-defined]

    wait_until(lambda: len(told()) == 3, "three records of the alert")
    assert ["raised", "acknowledged", "resolved"] == [
        json.loads(each.context)["state"] for each in told()
    ]
    assert latency.id in [each.id for each in monitor.get_alert_history()]


def test_the_target_decides_verdict_and_thresholds(make: Make) -> None:
    """The same packets meet a target of 100 ms, and miss one of 20."""
    found = []
    for target_ms in (100.0, 20.0):
        monitor, _, clock, ends = make(target_end_to_end_latency_ms=target_ms)
        clock.move(2.0)
        ends.take([flow_end(number, 1.5) for number in range(10)])
        monitor.sample()
        levels = {each.level for each in monitor.get_active_alerts()}
        found.append((monitor.get_real_time_metrics().latency_verdict, levels))
    assert [("met", set()), ("missed", {PerformanceAlert.EMERGENCY})] == found


def test_history_size_bounds_samples_and_traces(make: Make) -> None:
    """With a history of 5, the last 5 samples and traces are kept."""
    monitor, _, clock, ends = make(history_size=5)
    for number in range(12):
        clock.move(1.0)
        ends.take([flow_end(number, number + 0.5)])
        monitor.sample()
    times_us, _ = monitor.get_history("cpu_usage")
    assert [seconds(each) for each in range(8, 13)] == times_us.tolist()
    assert monitor.get_packet_trace(flow(6)) is None
    assert monitor.get_packet_trace(flow(7)) is not None


def test_the_sampling_interval_sets_the_pace_of_samples(make: Make) -> None:
    """A hundred times the interval, at most a fraction of the samples."""
    taken = {0.01: 0, 1.0: 0}
    enough = threading.Event()

    def counting(interval: float) -> Callable[[], HostFigures]:
        def look() -> HostFigures:
            taken[interval] += 1
            if taken[0.01] >= 20:
                enough.set()
            return HostFigures(0.1, 0.2, 0.3, {})

        return look

    for interval in taken:
        make(sampling_interval=interval, host=counting(interval))
    assert enough.wait(60)
    assert taken[1.0] * 2 < taken[0.01]


def test_reports_come_by_themselves(make: Make) -> None:
    """Each report interval has its report, kept and handed to all callbacks, failing or not."""
    heard: list[CascadePerformanceReport] = []

    def fail(report: CascadePerformanceReport) -> None:
        raise ValueError

    monitor = make(report_interval=0.02).monitor
    monitor.add_report_callback(fail)
    monitor.add_report_callback(heard.append)
    wait_until(lambda: len(heard) >= 3, "three reports")
    ids = [each.report_id for each in heard[:3]]
    assert 3 == len(set(ids))
    assert set(ids) <= {each.report_id for each in monitor.get_reports()}
    assert 0.02 == heard[0].window_s
    assert [] == make(report_interval=3600.0).monitor.get_reports()


def test_thresholds_are_set_at_run_time(make: Make) -> None:
    """A threshold on a gauge holds from the next sample on."""
    monitor = make().monitor
    monitor.sample()
    assert () == monitor.get_active_alerts()
    monitor.set_threshold(PerformanceThreshold(MetricType.MEMORY_USAGE, 0.15, 0.3, 0.5))
    monitor.sample()
    assert [PerformanceAlert.WARNING] == [each.level for each in monitor.get_active_alerts()]


@pytest.mark.parametrize(
    "name",
    ["target_end_to_end_latency_ms", "sampling_interval", "report_interval", "history_size"],
)
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_senseless_settings_are_refused(make: Make, name: str, value: float) -> None:
    """An interval of nothing, or less, says so."""
    with pytest.raises(UsageError, match=name):
        make(**{name: value})


@pytest.mark.parametrize("window_s", [0.0, -1.0, 4000.0])
def test_senseless_windows_are_refused(make: Make, window_s: float) -> None:
    """A window of nothing has no figures, and a longer one than is kept none that are right."""
    monitor = make().monitor
    with pytest.raises(UsageError, match="window"):
        monitor.get_real_time_metrics(window_s)
    with pytest.raises(UsageError, match="window"):
        monitor.generate_performance_report(window_s)


def test_defaults_are_those_of_the_settings() -> None:
    """What the constructor is not told, the settings say."""
    performance = {
        "target_latency_ms": 42.0,
        "sampling_interval": 0.5,
        "report_interval": 7.0,
        "history_size": 77,
    }
    bus = FakeBus(settings=load_settings(broker="fake:1", performance=performance))
    with CascadePerformanceMonitor(cast(EventBus, bus), source=Ends()) as monitor:
        assert (42.0, 0.5, 7.0, 77) == (
            monitor.target_end_to_end_latency_ms,
            monitor.sampling_interval,
            monitor.report_interval,
            monitor.history_size,
        )


def test_closing_ends_the_threads(make: Make) -> None:
    """After close no thread of the monitor is left; figures stay."""
    before = set(threading.enumerate())
    monitor = make(sampling_interval=0.01).monitor
    monitor.track_packet_start("p")
    monitor.track_packet_completion("p")
    monitor.close()
    wait_until(lambda: set(threading.enumerate()) <= before, "all threads to end")
    assert 1 == monitor.get_real_time_metrics().packets
    assert not monitor.connected
