"""Forecasts and recommendations on what the monitor recorded of real runs; see tests/recordings.

The recordings were made on two cores that others used too (a load average of 15 to 30 stands in
their metadata), so the steady ones are a hard test: latencies jump tenfold for seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.settings import AlertRule, AlertSettings
from pipeline.watch.alerting.forewarning import Forewarner
from pipeline.watch.alerting.series import picked, read_series
from pipeline.watch.scaling import ScalingAdvisor
from tests.recordings.record import Recording, load

_SECOND_US = 1_000_000
_NOW_US = 1_700_000_000 * _SECOND_US
_STEP_S = 5
_STEADY = ("steady-1", "steady-2", "steady-3")
_MOST_FALSE_PER_HOUR = 1.0
_OFFERED = "cascade_offered_packets_per_second"
_LATENCY = 'cascade_end_to_end_latency_quantile_seconds{path="any",quantile="0.99"}'


@dataclass(slots=True)
class _Player:
    """Plays a recording: knows nothing of what comes after `at_s`."""

    recording: Recording
    at_s: float = 0.0

    @property
    def now_us(self) -> int:
        return _NOW_US + int(self.at_s * _SECOND_US)

    def points(self, series: str, since_us: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        times_s, numbers = self.recording.times_s, self.recording.series[series]
        since_s = (since_us - _NOW_US) / _SECOND_US
        known = (times_s <= self.at_s) & (times_s >= since_s) & ~np.isnan(numbers)
        times_us = _NOW_US + (times_s[known] * _SECOND_US).astype(np.int64)
        return times_us, numbers[known]

    def figures(self) -> Mapping[str, float]:
        row = int(np.searchsorted(self.recording.times_s, self.at_s, side="right")) - 1
        numbers = {name: float(column[row]) for name, column in self.recording.series.items()}
        return {name: number for name, number in numbers.items() if not np.isnan(number)}

    def each(self, look: Callable[[], None]) -> None:
        """Call `look` every five seconds of the recording."""
        for second in range(_STEP_S, int(self.recording.times_s[-1]), _STEP_S):
            self.at_s = float(second)
            look()


def _foreseen(
    player: _Player, rules: Mapping[str, AlertRule], series: Sequence[str]
) -> list[float]:
    """Return when alerts before a breach were raised."""
    forewarner, moments = Forewarner(player.points), list[float]()

    def look() -> None:
        found = forewarner.look(rules, series, (), player.now_us)
        moments.extend(player.at_s for each in found if each.state is not None)

    player.each(look)
    return moments


@pytest.mark.parametrize(
    ("name", "series", "limit", "least_lead_s"),
    [
        ("backlog-1", 'cascade_backlog_records{stage="tactical"}', 5000.0, 20.0),
        ("backlog-1", 'cascade_backlog_age_seconds{stage="tactical"}', 60.0, 10.0),
        ("failing-1", "cascade_failure_ratio", 0.15, 10.0),
        ("failing-1", "cascade_host_memory_ratio", 0.2, 20.0),
        ("overload-1", _LATENCY, 2.5, 5.0),
        ("ramp-1", _OFFERED, 300.0, 10.0),
        ("ramp-2", _OFFERED, 400.0, 20.0),
    ],
)
def test_a_breach_is_foreseen(name: str, series: str, limit: float, least_lead_s: float) -> None:
    """Lag, errors, memory, latency, load: told of at least so long before the limit."""
    recording = load(name)
    breach_s = float(recording.times_s[np.argmax(recording.series[series] >= limit)])
    metric, labels = read_series(series)
    rule = AlertRule(metric=metric, where=dict(labels), critical=limit, foresee=60.0)
    moments = _foreseen(_Player(recording), {"rule": rule}, [series])
    assert moments
    assert breach_s - moments[0] >= least_lead_s


def test_false_alarms_on_steady_runs_are_rare() -> None:
    """At most one an hour and series, with limits a quarter above and twice the highest value.

    Whatever is foreseen of such a limit is wrong, for the run never reaches it. Series are those of
    the built-in rules that look ahead.
    """
    alarms, hours = 0, 0.0
    for name in _STEADY:
        recording = load(name)
        for rule in AlertSettings().rules.values():
            if rule.foresee <= 0.0:
                continue
            for _, series in picked(recording.series, rule.metric, rule.where):
                highest = float(np.nanmax(recording.series[series]))
                for factor in (1.25, 2.0) if highest > 0.0 else ():
                    limits = {"warning": highest * factor, "critical": None, "emergency": None}
                    strict = rule.model_copy(update=limits)
                    alarms += len(_foreseen(_Player(recording), {"rule": strict}, [series]))
                    hours += float(recording.times_s[-1]) / 3600
    assert hours > 0.5
    assert alarms / hours <= _MOST_FALSE_PER_HOUR, f"{alarms} false alarms in {hours:.2f} hours"


def test_rising_load_and_a_growing_backlog_ask_for_workers() -> None:
    """Tactical, which works nothing off, gets one more and then no more than that at a time."""
    player = _Player(load("backlog-1"))
    advisor = ScalingAdvisor(player.points, {"tactical": 4, "strategic": 4})
    seen: dict[str, list[int]] = {"tactical": [], "strategic": []}

    def look() -> None:
        live = {f'cascade_live_workers{{system="{name}"}}': 1.0 for name in seen}
        for advice in advisor.advise({**player.figures(), **live}, player.now_us):
            seen[advice.stage].append(advice.recommended)

    player.each(look)
    assert (1, 2) == (seen["tactical"][0], max(seen["tactical"]))
    assert {1} == set(seen["strategic"])
