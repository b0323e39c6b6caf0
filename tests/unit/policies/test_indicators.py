"""Indicators against their recursions."""

import numpy as np
import pytest

from pipeline.policies.indicators import (
    average_true_range,
    columns,
    decayed_sums,
    ewma_weights,
    weighted_last,
)
from tests.unit.policies import series
from tests.unit.policies.tactical_reference import average_true_range as wilder


@pytest.mark.parametrize("length", [1, 2, 3, 47, 64])
def test_decayed_sums_equal_the_recursion(length: int) -> None:
    """The doubling scan gives y[i] = x[i] + decay y[i - 1], for each row's own decay."""
    values = np.random.default_rng(1).normal(size=(2, length))
    decay = np.array([[0.8], [0.95]])
    expected, sums = np.zeros((2, 1)), []
    for i in range(length):
        expected = values[:, i : i + 1] + decay * expected
        sums.append(expected)
    np.testing.assert_allclose(decayed_sums(values, decay), np.hstack(sums), rtol=1e-12)


@pytest.mark.parametrize("period", [1, 5, 14, 59])
def test_average_true_range_equals_wilders_recursion(period: int) -> None:
    """The unrolled weights give what Wilder's recursion gives."""
    windows, counts, _ = series.random_windows(50, 60, seed=2)
    atr = average_true_range(columns(windows, counts, 60), period)
    expected = [wilder(row, period) for row in windows.tolist()]
    np.testing.assert_allclose(atr, expected, rtol=1e-12)


def test_ewma_weights_fall_with_age_and_sum_to_one() -> None:
    """The last weight is the largest; each is `decay` times the next."""
    weights = ewma_weights(10, 0.9)
    np.testing.assert_allclose(weights.sum(), 1.0)
    np.testing.assert_allclose(weights[:-1] / weights[1:], 0.9)


def test_weighted_last_looks_at_the_last_columns() -> None:
    """Fewer weights than columns weigh the latest ones."""
    total = weighted_last(np.array([[9.0, 1.0, 2.0]]), np.array([10.0, 1.0]))
    assert total.tolist() == [12.0]


def test_prices_out_of_all_proportion_are_not_ready() -> None:
    """A price 100,000 times another one in the window is broken data, not a market."""
    windows, counts, _ = series.random_windows(2, 48, seed=4)
    windows[1, 20, 3] *= 1e5
    assert columns(windows, counts, 48).ready.tolist() == [True, False]


def test_columns_keep_rows_apart() -> None:
    """Rows not ready are blanked, the others come out by column as they went in."""
    windows, counts, _ = series.random_windows(3, 48, seed=3)
    counts[1] = 47
    bars = columns(windows, counts, 48)
    assert bars.ready.tolist() == [True, False, True]
    assert bars.close[0].tolist() == windows[0, :, 3].tolist()
    assert bars.volume[2].tolist() == windows[2, :, 4].tolist()
    assert (bars.low[1] == 1.0).all()
