"""What is tried next and what is recommended, on functions whose minimum is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.settings import load_settings
from pipeline.watch.tuning import (
    ROUNDS,
    Bounds,
    Observation,
    Setting,
    bounds_of,
    default_of,
    next_setting,
    recommend,
)

BOUNDS = Bounds(30)
DEFAULT = Setting(30, 500)


def _seen(setting: Setting, p99_ms: float, error_rate: float = 0.0) -> Observation:
    return Observation(
        time=0, mode="single", rate=1000.0, timeout_ms=100, gather_ms=setting.gather_ms,
        round_max_records=setting.round_max_records, p99_ms=p99_ms, cpu_us=300.0,
        error_rate=error_rate,
    )  # fmt: skip


def _valley(setting: Setting) -> float:
    """Return a p99 that is lowest, 40 ms, at 10 ms and rounds of 200; 80 ms at the default."""
    wait = (setting.gather_ms - 10) / 20
    size = math.log(setting.round_max_records / 200) / math.log(500 / 200)
    return 40.0 * math.exp(0.55 * wait**2 + 0.143 * size**2)


def _flat(setting: Setting) -> float:
    del setting
    return 80.0


def _tried(p99: Callable[[Setting], float], trials: int, seed: int) -> list[Observation]:
    """Return observations of a function with 5 % noise, each setting chosen after the last."""
    noise = np.random.default_rng(seed)
    found: list[Observation] = []
    for _ in range(trials):
        setting = next_setting(found, BOUNDS, DEFAULT, seed)
        found.append(_seen(setting, p99(setting) * math.exp(noise.normal(0.0, 0.05))))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_of_a_noisy_function_is_found(seed: int) -> None:
    """After 14 trials the recommended setting is within 20 % of the lowest p99 there is."""
    found = _tried(_valley, 14, seed)
    said = recommend(found, BOUNDS, DEFAULT)
    assert _valley(said.setting) < 1.2 * 40.0
    assert said.setting == said.challenger
    assert said.better > 0.95
    assert said.least_ms < said.p99_ms < said.most_ms
    assert said.p99_ms == pytest.approx(_valley(said.setting), rel=0.15)


def test_the_process_looks_where_it_is_low() -> None:
    """The last 6 of 14 trials lie lower than the average of the grid by a fifth."""
    tried = [each.setting for seed in range(3) for each in _tried(_valley, 14, seed)[8:]]
    chosen, anywhere = (
        float(np.mean([_valley(each) for each in some])) for some in (tried, BOUNDS.grid())
    )
    assert chosen < 0.8 * anywhere


def test_the_default_is_recommended_where_nothing_beats_it() -> None:
    """Noise makes some setting look best in each of 8 histories: in at most one it is believed."""
    said = [recommend(_tried(_flat, 10, seed), BOUNDS, DEFAULT) for seed in range(8)]
    cautious = [each for each in said if each.setting == DEFAULT]
    assert len(cautious) >= 7
    assert all(each.challenger not in {None, DEFAULT} for each in cautious)
    assert all("is asked for of the best of" in each.reason for each in cautious)


def test_one_lucky_run_is_not_believed() -> None:
    """A single value 5 % lower is within the noise that is always assumed."""
    lucky = Setting(10, 200)
    found = [_seen(DEFAULT, 80.0), _seen(DEFAULT, 80.0), _seen(lucky, 76.0)]
    said = recommend(found, BOUNDS, DEFAULT)
    assert (DEFAULT, lucky) == (said.setting, said.challenger)


def test_only_what_was_measured_is_recommended() -> None:
    """Though the process may expect more in between."""
    found = [_seen(DEFAULT, 80.0), _seen(Setting(0, 50), 50.0), _seen(Setting(20, 50), 50.0)] * 3
    assert recommend(found, BOUNDS, DEFAULT).setting in {each.setting for each in found}


def test_who_lets_packets_fail_is_no_rival() -> None:
    """A low p99 of what is left counts for nothing where 2 % more of the packets fail."""
    hasty = Setting(10, 200)
    default = [_seen(DEFAULT, 80.0, 0.005)] * 3
    said = recommend([*default, *[_seen(hasty, 40.0, 0.025)] * 3], BOUNDS, DEFAULT)
    assert (DEFAULT, None) == (said.setting, said.challenger)
    assert recommend([*default, *[_seen(hasty, 40.0, 0.01)] * 3], BOUNDS, DEFAULT).setting == hasty


def test_bounds_hold() -> None:
    """No setting is tried beyond them, nor recommended, whatever a history says of it."""
    beyond = [_seen(Setting(90, 500), 1.0), _seen(Setting(10, 20), 1.0)] * 3

    def falling(setting: Setting) -> float:
        """Return a p99 that gets lower the farther one goes."""
        return 100.0 - setting.gather_ms - setting.round_max_records / 100.0

    found = [*_tried(falling, 10, 1), *beyond]
    assert all(BOUNDS.holds(each.setting) for each in found[:10])
    assert BOUNDS.holds(next_setting(found, BOUNDS, DEFAULT, 1))
    said = recommend(found, BOUNDS, DEFAULT)
    assert BOUNDS.holds(said.setting)
    assert said.challenger is not None
    assert BOUNDS.holds(said.challenger)


def test_bounds_follow_the_time_that_packets_have() -> None:
    """Nobody gathers for longer than 0.3 of it, so the default is cut as `Settings` cuts it."""
    short = load_settings(cascade_timeout_ms=40)
    bounds = bounds_of(short)
    assert (12, *ROUNDS) == (bounds.most_gather_ms, bounds.least_round, bounds.most_round)
    assert Setting(12, 500) == default_of(bounds)
    assert short.gather_s * 1000 == pytest.approx(default_of(bounds).gather_ms)
    assert DEFAULT == default_of(bounds_of(load_settings()))
    assert all(bounds.holds(each) for each in bounds.grid())


def test_the_same_seed_tries_the_same() -> None:
    """The same observations lead to the same settings, and to the same prediction."""
    first, second = (_tried(_valley, 8, 1) for _ in range(2))
    assert first == second
    assert recommend(first, BOUNDS, DEFAULT) == recommend(second, BOUNDS, DEFAULT)


def test_the_seed_decides_among_equals() -> None:
    """From the middle all four corners are equally far: each seed has its own, always."""
    bounds, middle = Bounds(30, 50, 1800), Setting(15, 300)
    chosen = [
        {next_setting([_seen(middle, 80.0)], bounds, middle, seed) for _ in range(10)}
        for seed in range(10)
    ]
    assert all(len(each) == 1 for each in chosen)
    assert len(set().union(*chosen)) > 1


def test_the_default_comes_first() -> None:
    """What was not measured cannot be compared with."""
    assert next_setting([], BOUNDS, DEFAULT, 0) == DEFAULT
    assert next_setting([_seen(Setting(10, 200), 50.0)], BOUNDS, DEFAULT, 0) == DEFAULT
    with pytest.raises(ValueError, match="observation of the default"):
        recommend([_seen(Setting(10, 200), 50.0)], BOUNDS, DEFAULT)
