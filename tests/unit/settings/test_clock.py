from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import WallClock
from pipeline.testing import ManualClock


@dataclass
class _Machine:
    """The two clocks of a machine, both moved by hand."""

    wall_ns: int = 1_700_000_000_000_000_000
    monotonic_ns: int = 5_000_000_000

    def clock(self) -> WallClock:
        return WallClock(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def pass_ms(self, milliseconds: float, *, wall_ms: float | None = None) -> None:
        self.monotonic_ns += int(milliseconds * 1e6)
        self.wall_ns += int((milliseconds if wall_ms is None else wall_ms) * 1e6)

    @property
    def wall_us(self) -> int:
        return self.wall_ns // 1000


def test_it_starts_at_the_wall_clock_and_goes_on() -> None:
    """Time is the wall clock's, carried on by the monotonic clock."""
    machine = _Machine()
    clock = machine.clock()
    assert clock.now_us() == machine.wall_us
    machine.pass_ms(1234.5)
    assert clock.now_us() == machine.wall_us
    assert not clock.skewed


@pytest.mark.parametrize("jump_ms", [-10_000, -51, 51, 3_600_000])
def test_a_jump_of_the_wall_clock_is_not_followed_and_told(jump_ms: int) -> None:
    """More than 50 ms at once makes the clock skewed; its time goes on as if nothing was."""
    machine = _Machine()
    clock = machine.clock()
    machine.pass_ms(100)
    before = clock.now_us()
    machine.pass_ms(100, wall_ms=100 + jump_ms)
    assert clock.skewed
    assert clock.now_us() == before + 100_000


def test_it_recovers_when_the_wall_clock_is_put_back() -> None:
    """A jump that is undone leaves no trace."""
    machine = _Machine()
    clock = machine.clock()
    machine.pass_ms(100, wall_ms=400)
    jumped = clock.skewed
    machine.pass_ms(100, wall_ms=-200)
    assert (jumped, clock.skewed) == (True, False)


def test_anchoring_takes_the_wall_clock_for_right() -> None:
    """After a jump, anchoring ends the skew at the new time."""
    machine = _Machine()
    clock = machine.clock()
    machine.pass_ms(100, wall_ms=5000)
    jumped = clock.skewed
    clock.anchor()
    assert (jumped, clock.skewed) == (True, False)
    assert clock.now_us() == machine.wall_us


def test_a_slow_drift_is_caught_up_with() -> None:
    """A wall clock 0.05 % fast is followed for an hour, never off by as much as a jump."""
    machine = _Machine()
    clock = machine.clock()
    for _ in range(36_000):
        machine.pass_ms(100, wall_ms=100.05)
        assert not clock.skewed
    assert abs(clock.now_us() - machine.wall_us) < 1000


def test_a_small_step_is_made_up_for_slowly() -> None:
    """A step of 40 ms is no jump: the clock runs 0.1 % faster until it is made up for."""
    machine = _Machine()
    clock = machine.clock()
    machine.pass_ms(20, wall_ms=60)
    before, error_us = clock.now_us(), 40_000
    machine.pass_ms(1000)
    assert clock.now_us() - before == pytest.approx(1_001_000, abs=2)
    for _ in range(1000):
        machine.pass_ms(100)
        clock.now_us()
    assert abs(clock.now_us() - machine.wall_us) < error_us / 100


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(-2000, 2000)), max_size=60))
def test_time_never_runs_backwards(steps: list[tuple[float, float]]) -> None:
    """Whatever the wall clock does, later calls return no earlier time."""
    machine = _Machine()
    clock = machine.clock()
    last = clock.now_us()
    for monotonic_ms, wall_ms in steps:
        machine.pass_ms(monotonic_ms, wall_ms=wall_ms)
        now = clock.now_us()
        assert now >= last
        last = now


def test_readings_far_apart_are_not_compared() -> None:
    """Where the thread was stopped between the two readings, they say nothing of a jump."""
    ticks = iter(range(0, 10**12, 60_000_000))  # each reading 60 ms after the one before
    clock = WallClock(lambda: 1_700_000_000_000_000_000, lambda: next(ticks))
    assert not clock.skewed


def test_the_real_clock_is_not_skewed() -> None:
    """On a machine at rest the anchored clock agrees with the wall clock."""
    assert not WallClock().skewed


def test_a_manual_clock_stands_still_until_moved() -> None:
    """The clock for tests goes by its own steps alone."""
    clock = ManualClock(10)
    assert (clock.now_us(), clock.now_us()) == (10, 10)
    clock.advance(us=1, ms=2, s=3)
    assert clock.now_us() == 10 + 1 + 2_000 + 3_000_000
