"""The level of one system under one rule: limits, hold, clear, hysteresis, windows."""

from collections.abc import Sequence

import pytest

from pipeline.packets.events import PerformanceAlert
from pipeline.settings import AlertRule
from pipeline.watch.alerting.rules import RuleWatch
from tests.unit.watch.alerting.factories import NOW_US, SECOND_US


def _levels(
    rule: AlertRule, values: Sequence[float | None], level: PerformanceAlert | None = None
) -> str:
    """Return the level after each value, one a second: a letter each, `-` for none."""
    watch = RuleWatch(rule, level)
    found = []
    for second, value in enumerate(values):
        watch.take(value, NOW_US + second * SECOND_US)
        found.append(watch.level.value[0] if watch.level else "-")
    return "".join(found)


def test_a_level_is_entered_at_its_limit() -> None:
    """The limit itself counts; the highest limit that is reached decides."""
    rule = AlertRule(metric="m", info=1, warning=2, critical=3, emergency=4, hysteresis=0)
    assert "-IWCE" == _levels(rule, [0.9, 1, 2, 3, 4])


def test_below_is_worse_where_the_rule_says_so() -> None:
    """A throughput is bad under its limits."""
    rule = AlertRule(metric="m", direction="below", warning=10, critical=5, hysteresis=0)
    assert "-WC-" == _levels(rule, [11, 10, 5, 11])


def test_a_limit_must_hold_before_it_counts() -> None:
    """One that is passed for less than `hold` seconds raises nothing, and the count begins anew."""
    rule = AlertRule(metric="m", warning=1, hold=2, hysteresis=0)
    assert "-----W" == _levels(rule, [1, 1, 0, 1, 1, 1])


def test_the_threshold_is_when_the_limit_had_held() -> None:
    """What delivery is measured from is the passing of the limit and `hold`."""
    watch = RuleWatch(AlertRule(metric="m", warning=1, hold=1.5))
    for second in range(3):
        watch.take(1.0, NOW_US + second * SECOND_US)
    assert NOW_US + 1_500_000 == watch.threshold_us


def test_a_level_is_left_below_the_hysteresis_only() -> None:
    """A value that swings about its limit makes one alert."""
    rule = AlertRule(metric="m", warning=10, hysteresis=0.1)
    assert "WWWW-" == _levels(rule, [10, 9.5, 10, 9.0, 8.9])


def test_a_level_is_left_only_after_it_has_been_clear_for_long_enough() -> None:
    """One better value ends nothing."""
    rule = AlertRule(metric="m", warning=1, clear=2, hysteresis=0)
    assert "WWWWWW-" == _levels(rule, [1, 0, 0, 1, 0, 0, 0])


def test_it_gets_better_step_by_step() -> None:
    """Below the upper limit the lower one still holds."""
    rule = AlertRule(metric="m", warning=1, critical=2, hysteresis=0)
    assert "CW-" == _levels(rule, [2, 1, 0])


def test_no_data_neither_raises_nor_ends() -> None:
    """Nothing measured is no pass, and interrupts what had begun to count."""
    rule = AlertRule(metric="m", warning=1, hold=2, clear=2, hysteresis=0)
    assert "-----W" == _levels(rule, [1, 1, None, 1, 1, 1])
    assert "WWWW" == _levels(rule, [None, 0, None, 0], PerformanceAlert.WARNING)


def test_a_level_of_before_a_restart_holds_until_it_is_better() -> None:
    """The first value within the hysteresis ends nothing."""
    rule = AlertRule(metric="m", warning=10)
    assert "W-" == _levels(rule, [9.5, 5], PerformanceAlert.WARNING)


@pytest.mark.parametrize(
    ("method", "expected"), [("average", "--W"), ("maximum", "-WW"), ("last", "-W-")]
)
def test_a_window_is_looked_at_as_the_rule_says(method: str, expected: str) -> None:
    """Values within it count, older ones do not."""
    rule = AlertRule.model_validate(
        {"metric": "m", "warning": 10, "window": 1, "method": method, "hysteresis": 0}
    )
    assert expected == _levels(rule, [0, 12, 8])
