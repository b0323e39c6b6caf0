import pytest

from pipeline.watch.lag import LagState, PartitionLag, SystemLag, together


def _follow(observations: list[tuple[float, int, int | None]]) -> SystemLag:
    """Return the lag after (moment, end, committed) observations."""
    lag = PartitionLag()
    for at_s, end, committed in observations:
        lag.take(end, committed, at_s)
    return lag.now(observations[-1][0])


def test_a_commit_is_held_against_the_end_before_it() -> None:
    """A group that commits once a second is not behind by what came within that second."""
    found = _follow([(second, 1000 * (second + 1), 1000 * second) for second in range(1, 20)])
    assert (0, 0.0, LagState.OK) == (found.records, found.seconds, found.state)
    assert pytest.approx(1000.0) == found.worked_off_per_second


def test_a_growing_lag_is_a_warning() -> None:
    """Working, but never catching up: it falls behind."""
    found = _follow([(second, 1000 * second, 600 * second) for second in range(1, 50)])
    assert LagState.WARN is found.state
    assert found.records is not None
    assert 48_000 - 49 * 600 == found.records


def test_a_lag_that_falls_at_times_is_none_to_worry_of() -> None:
    """Burrow's rule: a lag that falls somewhere in the window is OK, whatever its size."""
    lags = (500, 700, 400, 650, 500, 700, 600)
    found = _follow([(n, 1000 * n + lag, 1000 * (n - 1)) for n, lag in enumerate(lags, start=1)])
    assert LagState.OK is found.state


def test_no_commit_while_records_wait_is_a_stall() -> None:
    """A dead worker is seen after a few seconds, with the age of what waits."""
    alive: list[tuple[float, int, int | None]] = [(n, 100 * n, 100 * n) for n in range(5)]
    dead: list[tuple[float, int, int | None]] = [(n, 100 * n, 400) for n in range(5, 15)]
    found = _follow(alive + dead)
    assert (LagState.STALL, 1000) == (found.state, found.records)
    assert 9.0 == found.seconds  # the first record that waits came at second 5


def test_an_idle_group_is_fine() -> None:
    """Nothing comes, nothing is committed, nothing waits."""
    found = _follow([(n, 100, 100) for n in range(20)])
    assert (0, 0.0, LagState.OK) == (found.records, found.seconds, found.state)


def test_a_position_that_goes_back_is_a_rewind() -> None:
    """Somebody reset the group."""
    found = _follow([(1, 100, 100), (2, 200, 200), (3, 300, 50), (4, 400, 400)])
    assert LagState.REWIND is found.state


def test_a_group_that_never_committed_is_no_data() -> None:
    """No commit is not a lag of 0."""
    found = _follow([(n, 100 * n, None) for n in range(10)])
    assert (None, None, LagState.NO_DATA) == (found.records, found.seconds, found.state)


def test_a_long_stall_keeps_its_age() -> None:
    """However many ends were seen meanwhile, the first record that waits keeps its moment."""
    lag = PartitionLag()
    lag.take(10, 10, 0.0)
    for second in range(1, 10_000):
        lag.take(10 + second, 10, float(second))
    assert lag.now(9_999.0).seconds == pytest.approx(9_998.0, abs=1.0)


def test_partitions_together_are_as_bad_as_the_worst() -> None:
    """Records add up, the state is the worst; partitions without data are left out."""
    nothing = SystemLag(None, None, LagState.NO_DATA)
    found = together(
        [
            nothing,
            SystemLag(5, 1.0, LagState.OK, 10.0),
            SystemLag(7, 3.0, LagState.STALL, 0.0),
        ]
    )
    assert SystemLag(12, 3.0, LagState.STALL, 10.0) == found
    assert nothing == together([nothing])
