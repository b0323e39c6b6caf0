"""The execution decision: five agents, the strictest path, orders within the envelope."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from pipeline.policies import ladder
from pipeline.policies.execution import (
    AGENTS,
    PATHS,
    Conditions,
    ExecutionReason,
    ExecutionSettings,
    Mandate,
    Plan,
    SymbolState,
    control,
    plan,
)

SETTINGS = ExecutionSettings()
NOW_US = 1_700_000_000_000_000
MANDATE = Mandate(
    approved=True,
    halted=False,
    barred=False,
    direction=1,
    signal=1,
    quantity=200.0,
    price=100.0,
    stop=99.0,
    target=102.0,
    volume=1e5,
    event_time_us=NOW_US,
    deadline_us=NOW_US + 100_000,
    now_us=NOW_US,
)
CONDITIONS = Conditions(0.5, market=False, window_ms=12, half_spread=1e-4, volatility=0.001)
QUIET = SymbolState()

VETOES: dict[ExecutionReason, dict[str, Any]] = {
    ExecutionReason.NOT_APPROVED: {"approved": False},
    ExecutionReason.TRADING_HALTED: {"halted": True},
    ExecutionReason.TRADING_REDUCING: {"barred": True},
    ExecutionReason.DEADLINE_PASSED: {"now_us": NOW_US + 100_000},
    ExecutionReason.STALE_EVENT: {"event_time_us": NOW_US - 2_000_001},
    ExecutionReason.FUTURE_EVENT: {"event_time_us": NOW_US + 1_000_001},
    ExecutionReason.MISSING_BAR: {"volume": -1.0},
    ExecutionReason.MISSING_REFERENCE_PRICE: {"price": 0.0, "stop": 0.0},
    ExecutionReason.EMPTY_ENVELOPE: {"quantity": 0.5},
    ExecutionReason.DIRECTION_MISMATCH: {"signal": -1},
    ExecutionReason.INVALID_ENVELOPE: {"stop": 101.0},
    ExecutionReason.NOT_FINITE: {"quantity": math.nan},
}


def series(count: int = 400) -> list[tuple[Mandate, Conditions, SymbolState]]:
    """Return a fixed series of mandates, mixed."""
    rng = random.Random(21)
    cases = []
    for _ in range(count):
        mandate = replace(
            MANDATE,
            quantity=float(rng.choice([0, 3, 150, 400, 3000])),
            volume=rng.choice([0.0, 300.0, 1e4, 1e6]),
            halted=rng.random() < 0.1,
            barred=rng.random() < 0.1,
            now_us=NOW_US + rng.choice([0, 50_000, 99_999, 120_000]),
        )
        conditions = replace(
            CONDITIONS,
            urgency=rng.random(),
            market=rng.random() < 0.3,
            half_spread=rng.choice([1e-4, 1e-3, 4e-3]),
            volatility=rng.choice([5e-4, 5e-3]),
        )
        seen = rng.choice(
            [QUIET, SymbolState(2e4, 1e-4, 9, 0.05, 0.004, 5), SymbolState(50.0, 1e-4, 9)]
        )
        cases.append((mandate, conditions, seen))
    return cases


def key(found: Plan) -> tuple[object, ...]:
    """Return what a decision comes to."""
    return found.path, found.slices, found.reasons


def test_a_calm_plan_is_one_order() -> None:
    """What the market takes at once is sent at once, at a limit beyond the reference."""
    found = plan(MANDATE, CONDITIONS, QUIET, SETTINGS)
    assert (found.path, len(found.slices), found.reasons) == ("EXECUTE", 1, ())
    assert (found.slices[0].quantity, found.slices[0].delay_ms) == (200.0, 0)
    assert found.slices[0].limit_price > 100.0
    assert found.participation == 200.0 / 1e5
    assert tuple(view.agent for view in found.views) == AGENTS


@pytest.mark.parametrize("reason", list(VETOES))
def test_risk_control_vetoes(reason: ExecutionReason) -> None:
    """Whatever is missing, late or inconsistent: no order, and that reason alone."""
    mandate = replace(MANDATE, **VETOES[reason])
    found = plan(mandate, CONDITIONS, QUIET, SETTINGS)
    assert (found.path, found.slices, found.reasons) == ("REJECT", (), (reason,))


def test_a_sale_has_its_stop_above_and_its_limit_below() -> None:
    """The envelope of a sale is turned around, and so is its limit."""
    sale = replace(MANDATE, direction=-1, signal=-1, stop=101.0, target=97.0)
    found = plan(sale, CONDITIONS, QUIET, SETTINGS)
    assert found.path == "EXECUTE"
    assert found.slices[0].limit_price < 100.0
    turned = replace(sale, stop=97.0, target=101.0)
    assert control(turned, SETTINGS).reasons == (ExecutionReason.INVALID_ENVELOPE,)


def test_slices_sum_to_the_envelope_and_wait_within_the_window() -> None:
    """An order too large for one bar goes in slices that start within the window."""
    found = plan(replace(MANDATE, quantity=700.0), CONDITIONS, QUIET, SETTINGS)
    assert found.path == "SLICE"
    assert ExecutionReason.SLICED in found.reasons
    assert sum(part.quantity for part in found.slices) == 700.0
    delays = [part.delay_ms for part in found.slices]
    assert delays == sorted(delays)
    assert 0 == delays[0] < delays[-1] <= CONDITIONS.window_ms
    assert all(part.quantity * 100.0 <= SETTINGS.maximum_child_notional for part in found.slices)


def test_dear_orders_are_held() -> None:
    """Expected slippage above its limit means not now."""
    wild = replace(CONDITIONS, volatility=0.5)
    found = plan(MANDATE, wild, QUIET, SETTINGS)
    assert (found.path, found.slices) == ("HOLD", ())
    assert found.reasons == (ExecutionReason.SLIPPAGE_TOO_HIGH,)


def test_no_plan_of_the_series_leaves_its_envelope() -> None:
    """Orders only on an EXECUTE or SLICE path, in whole lots, never more than the mandate."""
    paths = set()
    for mandate, conditions, seen in series():
        found = plan(mandate, conditions, seen, SETTINGS)
        paths.add(found.path)
        assert bool(found.slices) == (found.path in ("EXECUTE", "SLICE"))
        total = sum(part.quantity for part in found.slices)
        assert total <= mandate.quantity
        assert all(part.quantity.is_integer() and part.quantity > 0 for part in found.slices)
        assert all(math.isfinite(part.limit_price) for part in found.slices)
        strict = ladder.strictest(PATHS, [view.path for view in found.views])
        assert found.path == strict
        assert math.isfinite(found.slippage)
        assert math.isfinite(found.participation)
    assert paths == set(PATHS)


WITHOUT: dict[str, dict[str, Any]] = {
    "liquidity_sourcing": {
        "minimum_volume": 1e-9,
        "maximum_spread": 1e9,
        "maximum_slippage": 1e9,
    },
    "position_fragmentation": {"maximum_participation": 1e9, "maximum_child_notional": 1e15},
    "execution_monitor": {"monitor_slippage": 1e9, "monitor_scale": 1.0},
    "risk_control": {"maximum_event_age_us": 10**15},
}


@pytest.mark.parametrize("agent", list(WITHOUT))
def test_each_agent_changes_a_decision(agent: str) -> None:
    """Without the limits of any one agent some decision of the series is another."""
    loose = replace(SETTINGS, **WITHOUT[agent])
    cases = series()
    if agent == "risk_control":  # its vetoes are no parameters
        trusting = [
            (replace(m, halted=False, barred=False, now_us=NOW_US), c, s) for m, c, s in cases
        ]
        without = [plan(*case, loose) for case in trusting]
    else:
        without = [plan(*case, loose) for case in cases]
    with_agent = [plan(*case, SETTINGS) for case in cases]
    changed = [a for a, b in zip(with_agent, without, strict=True) if key(a) != key(b)]
    assert len(changed) > 5


def test_timing_changes_a_decision() -> None:
    """Urgency moves the slices forward, and the window spreads them."""
    large = replace(MANDATE, quantity=800.0)
    patient = plan(large, replace(CONDITIONS, urgency=0.0), QUIET, SETTINGS)
    urgent = plan(large, replace(CONDITIONS, urgency=1.0, window_ms=0), QUIET, SETTINGS)
    assert patient.slices[0].quantity < urgent.slices[0].quantity
    assert urgent.slices[-1].delay_ms == 0 < patient.slices[-1].delay_ms
    assert ExecutionReason.URGENT in urgent.reasons
