"""The risk monitor: moments, value at risk, and every limit."""

import random
from dataclasses import replace

import numpy as np
import pytest

from pipeline.policies.risk import Exposure, Moments, RiskReason, RiskSettings, moments
from pipeline.policies.risk.monitor import Order, moments_of_arrays, monitor, value_at_risk
from tests.unit.policies.risk_reference import moments_one, monitor_one

LIMITS = RiskSettings()
CALM = Moments(0.0, 0.0, 1e-6)


def order(**changes: object) -> Order:
    """Return an order for 20,000 that nothing closes."""
    made = Order(
        direction=1,
        price=100.0,
        requested=20_000.0,
        closing=0.0,
        least=500.0,
        stop_distance=0.004,
        average_volume=1e6,
        stress=1.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def exposure(**changes: object) -> Exposure:
    """Return an empty account with a million."""
    made = Exposure(
        equity=1e6,
        drawdown=0.0,
        total=0.0,
        others=0.0,
        others_squared=0.0,
        toward=0.0,
        net=0.0,
        weight=0.0,
        closable=0.0,
        orders=0,
        positions=0,
        held=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def test_compiled_or_not_the_moments_are_the_same() -> None:
    """The compiled moments have the bits of those by arrays, books of one and of many symbols."""
    rng = np.random.default_rng(4)
    for count in (*range(1, 20), 64, 150, 400) * 10:
        steps = int(rng.choice([1, 7, 64, 200]))
        sparse = rng.random((steps, count)) < rng.random()
        scaled = np.ascontiguousarray(rng.standard_normal((steps, count)) * sparse)
        volatility, weights = rng.random(count) * 0.01, rng.standard_normal(count) * 1e5
        weights[rng.random(count) < 0.2] = 0.0
        book = scaled, volatility, weights, int(rng.integers(count))
        assert moments_of_arrays(*book) == moments(*book), (count, steps)


def test_moments_equal_the_covariance_matrix() -> None:
    """The moments equal w' S w, S w and S of a full covariance matrix on 1,000 random books."""
    rng = np.random.default_rng(3)
    for _ in range(1000):
        count = int(rng.integers(1, 6))
        scaled = rng.standard_normal((16, count)) * (rng.random((16, count)) < rng.random())
        volatility = rng.random(count) * 0.01
        weights = rng.standard_normal(count) * 1e5
        position = int(rng.integers(count))
        expected = moments_one(scaled.tolist(), volatility.tolist(), weights.tolist(), position)
        actual = moments(scaled, volatility, weights, position)
        scale = float((np.abs(weights * volatility).sum() + 1.0) ** 2)
        assert expected.book == pytest.approx(actual.book, abs=1e-9 * scale)
        assert expected.cross == pytest.approx(actual.cross, abs=1e-9 * scale)
        assert expected.own == pytest.approx(actual.own, rel=1e-9, abs=1e-18)


def test_a_symbol_without_history_counts_as_risk() -> None:
    """An empty history leaves the forecast variance whole instead of none."""
    found = moments(np.zeros((64, 1)), np.array([0.01]), np.array([1000.0]), 0)
    assert found.book == pytest.approx(100.0)
    assert value_at_risk(found.book) == pytest.approx(16.448536)


def test_the_monitor_equals_the_reference_on_random_orders() -> None:
    """What the monitor lets through is what trial leaves, on 1,000 random accounts."""
    rng = random.Random(5)
    seen = set()
    for _ in range(1000):
        closing = rng.choice([0.0, 0.0, 4_000.0])
        asked = order(
            direction=rng.choice([1, -1]),
            closing=closing,
            requested=closing + rng.uniform(1_000, 40_000),
            average_volume=rng.choice([100.0, 1e3, 1e6]),
            stress=rng.choice([1.0, 2.5]),
        )
        found = exposure(
            equity=rng.uniform(5e5, 1.5e6),
            drawdown=rng.choice([0.0, 0.12, 0.25]),
            others=rng.uniform(0, 230_000),
            toward=-closing if closing else rng.uniform(0, 50_000),
            net=rng.uniform(-150_000, 150_000),
            orders=rng.choice([0, 1]),
        )
        risk = Moments(rng.uniform(0, 25_000), rng.uniform(-0.1, 0.1), rng.uniform(1e-7, 4e-6))
        view = monitor(asked, found, risk, LIMITS)
        seen.add(view.verdict)
        expected = monitor_one(asked, found, risk, LIMITS)
        allowed = min(view.bound, asked.requested)
        if view.verdict in ("APPROVE", "REDUCE_SIZE"):
            assert expected == pytest.approx(allowed, abs=asked.requested / 2000)
        else:
            assert expected < asked.least + asked.requested / 2000
    assert {"APPROVE", "REDUCE_SIZE", "REJECT", "EMERGENCY_STOP"} == seen


@pytest.mark.parametrize(
    ("reason", "asked", "found", "risk"),
    [
        ("SYMBOL_LIMIT", {}, {"toward": 40_000.0}, CALM),
        ("GROSS_LIMIT", {}, {"others": 240_000.0}, CALM),
        ("NET_LIMIT", {}, {"net": 140_000.0}, CALM),
        ("VALUE_AT_RISK", {}, {}, Moments(22_000.0, 0.0, 4e-6)),
        ("DRAWDOWN_WARNING", {}, {"drawdown": 0.15}, CALM),
        ("STRESS", {"stress": 3.0}, {}, CALM),
        ("LIQUIDITY_LIMIT", {"average_volume": 100.0}, {}, CALM),
    ],
)
def test_each_limit_reduces(
    reason: str, asked: dict[str, float], found: dict[str, float], risk: Moments
) -> None:
    """An order that meets one limit is cut by it, and it alone is named."""
    view = monitor(order(**asked), exposure(**found), risk, LIMITS)
    assert (view.verdict, view.reasons) == ("REDUCE_SIZE", (RiskReason(reason),))
    assert 500.0 <= view.bound < 20_000.0


def test_margin_bounds_where_leverage_is_dear() -> None:
    """A margin rate that makes margin the tightest limit is what the order is cut by."""
    view = monitor(order(), exposure(others=90_000.0), CALM, RiskSettings(margin_rate=2.5))
    assert (view.verdict, view.reasons) == ("REDUCE_SIZE", (RiskReason.MARGIN_LIMIT,))


def test_a_drawdown_at_its_limit_stops_all_but_closing() -> None:
    """At the drawdown limit an order that opens is an emergency, one that closes is cut to that."""
    fallen = exposure(drawdown=0.2)
    assert monitor(order(), fallen, CALM, LIMITS).verdict == "EMERGENCY_STOP"
    closing = monitor(order(closing=5_000.0), fallen, CALM, LIMITS)
    assert (closing.verdict, closing.bound) == ("REDUCE_SIZE", 5_000.0)


def test_flows_in_flight_delay() -> None:
    """With as many flows in flight as allowed the next is delayed."""
    view = monitor(order(), exposure(orders=LIMITS.maximum_open_orders), CALM, LIMITS)
    assert (view.verdict, view.reasons) == ("DELAY", (RiskReason.ORDERS_IN_FLIGHT,))


def test_closing_passes_every_limit_but_the_net_one() -> None:
    """What closes a position passes a book over all limits, unless it adds net exposure."""
    over = exposure(toward=-10_000.0, others=900_000.0, drawdown=0.3)
    close = order(closing=10_000.0, requested=10_000.0)
    assert monitor(close, over, Moments(1e9, 0.0, 1e-6), LIMITS).bound >= 10_000.0
    hedged = replace(over, net=150_000.0)
    assert monitor(close, hedged, CALM, LIMITS).verdict == "REJECT"
