import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.market.schedule import RateSchedule, SpeedSchedule, make_schedule

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


@given(index=st.integers(0, 10**9), rate=st.floats(0.01, 1e6))
def test_rate_gives_each_record_its_time(index: int, rate: float) -> None:
    """Record i is due at i / rate: rounding does not add up."""
    assert abs(RateSchedule(rate).due_us(index, 0) - index * SECOND_US / rate) <= 0.5 + index * 1e-9


def test_rate_times_seconds_records_are_due_within_that_time() -> None:
    """At 200 a second exactly 4000 records are due within 20 seconds."""
    schedule = RateSchedule(200.0)
    assert sum(schedule.due_us(i, 0) < 20 * SECOND_US for i in range(5000)) == 4000


def test_speed_follows_the_bars_own_times() -> None:
    """At speed 60 minute bars are due a second apart, bars of one time together."""
    schedule = SpeedSchedule(60.0)
    times = [0, 0, MINUTE_US, MINUTE_US, 3 * MINUTE_US]
    due = [schedule.due_us(i, 5 * MINUTE_US + time) for i, time in enumerate(times)]
    assert due == [0, 0, SECOND_US, SECOND_US, 3 * SECOND_US]


def test_speed_shortens_nights() -> None:
    """A pause of more than an hour counts as a minute."""
    schedule = SpeedSchedule(60.0)
    due = [schedule.due_us(i, time) for i, time in enumerate((0, 18 * 3600 * SECOND_US))]
    assert due == [0, SECOND_US]


@given(st.lists(st.integers(0, 10**15), min_size=2, max_size=50))
def test_speed_never_goes_back(times: list[int]) -> None:
    """Bars out of order are due at once, never before the last."""
    schedule = SpeedSchedule(3.0)
    due = [schedule.due_us(i, time) for i, time in enumerate(times)]
    assert all(earlier <= later for earlier, later in pairwise(due))


@pytest.mark.parametrize(
    ("rate", "speed"),
    [(1.0, 1.0), (-1.0, None), (math.inf, None), (math.nan, None), (None, 0.0), (None, -1.0)],
)
def test_impossible_schedules_are_refused(rate: float | None, speed: float | None) -> None:
    """Both at once, or one out of range, is an error."""
    with pytest.raises(UsageError, match="Expected"):
        make_schedule(rate, speed)


@pytest.mark.parametrize("rate", [None, 0.0])
def test_no_rate_is_no_schedule(rate: float | None) -> None:
    """Without rate and speed, or with rate 0, records go as fast as can be."""
    assert make_schedule(rate, None) is None
