"""Breaches that are foreseen, and noise of which none is."""

import numpy as np
import pytest

from pipeline.watch.forecast import forecast

_SECONDS = np.arange(60.0)


def _noise(seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, scale, len(_SECONDS))


def test_a_line_that_leads_to_the_limit_is_foreseen_in_time() -> None:
    """From 30 at 0.5 a second, 50 is 40 seconds away."""
    seen = forecast(_SECONDS, 0.5 * _SECONDS + _noise(1), 50.0, 60.0)
    assert seen is not None
    assert seen.breach_s == pytest.approx(40.0, abs=8.0)
    assert seen.probability > 0.99
    assert seen.expected == pytest.approx(60.0, abs=4.0)


def test_what_lies_beyond_the_horizon_is_not_told_of() -> None:
    """Nor what may be reached, but not surely."""
    line = 0.5 * _SECONDS + _noise(1)
    assert forecast(_SECONDS, line, 50.0, 30.0) is None
    assert forecast(_SECONDS, line, 60.0, 60.0) is None


def test_a_limit_that_is_passed_is_no_matter_of_foresight() -> None:
    """The rule itself says so."""
    assert forecast(_SECONDS, 0.5 * _SECONDS + _noise(1), 20.0, 60.0) is None


def test_below_counts_where_less_is_worse() -> None:
    """And a fall is no breach of an upper limit."""
    falling = 60.0 - 0.5 * _SECONDS + _noise(2)
    assert forecast(_SECONDS, falling, 10.0, 60.0, below=True) is not None
    assert forecast(_SECONDS, falling, 80.0, 60.0) is None


def test_noise_leads_nowhere() -> None:
    """Of 200 steady series with a limit three deviations away at most two are taken for a rise."""
    alarms = sum(
        forecast(_SECONDS, 10.0 + _noise(seed), 13.0, 60.0) is not None for seed in range(200)
    )
    assert alarms <= 2


def test_too_few_points_say_nothing() -> None:
    """Nor does a constant."""
    assert forecast(_SECONDS[:4], _SECONDS[:4], 10.0, 60.0) is None
    assert forecast(_SECONDS, np.full(60, 3.0), 10.0, 60.0) is None
