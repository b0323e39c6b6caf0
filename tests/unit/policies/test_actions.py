"""Distributions as arrays agree with the packets' superposition maths."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.packets import superposition
from pipeline.policies.actions import (
    ACTIONS,
    BUY,
    HOLD,
    SELL,
    clip,
    coherence,
    directional,
    hold_all,
    mix,
    squash,
)

SCORES = st.floats(-1.0, 1.0)


def named(row: list[float]) -> dict[str, float]:
    """A row with the names of its columns."""
    return dict(zip(ACTIONS, row, strict=True))


@given(SCORES, st.floats(0.0, 1.0 / 3.0))
def test_a_score_becomes_a_distribution_that_leans_its_way(score: float, ambiguity: float) -> None:
    """Every score gives a distribution; BUY - SELL is the score again."""
    row = directional(np.array([score]), ambiguity)[0]
    superposition.check(named([max(p, 0.0) for p in row.tolist()]))
    assert row.min() >= -1e-15
    assert math.isclose(row[BUY] - row[SELL], score, abs_tol=1e-12)


def test_a_certain_score_leaves_no_doubt() -> None:
    """Scores of 1 and -1 are certain, a score of 0 is mostly HOLD."""
    rows = directional(np.array([1.0, 0.0, -1.0]), 0.15)
    expected = [[1.0, 0.0, 0.0], [0.15, 0.7, 0.15], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(rows, expected, atol=1e-15)


@given(st.lists(SCORES, min_size=3, max_size=3))
def test_coherence_and_mixture_agree_with_the_packets(scores: list[float]) -> None:
    """The same parts mixed by confidence here and there give the same superposition."""
    parts = directional(np.array(scores)[:, None], 0.15)
    mixed = mix(parts, parts.max(axis=-1))
    views = [superposition.superpose(str(i), named(p[0].tolist())) for i, p in enumerate(parts)]
    expected = superposition.mix("stage", views)
    assert named(mixed[0].tolist()) == pytest.approx(dict(expected.distribution), abs=1e-12)
    assert coherence(mixed)[0] == pytest.approx(expected.coherence, abs=1e-9)
    assert coherence(parts)[:, 0].tolist() == pytest.approx([v.coherence for v in views], abs=1e-9)


def test_coherence_ends() -> None:
    """Certain is 1, uniform is 0."""
    rows = np.array([[1.0, 0.0, 0.0], [1.0 / 3.0] * 3])
    np.testing.assert_allclose(coherence(rows), [1.0, 0.0], atol=1e-12)


def test_a_mixture_without_weight_holds() -> None:
    """Rows in which nobody has a say are HOLD; the others are not touched."""
    parts = directional(np.array([[1.0, 1.0], [-1.0, 1.0]]), 0.0)
    mixed = mix(parts, np.array([[0.0, 1.0], [0.0, 3.0]]))
    assert mixed.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_mixing_does_not_write_into_its_parts() -> None:
    """Parts and weights are only read."""
    parts, weights = directional(np.array([[0.5], [-0.2]]), 0.1), np.array([[1.0], [2.0]])
    before = parts.tobytes(), weights.tobytes()
    mix(parts, weights)
    assert before == (parts.tobytes(), weights.tobytes())


def test_hold_all_touches_only_the_rows_chosen() -> None:
    """Rows are picked on the axis before the last, whatever lies before it."""
    parts = directional(np.array([[1.0, 1.0], [-1.0, -1.0]]), 0.0)
    hold_all(parts, np.array([False, True]))
    assert parts[:, 0].argmax(axis=-1).tolist() == [BUY, SELL]
    assert parts[:, 1].tolist() == [[0.0, 1.0, 0.0]] * 2
    assert parts[:, 1].argmax(axis=-1).tolist() == [HOLD, HOLD]


def test_squash_and_clip_keep_bounds_and_order() -> None:
    """Squash is odd, rising and stays within 1; clip cuts at both ends."""
    values = np.array([-1e300, -3.0, -1.0, 0.0, 1.0, 3.0, 1e300])
    np.testing.assert_allclose(squash(values), [-1, -0.75, -0.5, 0, 0.5, 0.75, 1])
    assert clip(values, -2.0, 2.5).tolist() == [-2.0, -2.0, -1.0, 0.0, 1.0, 2.5, 2.5]
