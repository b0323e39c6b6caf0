"""The search for the highest sustained rate."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bench.search import highest_sustained


def up_to(capacity: float, asked: list[float] | None = None) -> Callable[[float], bool]:
    """Return a contender that sustains rates up to `capacity`."""

    def sustains(rate: float) -> bool:
        if asked is not None:
            asked.append(rate)
        return rate <= capacity

    return sustains


@given(st.floats(20.0, 40_000.0), st.sampled_from([100.0, 400.0, 3000.0]))
def test_the_rate_found_is_within_precision_of_the_capacity(capacity: float, start: float) -> None:
    """Whatever the capacity and wherever the ladder starts, the rate is sustained and close."""
    found = highest_sustained(up_to(capacity), up_to(capacity), start=start, precision=1.08)
    assert found is not None
    assert capacity / 1.1 < found <= capacity


def test_nothing_is_found_where_nothing_is_sustained() -> None:
    """A contender that sustains no rate has none."""
    assert highest_sustained(up_to(0.0), up_to(0.0), start=400.0) is None


def test_the_ladder_ends_at_the_highest_rate_to_try() -> None:
    """No rate above `most` is offered."""
    asked: list[float] = []
    sustains = up_to(1e9, asked)
    found = highest_sustained(sustains, sustains, start=400.0, most=1000.0)
    assert (1000.0, 1000.0) == (found, max(asked))


def test_a_rate_that_is_not_held_for_the_full_time_gives_way() -> None:
    """Where the proof fails, a lower rate is proved."""
    found = highest_sustained(up_to(1000.0), up_to(900.0), start=400.0, precision=1.08)
    assert found is not None
    assert 800.0 < found <= 900.0


def test_no_proof_no_rate() -> None:
    """Probes alone are not enough."""
    assert highest_sustained(up_to(1000.0), up_to(0.0), start=400.0) is None


@pytest.mark.parametrize("capacity", [250.0, 3333.0])
def test_probes_are_few(capacity: float) -> None:
    """A search costs about a dozen phases, not a hundred."""
    asked: list[float] = []
    highest_sustained(up_to(capacity, asked), up_to(capacity, asked), start=400.0)
    assert len(asked) <= 14
