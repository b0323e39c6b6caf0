"""The history of metrics: what snapshots become, and which of them count."""

import json
from datetime import UTC, datetime

import pytest

from pipeline.packets.events import MetricsSnapshot
from pipeline.watch.history import MetricsHistory, figures_of_snapshot

NOW_US = int(datetime(2026, 11, 27, tzinfo=UTC).timestamp() * 1e6)
SERIES = 'cascade_queue_depth_packets{stage="risk"}'


def _snapshot(after_s: float, figures: dict[str, float], instance: str = "one") -> MetricsSnapshot:
    return MetricsSnapshot(NOW_US + int(after_s * 1e6), instance, 1.0, json.dumps(figures))


def test_series_come_back_in_order_with_gaps_left_out() -> None:
    """A series has the numbers of the snapshots that have it, oldest first."""
    history = MetricsHistory()
    for after_s, figures in enumerate(({SERIES: 1.0}, {"other": 2.0}, {SERIES: 3.0})):
        assert history.take(_snapshot(after_s, figures))
    times_us, numbers = history.points(SERIES)
    assert [1.0, 3.0] == numbers.tolist()
    assert [NOW_US, NOW_US + 2_000_000] == times_us.tolist()
    assert [3.0] == history.points(SERIES, NOW_US + 1)[1].tolist()
    assert {SERIES: 3.0} == history.figures()


def test_of_two_monitors_one_snapshot_an_interval_counts() -> None:
    """What another monitor says of the same second is left out, and so is what is old."""
    history = MetricsHistory()
    taken = [
        history.take(_snapshot(after_s, {"depth": 1.0}, instance))
        for after_s, instance in ((0, "one"), (0.2, "two"), (1, "one"), (0.5, "two"), (1.9, "two"))
    ]
    assert [True, False, True, False, True] == taken
    assert 3 == len(history)


def test_the_oldest_snapshot_makes_room() -> None:
    """No more snapshots are kept than there is room for."""
    history = MetricsHistory(rows=2)
    for after_s in range(3):
        history.take(_snapshot(after_s, {"depth": float(after_s)}))
    assert [1.0, 2.0] == history.points("depth")[1].tolist()


@pytest.mark.parametrize("text", ["", "[]", '{"a": "b"}', '{"a": null}'])
def test_a_snapshot_that_cannot_be_read_has_no_figures(text: str) -> None:
    """Nothing is made up for it, and the next one counts."""
    broken = MetricsSnapshot(NOW_US, "one", 1.0, text)
    assert {} == figures_of_snapshot(broken)
    history = MetricsHistory()
    history.take(broken)
    assert history.take(_snapshot(1, {"depth": 1.0}))


def test_more_series_than_there_is_room_for_are_refused_whole() -> None:
    """Names come from outside, and memory goes with them."""
    history = MetricsHistory()
    many = {f"series_{number}": 1.0 for number in range(1000)}
    assert not history.take(_snapshot(0, many))
