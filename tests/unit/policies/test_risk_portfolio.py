"""The portfolio agent."""

import math
import random
from dataclasses import replace

import pytest

from pipeline.policies.risk import Exposure, Moments, RiskReason, RiskSettings
from pipeline.policies.risk.monitor import Order
from pipeline.policies.risk.portfolio import correlation, portfolio
from tests.unit.policies.risk_reference import moments_one

LIMITS = RiskSettings()
ORDER = Order(1, 100.0, 20_000.0, 0.0, 500.0, 0.004, 1e6, 1.0)
ACCOUNT = Exposure(1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 3, True)
FLAT = Moments(0.0, 0.0, 1e-6)


def test_correlation_equals_the_reference_on_random_books() -> None:
    """The correlation with the rest equals that from the covariance matrix, 1,000 times."""
    rng = random.Random(11)
    for _ in range(1000):
        count = rng.randint(2, 5)
        scaled = [[rng.gauss(0, 1) for _ in range(count)] for _ in range(16)]
        volatility = [rng.uniform(0.0005, 0.005) for _ in range(count)]
        weights = [rng.uniform(-1e5, 1e5) for _ in range(count)]
        direction = rng.choice([1, -1])
        rest = [0.0, *weights[1:]]
        apart = moments_one(scaled, volatility, rest, 0)
        expected = direction * apart.cross / math.sqrt(apart.book * apart.own)
        whole = moments_one(scaled, volatility, weights, 0)
        assert expected == pytest.approx(correlation(direction, weights[0], whole), abs=1e-6)


def test_a_book_of_the_symbol_alone_is_not_correlated_with_it() -> None:
    """A position in the order's own symbol is no rest of the book."""
    assert correlation(1, 1000.0, Moments(1.0, 1e-3, 1e-6)) == 0.0


def test_concentration_equals_the_reference_on_random_books() -> None:
    """The bound is where the sum of squared shares meets its limit, 1,000 times."""
    rng = random.Random(13)
    cut = 0
    for _ in range(1000):
        shares = [rng.uniform(0.0, 0.08) for _ in range(rng.randint(0, 4))]
        toward = rng.uniform(-20_000.0, 50_000.0)
        account = replace(
            ACCOUNT, toward=toward, others_squared=sum((1e6 * share) ** 2 for share in shares)
        )
        view = portfolio(ORDER, account, FLAT, LIMITS)
        if view.verdict == "REDUCE_SIZE":
            cut += 1
            others = sum(share**2 for share in shares)
            after = others + ((toward + view.bound) / 1e6) ** 2
            # Where the others alone are over the limit, the symbol may only be closed.
            assert after == pytest.approx(max(others, LIMITS.maximum_concentration))
        elif view.verdict == "APPROVE":
            after = sum(share**2 for share in shares) + ((toward + 20_000.0) / 1e6) ** 2
            assert after <= LIMITS.maximum_concentration
    assert cut > 20


def test_an_order_that_moves_with_the_book_is_halved() -> None:
    """Beside a large book that moves alike, what opens is scaled; beside a small one it is not."""
    alike = Moments(book=1e4, cross=0.1 * 0.9, own=1e-6)
    large = replace(ACCOUNT, others=100_000.0)
    view = portfolio(ORDER, large, alike, LIMITS)
    assert (view.verdict, view.bound) == ("REDUCE_SIZE", 10_000.0)
    assert view.reasons == (RiskReason.CORRELATED_BOOK,)
    assert portfolio(replace(ORDER, direction=-1), large, alike, LIMITS).verdict == "APPROVE"
    assert portfolio(ORDER, replace(ACCOUNT, others=1_000.0), alike, LIMITS).verdict == "APPROVE"


def test_a_full_book_takes_no_new_symbol() -> None:
    """With as many positions as allowed only symbols that are held pass."""
    full = replace(ACCOUNT, positions=LIMITS.maximum_positions)
    assert portfolio(ORDER, full, FLAT, LIMITS).verdict == "APPROVE"
    view = portfolio(ORDER, replace(full, held=False), FLAT, LIMITS)
    assert (view.verdict, view.reasons) == ("REJECT", (RiskReason.POSITION_COUNT,))
