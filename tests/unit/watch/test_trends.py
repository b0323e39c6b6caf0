import math

import numpy as np
import pytest

from pipeline.watch.trends import Trend, TrendDirection, trend_of

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


def _noise(seed: int, count: int, scale: float) -> Floats:
    return np.random.default_rng(seed).normal(0.0, scale, count)


@pytest.mark.parametrize("slope", [0.3, -0.3, 0.08])
def test_a_known_trend_is_recovered(slope: float) -> None:
    """The slope of a noisy line is found within a tenth, and its direction."""
    times = np.arange(6000) / 10
    values = 400.0 + slope * times + _noise(1, 6000, 5.0)

    found = trend_of(times, values)

    assert slope == pytest.approx(found.slope_per_s, rel=0.1)
    expected = TrendDirection.RISING if slope > 0 else TrendDirection.FALLING
    assert expected is found.direction


def test_outliers_do_not_bend_the_slope() -> None:
    """A tenth of wild values, all at one end, leaves the slope within a tenth."""
    times = np.arange(0.0, 60.0)
    values = 50.0 + 0.5 * times
    values[-6:] = 1000.0
    assert pytest.approx(0.5, rel=0.1) == trend_of(times, values).slope_per_s


def test_a_flat_noisy_series_has_no_trend() -> None:
    """Of 500 flat series at most a handful seem to have a trend: the test's own error of 1 %."""
    times = np.arange(600) / 10
    found = [trend_of(times, 20.0 + _noise(seed, 600, 3.0)).direction for seed in range(500)]
    assert found.count(TrendDirection.STEADY) >= 490


def test_a_small_change_is_none_however_certain() -> None:
    """A change of one per cent is no trend, though no chance explains it."""
    times = np.arange(0.0, 60.0)
    found = trend_of(times, 100.0 + times / 60.0)
    assert found.p_value < 1e-6
    assert found.direction is TrendDirection.STEADY


def test_wandering_is_told_from_a_trend_better_than_without_correction() -> None:
    """Neighbours that have much in common widen the test's variance."""
    wandering = np.zeros(60)
    shocks = _noise(5, 60, 1.0)
    for index in range(1, 60):
        wandering[index] = 0.95 * wandering[index - 1] + shocks[index]
    line = np.arange(0.0, 60.0)
    alone = trend_of(line, line + _noise(6, 60, 0.5)).p_value
    together = trend_of(line, line * 0.2 + wandering * 3).p_value
    assert alone < 1e-12
    assert together > 1e-12


def test_too_few_points_are_no_data() -> None:
    """Of seven points nothing is said, of none nothing either."""
    times = np.arange(0.0, 7.0)
    for count in (0, 1, 7):
        found = trend_of(times[:count], times[:count])
        assert found.direction is TrendDirection.NO_DATA
        assert found.seconds_to(100.0) is None


def test_values_that_are_missing_are_left_out() -> None:
    """A sample without a value is as if it was not taken."""
    times = np.arange(0.0, 60.0)
    values = 10.0 + times
    values[::3] = math.nan
    assert pytest.approx(1.0) == trend_of(times, values).slope_per_s


@pytest.mark.parametrize(("limit", "ahead_s"), [(100.0, 20.0), (60.0, None), (80.0, 0.0)])
def test_time_to_a_limit(limit: float, ahead_s: float | None) -> None:
    """The trend line says when a limit is reached; one that lies behind is not."""
    trend = Trend(TrendDirection.RISING, slope_per_s=1.0, level=80.0)
    assert ahead_s == trend.seconds_to(limit)


def test_a_series_without_any_change_is_steady() -> None:
    """All values the same: no trend, no division by nothing."""
    found = trend_of(np.arange(0.0, 60.0), np.zeros(60))
    assert (TrendDirection.STEADY, 0.0, 1.0) == (found.direction, found.change, found.p_value)
