import json
from collections.abc import Iterable

import pytest

from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import load_settings
from pipeline.stages.fates import Fate
from pipeline.watch.core import PerformanceCore
from pipeline.watch.defaults import OLDEST_OPEN_FLOW
from pipeline.watch.host import HostFigures
from pipeline.watch.lag import LagState, SystemLag
from pipeline.watch.offsets import Backlog
from pipeline.watch.thresholds import (
    CASCADE,
    EvaluationMethod,
    MetricType,
    PerformanceThreshold,
    ThresholdState,
)
from pipeline.watch.trends import TrendDirection
from tests.unit.watch.factories import BEGIN_US, STAGES, flow_end, seconds

IDLE = HostFigures(0.1, 0.2, 0.3, {})


def _core(history_size: int = 10_000) -> PerformanceCore:
    return PerformanceCore(load_settings(broker="none:1"), 100.0, history_size, BEGIN_US)


def _state(core: PerformanceCore, metric: MetricType, subject: str = CASCADE) -> ThresholdState:
    (found,) = (
        each.state
        for each in core.guard.statuses()
        if (each.threshold.metric_type, each.threshold.subject) == (metric, subject)
    )
    return found


def _alerts(alerts: Iterable[Alert]) -> list[tuple[str, PerformanceAlert, str]]:
    found = []
    for each in alerts:
        context = json.loads(each.context)
        found.append((context["subject"], each.level, context["state"]))
    return found


def _run(
    core: PerformanceCore,
    begin_s: float,
    end_s: float,
    rate: int,
    *,
    work_ms: float = 3.0,
    offered: int | None = None,
    kind: OutcomeKind = OutcomeKind.HELD,
    number: int = 0,
) -> list[Alert]:
    """Let packets end at a rate, with a sample and an offset a second; return what was told."""
    told: list[Alert] = []
    for second in range(int(begin_s), int(end_s)):
        for index in range(rate):
            end = flow_end(
                number + second * 10_000 + index, second + (index + 1) / rate,
                work_ms=work_ms, kind=kind,
            )  # fmt: skip
            core.take_end(end, seconds(1e6))
        now_us = seconds(second + 1)
        whole = (offered if offered is not None else rate) * (second + 1)
        core.take_backlog(Backlog(whole, {}), now_us)
        told += core.sample(now_us, IDLE)
    return told


def test_without_a_packet_nothing_passes() -> None:
    """Nothing measured: every figure is None, every verdict and threshold on packets no data."""
    core = _core()
    core.sample(seconds(1), HostFigures(None, None, None, {}))

    metrics = core.metrics(seconds(1), 10.0, connected=False)
    report = core.report(seconds(1), 5.0)

    assert "no_data" == metrics.latency_verdict == report.latency_verdict
    assert metrics.latency.end_to_end_ms is None
    assert metrics.throughput.packets_per_second is None
    assert metrics.throughput.offered_per_second is None
    assert metrics.errors.failure_rate is None
    assert metrics.success_rate is None
    assert report.performance_score is None
    assert {ThresholdState.NO_DATA} == {each.state for each in metrics.thresholds}
    assert {TrendDirection.NO_DATA} == {each.direction for each in report.trend_analysis.values()}


def test_a_good_run_meets_its_target() -> None:
    """Fast packets: the verdict, the score and the thresholds say so."""
    core = _core()
    told = _run(core, 1, 13, 100)

    metrics = core.metrics(seconds(13), 10.0, connected=True)
    report = core.report(seconds(13), 10.0)

    assert [] == told
    assert "met" == metrics.latency_verdict
    assert 100.0 == metrics.throughput.packets_per_second
    assert 100.0 == pytest.approx(metrics.throughput.offered_per_second)
    assert (0.0, 1.0) == (metrics.errors.failure_rate, metrics.success_rate)
    assert pytest.approx(1.0, abs=0.01) == report.performance_score
    assert () == report.recommendations
    for metric in (MetricType.LATENCY, MetricType.ERROR_RATE, MetricType.THROUGHPUT):
        assert ThresholdState.OK is _state(core, metric)


def test_a_slow_cascade_alarms_and_recovers() -> None:
    """p95 over its limits raises an alert of the right level; it ends when it is better again."""
    core = _core()
    told = _run(core, 1, 12, 50, work_ms=20.0)  # 4 * 23 ms
    raised = _alerts(core.guard.alerts.active())
    assert ("LATENCY of cascade", PerformanceAlert.CRITICAL, "raised") in _alerts(told)
    assert ("LATENCY of cascade", PerformanceAlert.CRITICAL, "raised") in raised

    told = _run(core, 12, 30, 50)

    assert ("LATENCY of cascade", PerformanceAlert.INFO, "resolved") in _alerts(told)
    assert () == core.guard.alerts.active()


def test_a_stage_over_its_budget_is_a_warning() -> None:
    """Each stage's time is held against its own budget."""
    core = _core()
    told = _alerts(_run(core, 1, 12, 20, work_ms=19.0))
    budget = load_settings(broker="none:1").scaled_budget_ms
    for stage in STAGES:
        over = budget(stage) <= 21.0
        expected = ThresholdState.WARNING if over else ThresholdState.OK
        assert expected is _state(core, MetricType.LATENCY, stage)
        assert over == ((f"LATENCY of {stage}", PerformanceAlert.WARNING, "raised") in told)


def test_a_low_throughput_counts_only_while_load_is_offered() -> None:
    """20 packets a second of 20 offered are fine; 20 of 1000 are an emergency."""
    core = _core()
    _run(core, 1, 13, 20)
    assert ThresholdState.OK is _state(core, MetricType.THROUGHPUT)

    told = _run(core, 13, 30, 20, offered=1000)

    assert ("THROUGHPUT of cascade", PerformanceAlert.EMERGENCY, "raised") in _alerts(told)


def test_a_cascade_that_stands_still_is_an_emergency() -> None:
    """Load offered, nothing ends: that is measured, and as bad as can be."""
    core = _core()
    _run(core, 1, 13, 0, offered=50)
    assert ThresholdState.EMERGENCY is _state(core, MetricType.THROUGHPUT)
    metrics = core.metrics(seconds(13), 10.0, connected=True)
    assert 0.0 == metrics.throughput.packets_per_second
    assert "no_data" == metrics.latency_verdict


def test_an_idle_cascade_is_no_data() -> None:
    """Nothing offered, nothing done: no throughput to judge."""
    core = _core()
    _run(core, 1, 13, 0, offered=0)
    assert ThresholdState.NO_DATA is _state(core, MetricType.THROUGHPUT)


def test_error_rates_are_ratios() -> None:
    """One failure of 50 is 0.02: a warning, not two hundred times the limit."""
    core = _core()
    _run(core, 1, 12, 49)
    _run(core, 1, 12, 1, kind=OutcomeKind.EXPIRED, number=5000)

    core.sample(seconds(12.6), IDLE)
    errors = core.metrics(seconds(12.6), 10.0, connected=True).errors

    assert errors.failure_rate is not None
    assert 0.02 == pytest.approx(errors.failure_rate)
    assert {"held": 490, "expired": 10} == errors.outcomes
    assert 0.02 == pytest.approx(errors.system_error_rates["execution"])
    assert 0.0 == errors.system_error_rates["risk"]
    assert ThresholdState.WARNING is _state(core, MetricType.ERROR_RATE)


def test_every_ratio_lies_between_0_and_1() -> None:
    """Whatever is fed in, figures named rate, usage, load, share or score are ratios."""
    core = _core()
    _run(core, 1, 12, 30, work_ms=500.0, kind=OutcomeKind.SHED, offered=1000)
    metrics = core.metrics(seconds(12), 10.0, connected=True)
    report = core.report(seconds(12), 10.0)
    ratios = [
        metrics.success_rate, metrics.errors.failure_rate, metrics.host.cpu_usage,
        metrics.host.memory_usage, metrics.host.system_load, metrics.host.run_queue_load,
        report.performance_score, *metrics.errors.system_error_rates.values(),
        *metrics.throughput.utilisation.values(), *report.system_loads.values(),
    ]  # fmt: skip
    assert [] == [ratio for ratio in ratios if ratio is not None and not 0.0 <= ratio <= 1.0]
    assert 0.0 == report.performance_score


def test_queue_depth_is_the_larger_of_waits_and_offsets() -> None:
    """What waits is seen from packets that got through, and from offsets of those that do not."""
    core = _core()
    for number in range(500):
        core.take_end(flow_end(number, 1.0 + number / 50, wait_ms=200.0), seconds(1e6))
    lag = SystemLag(700, 9.0, LagState.STALL)
    core.take_backlog(Backlog(500, {"tactical": lag}), seconds(11))
    for tenth in range(60):
        core.sample(seconds(11 + tenth / 10), IDLE)

    throughput = core.metrics(seconds(11), 5.0, connected=True).throughput

    assert 10.0 == pytest.approx(throughput.queue_depths["risk"] or 0.0, rel=0.02)
    assert 700.0 == throughput.queue_depths["tactical"] == throughput.queue_depth
    assert ThresholdState.WARNING is _state(core, MetricType.QUEUE_DEPTH)
    assert "tactical works off nothing while 700 records wait" in " ".join(
        core.report(seconds(11), 5.0).recommendations
    )


def test_a_packet_open_for_too_long_is_a_warning() -> None:
    """A packet that was started by hand and never ends is noticed after 30 s."""
    core = _core()
    core.start("p", seconds(0))
    core.sample(seconds(29), IDLE)
    assert ThresholdState.OK is _state(core, MetricType.LATENCY, OLDEST_OPEN_FLOW)
    core.sample(seconds(31), IDLE)
    assert ThresholdState.WARNING is _state(core, MetricType.LATENCY, OLDEST_OPEN_FLOW)
    oldest_s = core.metrics(seconds(31), 10.0, connected=True).throughput.oldest_open_s
    assert 31.0 == oldest_s


def test_thresholds_can_be_set_at_run_time() -> None:
    """Another limit, window and method hold from the next sample on; the old alert ends."""
    core = _core()
    _run(core, 1, 12, 50, work_ms=20.0)
    relaxed = PerformanceThreshold(
        MetricType.LATENCY, 500.0, evaluation_method=EvaluationMethod.MAXIMUM, window_size=2.0
    )
    told = core.guard.set(relaxed, seconds(12))
    assert [("LATENCY of cascade", PerformanceAlert.INFO, "resolved")] == _alerts(told)
    core.sample(seconds(12), IDLE)
    assert ThresholdState.OK is _state(core, MetricType.LATENCY)

    core.guard.set(PerformanceThreshold(MetricType.CPU_USAGE, 0.05), seconds(12))
    told = core.sample(seconds(13), IDLE)
    assert ("CPU_USAGE of cascade", PerformanceAlert.WARNING, "raised") in _alerts(told)
    told = core.guard.remove(MetricType.CPU_USAGE, CASCADE, seconds(14))
    assert [("CPU_USAGE of cascade", PerformanceAlert.INFO, "resolved")] == _alerts(told)


def test_the_window_decides_what_counts() -> None:
    """A short window forgets a slow minute that a long one still sees."""
    core = _core()
    for subject, window_s in (("cascade", 3.0), ("execution", 30.0)):
        limits = PerformanceThreshold(
            MetricType.LATENCY, 10.0 if subject == "execution" else 60.0,
            window_size=window_s, subject=subject, evaluation_method=EvaluationMethod.MAXIMUM,
        )  # fmt: skip
        core.guard.set(limits, seconds(0))
    _run(core, 1, 6, 20, work_ms=50.0)
    _run(core, 6, 15, 20)
    assert ThresholdState.OK is _state(core, MetricType.LATENCY)
    assert ThresholdState.WARNING is _state(core, MetricType.LATENCY, "execution")


def test_retries_and_breaker_trips_are_counted() -> None:
    """Retries add up over packets; a breaker's open phase is one trip, a failed probe more."""
    core = _core()
    opened, failed = (Fate.BREAKER_OPEN,), (Fate.POLICY_FAILED,)
    phases = [failed, opened, opened, opened, failed, opened, opened]
    for number, reasons in enumerate(phases):
        kind = OutcomeKind.HELD if reasons is opened else OutcomeKind.DEAD_LETTERED
        core.take_end(
            flow_end(
                number, 1.0 + number / 10, kind=kind, sealed_by="risk", reasons=reasons, retries=2
            ),
            seconds(1e6),
        )
    core.take_end(flow_end(9, 5.0, sealed_by="risk", reasons=opened), seconds(1e6))

    errors = core.metrics(seconds(6.6), 10.0, connected=True).errors

    assert {"risk": 3} == errors.breaker_trips
    assert (14, 14 / 8) == (errors.retries, errors.retries_per_packet)


def test_a_rise_is_foretold_once_two_reports_agree() -> None:
    """A latency that will pass its warning limit soon is told of before, once."""
    core = _core()
    told: list[Alert] = []
    for second in range(1, 60):
        for index in range(10):
            number, moment = second * 10 + index, second + index / 10
            core.take_end(flow_end(number, moment, work_ms=2.0 + second * 0.15), seconds(1e6))
        core.sample(seconds(second + 1), IDLE)
        if second >= 40 and second % 5 == 0:
            told += core.guard.foresee(core.trends(), seconds(second + 1))
    assert [("trend of LATENCY", PerformanceAlert.INFO, "raised")] == _alerts(told)
    slope = core.trends()["latency_ms"].slope_per_s
    assert pytest.approx(4 * 0.15, rel=0.1) == slope


def test_a_flat_noisy_latency_foretells_nothing() -> None:
    """Noise around 60 ms, below the limit of 70, raises no alert in half an hour of reports."""
    import random

    rng = random.Random(3)
    core = _core(300)
    told: list[Alert] = []
    for second in range(1, 1800):
        core.take_end(
            flow_end(second, second, work_ms=max(0.5, rng.gauss(12.0, 2.0))), seconds(1e6)
        )
        core.sample(seconds(second), IDLE)
        if second % 5 == 0:
            told += core.guard.foresee(core.trends(), seconds(second))
    assert [] == [each for each in _alerts(told) if each[0].startswith("trend")]
