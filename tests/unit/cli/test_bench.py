"""The verdicts of `cascade bench`."""

from typing import Any

import pytest

from pipeline.cli.bench import row_of, table

GOOD: dict[str, Any] = {
    "offered_per_second": 200.0,
    "packets_per_second": 199.0,
    "latency_ms": {"p50": 10.0, "p95": 20.0, "p99": 30.0},
    "error_rate": 0.0,
    "unaccounted": 0,
    "duplicate_orders": 0,
}


def test_a_rate_that_is_decided_in_full_is_sustained() -> None:
    """Nearly all decided, nothing lost: sustained."""
    assert row_of(GOOD)["sustained"] is True


@pytest.mark.parametrize(
    "planted",
    [
        {"packets_per_second": 190.0},
        {"error_rate": 0.01},
        {"unaccounted": 1},
        {"duplicate_orders": 1},
    ],
)
def test_each_shortfall_denies_the_verdict(planted: dict[str, Any]) -> None:
    """Too slow, too many errors, a lost or a doubled flow: not sustained."""
    assert row_of(GOOD | planted)["sustained"] is False


def test_a_run_without_latencies_shows_no_figure() -> None:
    """What was not measured is a dash, never a zero."""
    row = row_of(GOOD | {"latency_ms": {}})

    assert "-" in table([row]).splitlines()[1].split()
