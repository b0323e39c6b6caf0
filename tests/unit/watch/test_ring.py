import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.watch.ring import MOST_COLUMNS, Ring


def test_rows_come_back_by_column_and_moment() -> None:
    """A column has the numbers of its rows from a moment on, and none where a row had none."""
    ring = Ring(10)
    ring.append(1, {"a": 1.0})
    ring.append(2, {"a": 2.0, "b": 20.0})
    ring.append(3, {"b": 30.0})

    assert [2.0] == ring.values("a", 2).tolist()
    assert [20.0, 30.0] == ring.values("b", 0).tolist()
    assert [] == ring.values("unknown", 0).tolist()
    assert [[2.0], [20.0]] == ring.rows(("a", "b"), 0).tolist()


def test_oldest_rows_make_room() -> None:
    """A full ring has the last rows, in order."""
    ring = Ring(1000)
    for number in range(2500):
        ring.append(number, {"a": float(number)})

    times, values = ring.points("a", 0)

    assert list(range(1500, 2500)) == times.tolist() == values.tolist()
    assert (1000, 2500) == (len(ring), ring.appended)


def test_a_window_is_found_wherever_it_lies() -> None:
    """The rows of a window are the same as a look at every row gives, however many there are."""
    ring = Ring(5000)
    random = np.random.default_rng(1)
    moments = np.arange(7000) * 10 + random.integers(0, 50, 7000)  # a little out of order
    for moment in moments:
        ring.append(int(moment), {"a": float(moment)})
    kept = np.maximum.accumulate(moments)[-5000:]
    for since in (0, 40_000, 60_000, 69_000, 69_990, 99_999):
        times, values = ring.points("a", since)
        assert kept[kept >= since].tolist() == times.tolist()
        assert moments[-5000:][kept >= since].tolist() == values.tolist()


def test_latest_rows_are_counted_not_timed() -> None:
    """The latest rows are those appended last, whatever their moments."""
    ring = Ring(3)
    for number in range(5):
        ring.append(100 - number, {"a": float(number)})
    assert [3.0, 4.0] == ring.latest("a", 2).tolist()
    assert [2.0, 3.0, 4.0] == ring.latest("a", 99).tolist()


def test_columns_are_bounded() -> None:
    """Names from outside cannot fill the memory."""
    ring = Ring(2)
    for number in range(MOST_COLUMNS):
        ring.append(number, {f"c{number}": 1.0})
    with pytest.raises(UsageError, match="at most 256"):
        ring.append(1, {"one more": 1.0})
