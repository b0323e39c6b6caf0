"""The bench of watching: how runs are paired, and when it passes."""

from dataclasses import replace

import pytest

from pipeline.bench.watching import Watched, WatchRun, _checks, interleaving, ratios, watch_table

OFF = WatchRun(False, 20.0, 40.0, 1000.0, 0, 0)
ON = replace(
    OFF, watched=True, p50=21.0, per_second=900.0, measured=(20.0, 40.0), monitored=(20.2, 41.0)
)


def test_neither_is_always_first() -> None:
    """Runs with and without watchers change places from pair to pair."""
    assert [False, True, True, False, False, True] == list(interleaving(3))


def test_ratios_are_of_neighbours() -> None:
    """On is held against the off beside it, whichever came first."""
    slow = replace(OFF, p50=40.0)
    found = ratios([OFF, ON, replace(ON, p50=44.0), slow])
    assert pytest.approx([1.05, 1.1]) == found["p50"]
    assert pytest.approx([0.9, 0.9]) == found["throughput"]


def test_it_passes_where_the_monitor_is_right_and_costs_little() -> None:
    """2.5 % off in p99, 5 % more p50: all within their limits, and shown."""
    found = Watched(("monitor",), 200.0, [OFF, ON])
    assert all(check.passed for check in _checks(found))
    assert "throughput, on / off: 0.900 (0.900 to 0.900)" in watch_table(found)
    assert 1.05 == pytest.approx(found.to_dict()["ratios"]["p50"]["median"])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"monitored": (21.1, 40.0)}, "monitor's p50"),
        ({"monitored": (20.0, 37.0)}, "monitor's p99"),
        ({"monitored": None}, "runs in which the monitor was compared"),
        ({"p50": 22.5}, "path's p50"),
        ({"lost": 1}, "packets lost"),
        ({"duplicates": 1}, "packets with two outcomes"),
    ],
)
def test_each_requirement_can_fail(changes: dict[str, object], name: str) -> None:
    """A monitor that is off by more than 5 %, a slower path, or a loss fails it."""
    found = Watched(("monitor",), 200.0, [OFF, replace(ON, **changes)])  # type: ignore[arg-type]  # fields of it
    failed = [check.name for check in _checks(found) if not check.passed]
    assert failed
    assert all(each.startswith(name) or changes.get("monitored", 1) is None for each in failed)
