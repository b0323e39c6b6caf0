"""How many workers a stage should have: busy, growing, behind, capped, held."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.settings import ScalingSettings
from pipeline.stages.routes import ROUTES
from pipeline.watch.scaling import ScalingAdvisor, partitions_of_stages

_SECOND_US = 1_000_000
_NOW_US = 1_700_000_000 * _SECOND_US
_MOST = {"strategic": 4, "risk": 1}
_OFFERED = "cascade_offered_packets_per_second"
UP_S, DOWN_S = ScalingSettings().up, ScalingSettings().down


class _History:
    """Series of the last minute, by name; constants where there is none."""

    def __init__(self, **slopes: float) -> None:
        self.slopes = slopes

    def points(self, series: str, since_us: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        seconds = np.arange(60, dtype=np.int64)
        slope = self.slopes.get(series.partition("{")[0], 0.0)
        rising = np.asarray(100.0 + slope * seconds, dtype=np.float64)
        return _NOW_US + (seconds - 59) * _SECOND_US, rising


def _figures(stage: str, workers: int, busy: float, behind_s: float = 0.0) -> Mapping[str, float]:
    return {
        f'cascade_live_workers{{system="{stage}"}}': float(workers),
        f'cascade_stage_utilisation_ratio{{stage="{stage}"}}': busy,
        f'cascade_backlog_age_seconds{{stage="{stage}"}}': behind_s,
    }


def _after(
    advisor: ScalingAdvisor, figures: Mapping[str, float], seconds: float
) -> tuple[int, str]:
    """Return what is recommended after the same has been measured for so long, and why."""
    for second in range(int(seconds) + 1):
        (advice,) = advisor.advise(figures, _NOW_US + second * _SECOND_US)
    return advice.recommended, advice.reason


@pytest.mark.parametrize(
    ("workers", "busy", "expected"),
    [(1, 0.7, 1), (1, 0.71, 2), (2, 0.8, 2), (2, 0.95, 3), (2, 0.5, 1), (4, 1.0, 4)],
)
def test_as_many_as_would_be_busy_for_the_target(workers: int, busy: float, expected: int) -> None:
    """Of two that are busy in turn 80 % of the time, each is for 55 %; never above partitions."""
    advisor = ScalingAdvisor(_History().points, _MOST)
    assert expected == _after(advisor, _figures("strategic", workers, busy), DOWN_S)[0]


def test_target_and_patience_are_settings() -> None:
    """Half the target doubles the workers, and is recommended at once where it need not hold."""
    limits = ScalingSettings(target=0.35, up=0.001, down=0.001)
    advisor = ScalingAdvisor(_History().points, _MOST, limits)
    assert 2 == _after(advisor, _figures("strategic", 1, 0.7), 1)[0]
    assert 1 == _after(advisor, _figures("strategic", 2, 0.1), 2)[0]


def test_more_is_recommended_only_once_it_has_held() -> None:
    """A busy moment changes nothing, and a calm one begins the count anew."""
    advisor = ScalingAdvisor(_History().points, _MOST)
    busy, calm = _figures("strategic", 1, 0.9), _figures("strategic", 1, 0.5)
    assert 1 == _after(advisor, busy, UP_S - 1)[0]
    assert 1 == _after(advisor, calm, 0)[0]
    assert 1 == _after(advisor, busy, UP_S - 1)[0]
    assert 2 == _after(advisor, busy, UP_S)[0]


def test_fewer_are_recommended_only_after_long() -> None:
    """Each change costs a rebalance."""
    advisor = ScalingAdvisor(_History().points, _MOST)
    calm = _figures("strategic", 3, 0.1)
    assert 3 == _after(advisor, calm, DOWN_S - 1)[0]
    assert 1 == _after(advisor, calm, DOWN_S)[0]


def test_load_that_is_coming_counts() -> None:
    """100 packets/s that grow by 1 a second more than half as many again in a minute."""
    advisor = ScalingAdvisor(_History(**{_OFFERED: 1.0}).points, _MOST)
    recommended, reason = _after(advisor, _figures("strategic", 1, 0.6), UP_S)
    assert 2 == recommended
    assert "more load is coming" in reason


def test_a_stage_that_falls_behind_gets_one_more() -> None:
    """However idle it looks; a backlog that does not grow is being worked off."""
    behind = _figures("strategic", 1, 0.2, behind_s=5.0)
    growing = ScalingAdvisor(_History(cascade_backlog_records=10.0).points, _MOST)
    assert 2 == _after(growing, behind, UP_S)[0]
    steady = ScalingAdvisor(_History().points, _MOST)
    assert 1 == _after(steady, behind, UP_S)[0]


def test_one_partition_takes_one_worker_and_the_reason_says_so() -> None:
    """More would stand by."""
    advisor = ScalingAdvisor(_History().points, _MOST)
    recommended, reason = _after(advisor, _figures("risk", 1, 1.0), UP_S)
    assert 1 == recommended
    assert "1 partitions" in reason


def test_a_stage_without_workers_gets_no_recommendation() -> None:
    """Nothing tells how many it needs."""
    advisor = ScalingAdvisor(_History().points, _MOST)
    assert () == advisor.advise({}, _NOW_US)


def test_the_partitions_are_those_of_the_topics_file() -> None:
    """One number for each stage."""
    found = partitions_of_stages()
    assert ROUTES.keys() == found.keys()
    assert (4, 1) == (found["strategic"], found["execution"])
