import math
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.packets.events import PerformanceAlert
from pipeline.settings import load_settings
from pipeline.watch.defaults import OLDEST_OPEN_FLOW, default_thresholds
from pipeline.watch.thresholds import (
    CASCADE,
    EvaluationMethod,
    MetricType,
    PerformanceThreshold,
    ThresholdState,
    ThresholdWatch,
    evaluate,
)

WARNING, CRITICAL, EMERGENCY = (
    PerformanceAlert.WARNING,
    PerformanceAlert.CRITICAL,
    PerformanceAlert.EMERGENCY,
)
LATENCY = PerformanceThreshold(MetricType.LATENCY, 70.0, 85.0, 100.0)
THROUGHPUT = PerformanceThreshold(MetricType.THROUGHPUT, 500.0, 300.0, 100.0)


@pytest.mark.parametrize(
    ("value", "level"),
    [(69.9, None), (70.0, WARNING), (85.0, CRITICAL), (99.9, CRITICAL), (100.0, EMERGENCY)],
)
def test_a_latency_is_bad_from_its_limits_on(value: float, level: PerformanceAlert | None) -> None:
    """The highest limit that is reached is the level."""
    assert level is LATENCY.level_of(value)


@pytest.mark.parametrize(
    ("value", "level"),
    [(500.0, None), (499.0, WARNING), (299.0, CRITICAL), (0.0, EMERGENCY)],
)
def test_a_throughput_is_bad_below_its_limits(value: float, level: PerformanceAlert | None) -> None:
    """Limits of the throughput are lower bounds."""
    assert level is THROUGHPUT.level_of(value)


def test_a_level_is_left_only_with_a_margin() -> None:
    """A value that swings around a limit changes the level once, not each time."""
    watch = ThresholdWatch(LATENCY, 0)
    changes = [watch.take(value, 1) for value in (71.0, 69.0, 71.0, 64.0, 71.0, 62.0)]
    assert [True, False, False, False, False, True] == changes
    assert watch.status.level is None


def test_levels_rise_at_once_and_fall_one_margin_at_a_time() -> None:
    """From EMERGENCY it goes down to the level whose limit, less its margin, is still reached."""
    watch = ThresholdWatch(LATENCY, 0)
    levels = []
    for now_us, value in enumerate((120.0, 95.0, 80.0, 74.0, 10.0)):
        watch.take(value, now_us)
        levels.append(watch.status.level)
    assert [EMERGENCY, EMERGENCY, CRITICAL, WARNING, None] == levels
    assert 4 == watch.status.since_us


def test_a_throughput_recovers_with_a_margin_too() -> None:
    """The margin lies above a lower bound."""
    watch = ThresholdWatch(THROUGHPUT, 0)
    states = []
    for value in (450.0, 520.0, 549.0, 551.0):
        watch.take(value, 0)
        states.append(watch.status.state)
    warning = ThresholdState.WARNING
    assert [warning, warning, warning, ThresholdState.OK] == states


def test_no_data_is_a_state_of_its_own() -> None:
    """Before anything is measured the state is NO_DATA, not OK; data that stops ends no level."""
    watch = ThresholdWatch(LATENCY, 0)
    assert watch.status.state is ThresholdState.NO_DATA
    watch.take(90.0, 1)

    changed = watch.take(None, 2)

    assert not changed
    assert (ThresholdState.NO_DATA, None) == (watch.status.state, watch.status.value)
    assert watch.status.level is CRITICAL


@pytest.mark.parametrize("limit", [1.5, 5.0, 10.0])
@pytest.mark.parametrize(
    "metric",
    [
        MetricType.ERROR_RATE,
        MetricType.SYSTEM_LOAD,
        MetricType.CPU_USAGE,
        MetricType.MEMORY_USAGE,
    ],
)
def test_percent_is_refused_where_a_ratio_belongs(metric: MetricType, limit: float) -> None:
    """A limit of 5 for an error rate means per cent, which would never be reached."""
    with pytest.raises(UsageError, match=r"one per cent is 0\.01"):
        PerformanceThreshold(metric, 0.01, 0.05, limit)


@pytest.mark.parametrize(
    ("limits", "more", "text"),
    [
        ((85.0, 70.0, 100.0), {}, "rising limits"),
        ((None, None, None), {}, "at least one limit"),
        ((math.nan, None, None), {}, "at least one limit"),
        ((-1.0, None, None), {}, "at least one limit"),
        ((1.0, 2.0, 3.0), {"window_size": 0.0}, "window_size"),
        ((1.0, 2.0, 3.0), {"hysteresis": 1.0}, "hysteresis"),
        ((1.0, 2.0, 3.0), {"minimum_samples": 0}, "minimum_samples"),
    ],
)
def test_senseless_limits_are_refused(
    limits: tuple[Any, Any, Any], more: dict[str, Any], text: str
) -> None:
    """What could never alarm, or always would, says so at once."""
    with pytest.raises(UsageError, match=text):
        PerformanceThreshold(MetricType.LATENCY, *limits, **more)


def test_an_error_rate_has_only_an_average() -> None:
    """A percentile of failed and not failed means nothing."""
    with pytest.raises(UsageError, match="average"):
        PerformanceThreshold(MetricType.ERROR_RATE, 0.01, evaluation_method=EvaluationMethod.P95)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (EvaluationMethod.AVERAGE, 50.5),
        (EvaluationMethod.MAXIMUM, 100.0),
        (EvaluationMethod.MINIMUM, 1.0),
        (EvaluationMethod.LAST, 1.0),
        (EvaluationMethod.P50, 50.0),
        (EvaluationMethod.P95, 95.0),
        (EvaluationMethod.P99, 99.0),
    ],
)
def test_evaluation_methods(method: EvaluationMethod, expected: float) -> None:
    """Each method takes from the values what its name says."""
    assert expected == evaluate(method, np.arange(100.0, 0.0, -1.0))
    assert evaluate(method, np.empty(0)) is None


def test_defaults_follow_the_target_and_the_budgets() -> None:
    """The latency's limits are shares of the target; each stage warns at its budget."""
    settings = load_settings(broker="none:1")
    found = {(each.metric_type, each.subject): each for each in default_thresholds(settings, 200.0)}
    latency = found[MetricType.LATENCY, CASCADE]
    assert (140.0, 170.0, 200.0) == tuple(latency.limits.values())
    assert latency.evaluation_method is EvaluationMethod.P95
    budget_ms = settings.scaled_budget_ms("risk")
    assert budget_ms == found[MetricType.LATENCY, "risk"].warning_threshold
    assert 30_000.0 == found[MetricType.LATENCY, OLDEST_OPEN_FLOW].warning_threshold
    assert (0.01, 0.05, 0.1) == tuple(found[MetricType.ERROR_RATE, CASCADE].limits.values())
    assert (500.0, 300.0, 100.0) == tuple(found[MetricType.THROUGHPUT, CASCADE].limits.values())
    assert (500.0, 800.0, 1000.0) == tuple(found[MetricType.QUEUE_DEPTH, CASCADE].limits.values())
    assert (0.7, 0.8, 0.9) == tuple(found[MetricType.SYSTEM_LOAD, CASCADE].limits.values())
