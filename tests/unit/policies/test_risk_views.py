"""Ladders, views and reasons."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packets.superposition import check, chosen
from pipeline.packets.vocabulary import Verdict
from pipeline.policies import ladder
from pipeline.policies.execution import PATHS
from pipeline.policies.risk import VERDICTS, RiskReason, View, recommend
from pipeline.policies.risk.views import judge

NUMBERS = st.floats(min_value=-1e9, max_value=1e9)


def test_verdicts_are_those_of_the_packets_in_order_of_strictness() -> None:
    """The ladder holds every verdict of the vocabulary, mild to strict."""
    assert tuple(str(verdict) for verdict in Verdict) == VERDICTS


@given(st.sampled_from([VERDICTS, PATHS]), st.data(), st.floats(allow_nan=True))
def test_a_ladder_gives_a_distribution_with_its_step_on_top(
    steps: tuple[str, ...], data: st.DataObject, margin: float
) -> None:
    """Whatever the margin, the distribution is one and its most probable step the one chosen."""
    step = data.draw(st.sampled_from(steps))
    found = ladder.distribution(steps, step, margin)
    check(found)
    assert chosen(found) == step
    assert set(found) == set(steps)


@given(st.lists(st.sampled_from(VERDICTS), min_size=1))
def test_the_strictest_wins(verdicts: list[str]) -> None:
    """No verdict of the list is stricter than the one that wins, which is in it."""
    found = ladder.strictest(VERDICTS, verdicts)
    assert found in verdicts
    assert all(VERDICTS.index(verdict) <= VERDICTS.index(found) for verdict in verdicts)


@given(st.lists(NUMBERS, max_size=4), st.floats(min_value=500.0, max_value=1e6))
def test_judging_never_passes_a_bound(bounds: list[float], requested: float) -> None:
    """The bound of a view is never above any bound given, and its verdict follows from it."""
    pairs = [(RiskReason.GROSS_LIMIT, bound) for bound in bounds]
    view = judge("x", pairs, requested, 500.0)
    least = min(bounds, default=math.inf)
    expected = "APPROVE" if least >= requested else "REDUCE_SIZE" if least >= 500.0 else "REJECT"
    assert (view.verdict, view.bound) == (expected, least if expected != "REJECT" else 0.0)
    assert 0.0 <= ladder.margin_of(view.margin) <= 1.0


def test_a_bound_that_is_no_number_rejects() -> None:
    """NaN is never taken for room."""
    view = judge("x", [(RiskReason.VALUE_AT_RISK, math.nan)], 1000.0, 500.0)
    assert (view.verdict, view.reasons) == ("REJECT", (RiskReason.VALUE_AT_RISK,))


@pytest.mark.parametrize("reason", list(RiskReason))
def test_every_reason_has_one_recommendation(reason: RiskReason) -> None:
    """No reason leaves a reader without advice."""
    assert len(recommend([reason, reason])) == 1


def test_a_view_is_a_distribution_over_all_verdicts() -> None:
    """A sure rejection puts all on REJECT."""
    found = View("x", "REJECT", 0.0, 1.0).distribution()
    assert found == {**dict.fromkeys(VERDICTS, 0.0), "REJECT": 1.0}
