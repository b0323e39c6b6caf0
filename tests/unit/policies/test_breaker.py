"""The circuit breaker: when it opens, what it lets through, how it closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policies.breaker import Breaker, BreakerState


class Time:
    """Seconds that run when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _opened(failures: int = 3) -> tuple[Breaker, Time]:
    time = Time()
    breaker = Breaker(failures, 30.0, time)
    for _ in range(failures):
        breaker.failed()
    return breaker, time


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    """One fewer leaves it closed."""
    breaker = Breaker(3, 30.0, Time())
    breaker.failed()
    breaker.failed()
    assert (BreakerState.CLOSED, True) == (breaker.state, breaker.allows())
    breaker.failed()
    assert (BreakerState.OPEN, False, 1) == (breaker.state, breaker.allows(), breaker.trips)


def test_a_success_starts_the_count_anew() -> None:
    """Failures must come in a row."""
    breaker = Breaker(2, 30.0, Time())
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert BreakerState.CLOSED is breaker.state


def test_it_stays_open_for_its_time() -> None:
    """Until then nobody asks; from then on it is half open."""
    breaker, time = _opened()
    time.now_s = 29.9
    assert not breaker.allows()
    time.now_s = 30.0
    assert BreakerState.HALF_OPEN is breaker.state


def test_half_open_lets_one_probe_through() -> None:
    """The second asker has to wait for the first one's outcome."""
    breaker, time = _opened()
    time.now_s = 30.0
    assert [True, False, False] == [breaker.allows() for _ in range(3)]


def test_a_good_probe_closes_it() -> None:
    """From then on it takes the full number of failures again."""
    breaker, time = _opened()
    time.now_s = 30.0
    assert breaker.allows()
    breaker.succeeded()
    breaker.failed()
    breaker.failed()
    assert BreakerState.CLOSED is breaker.state


def test_a_bad_probe_opens_it_for_its_whole_time() -> None:
    """One failure is enough, and the time starts anew."""
    breaker, time = _opened()
    time.now_s = 40.0
    assert breaker.allows()
    breaker.failed()
    time.now_s = 69.9
    assert (BreakerState.OPEN, 2) == (breaker.state, breaker.trips)
    time.now_s = 70.0
    assert breaker.allows()


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_forced_open_stays_until_reset(outcome: str) -> None:
    """Neither time nor outcomes lift it."""
    time = Time()
    breaker = Breaker(1, 30.0, time)
    breaker.force_open()
    getattr(breaker, outcome)()
    time.now_s = 1e6
    assert (BreakerState.FORCED_OPEN, False) == (breaker.state, breaker.allows())
    breaker.reset()
    assert breaker.allows()


@given(st.lists(st.sampled_from(["ok", "bad", "wait"])))
def test_whoever_is_let_through_can_always_end_it(steps: list[str]) -> None:
    """Whatever happened before, time passes and a success closes it again."""
    time = Time()
    breaker = Breaker(2, 30.0, time)
    for step in steps:
        if step == "wait":
            time.now_s += 31.0
        elif breaker.allows():
            breaker.succeeded() if step == "ok" else breaker.failed()
    time.now_s += 31.0
    assert breaker.allows()
    breaker.succeeded()
    assert BreakerState.CLOSED is breaker.state
