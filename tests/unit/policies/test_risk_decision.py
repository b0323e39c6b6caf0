"""The risk decision: four agents, the strictest verdict, the smallest size."""

import random
from dataclasses import replace
from typing import Any

import pytest

from pipeline.policies import ladder
from pipeline.policies.risk import (
    AGENTS,
    VERDICTS,
    Assessment,
    Exposure,
    Moments,
    RiskReason,
    RiskSettings,
    Signal,
    assess,
)

LIMITS = RiskSettings()
SIGNAL = Signal(1, 100.0, 0.02, edge=True, volatile=True, stop_distance=0.004,
                average_volume=1e6, stress=1.0)  # fmt: skip
EMPTY = Exposure(
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
CALM = Moments(0.0, 0.0, 1e-6)

# Limits that one agent alone decides by, set out of reach.
WITHOUT: dict[str, dict[str, Any]] = {
    "position_sizing": {"target_bar_risk": 1.0, "kelly_fraction": 1.0, "kelly_cap": 1.0},
    "stop_target": {"maximum_stop_distance": 1e9, "maximum_stop_risk": 1e9},
    "risk_monitor": {
        "maximum_symbol": 1e9,
        "maximum_gross": 1e9,
        "maximum_margin_use": 1e9,
        "maximum_net": 1e9,
        "maximum_value_at_risk": 1e9,
        "drawdown_warning": 1e8,
        "drawdown_limit": 1e9,
        "maximum_volume_share": 1e9,
        "stress_ratio": 1e9,
        "maximum_open_orders": 10**9,
    },
    "portfolio": {"maximum_concentration": 1e9, "maximum_correlation": 1e9},
}


def series(count: int = 400) -> list[tuple[Signal, Exposure, Moments]]:
    """Return a fixed series of signals and accounts, mixed."""
    rng = random.Random(17)
    cases = []
    for _ in range(count):
        closable = rng.choice([0.0, 0.0, 150.0])
        toward = -100.0 * closable if closable else rng.uniform(0.0, 45_000.0)
        others = rng.uniform(0.0, 200_000.0)
        signal = replace(
            SIGNAL,
            direction=rng.choice([1, -1]),
            share=rng.choice([0.0, 0.0003, rng.uniform(0.001, 0.04)]),
            stop_distance=rng.choice([0.002, 0.01, 0.06]),
            average_volume=rng.choice([1e3, 1e6]),
        )
        found = replace(
            EMPTY,
            drawdown=rng.choice([0.0, 0.15, 0.25]),
            total=others + abs(toward),
            others=others,
            others_squared=others**2 / rng.randint(3, 12),
            toward=toward,
            net=rng.uniform(-0.1, 0.1) * 1e6,
            closable=closable,
            orders=rng.choice([0, 0, 1, 4]),
            positions=rng.randint(1, 9),
        )
        cross = rng.uniform(-0.1, 0.2)
        cases.append((signal, found, Moments(rng.uniform(1e3, 2.2e4), cross, 4e-6)))
    return cases


def key(found: Assessment) -> tuple[str, float, tuple[RiskReason, ...]]:
    """Return what a decision comes to."""
    return found.verdict, found.quantity, found.reasons


def test_a_calm_order_is_approved_whole() -> None:
    """Two percent of a million at 100 are 200 units, less what rounding to lots takes."""
    found = assess(SIGNAL, EMPTY, CALM, LIMITS)
    assert (found.verdict, found.quantity, found.reasons) == ("APPROVE", 199.0, ())
    assert tuple(view.agent for view in found.views) == AGENTS


def test_the_strictest_verdict_and_the_smallest_bound_win() -> None:
    """Whatever the views of the series, the decision is never milder or larger than any."""
    verdicts = set()
    for signal, found, risk in series():
        decided = assess(signal, found, risk, LIMITS)
        verdicts.add(decided.verdict)
        strict = ladder.strictest(VERDICTS, [view.verdict for view in decided.views])
        assert VERDICTS.index(decided.verdict) >= VERDICTS.index(strict)
        assert decided.quantity * signal.price <= min(view.bound for view in decided.views) + 1e-6
        assert (decided.quantity > 0.0) == (decided.verdict in ("APPROVE", "REDUCE_SIZE"))
        assert decided.reasons or decided.verdict == "APPROVE"
        assert 0.0 <= decided.score <= 1.0
    assert verdicts == set(VERDICTS)


@pytest.mark.parametrize("agent", AGENTS)
def test_each_agent_changes_a_decision(agent: str) -> None:
    """Without the limits of any one agent some decision of the series is another."""
    loose = replace(LIMITS, **WITHOUT[agent])
    if agent == "position_sizing":  # its shares come with the signal
        with_agent = [assess(*case, LIMITS) for case in series()]
        without = [
            assess(replace(signal, share=LIMITS.maximum_order), found, risk, LIMITS)
            for signal, found, risk in series()
        ]
    else:
        with_agent = [assess(*case, LIMITS) for case in series()]
        without = [assess(*case, loose) for case in series()]
    changed = [a for a, b in zip(with_agent, without, strict=True) if key(a) != key(b)]
    assert len(changed) > 5


def test_an_order_on_the_other_side_closes_and_reverses() -> None:
    """A sale against a long position is what closes it and what opens the other side."""
    long = replace(EMPTY, toward=-30_000.0, net=-30_000.0, closable=300.0, total=30_000.0)
    found = assess(replace(SIGNAL, direction=-1), long, CALM, LIMITS)
    assert (found.verdict, found.quantity) == ("APPROVE", 499.0)


def test_what_closes_passes_where_nothing_may_open() -> None:
    """Without an edge, and beyond the drawdown limit, a position is closed to the last unit."""
    long = replace(EMPTY, toward=-30_000.0, closable=300.0, drawdown=0.5)
    no_edge = replace(SIGNAL, share=0.0, edge=False)
    assert assess(no_edge, long, CALM, LIMITS).quantity == 300.0
    found = assess(SIGNAL, long, CALM, LIMITS)
    assert (found.verdict, found.quantity) == ("REDUCE_SIZE", 300.0)
    assert RiskReason.DRAWDOWN_LIMIT in found.reasons


def test_a_rest_below_the_minimum_can_be_closed() -> None:
    """Two units are below the smallest order, but all that is left of the position."""
    rest = replace(EMPTY, toward=-200.0, closable=2.0)
    found = assess(replace(SIGNAL, share=0.0, edge=False), rest, CALM, LIMITS)
    assert found.quantity == 2.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"share": 0.0, "volatile": False}, RiskReason.NO_VOLATILITY),
        ({"share": 0.0, "edge": False}, RiskReason.NO_EDGE),
        ({"share": 1e-4}, RiskReason.SIZE_BELOW_MINIMUM),
        ({"stop_distance": 0.2}, RiskReason.STOP_TOO_WIDE),
    ],
)
def test_signals_without_a_size_are_rejected(changes: dict[str, float], reason: RiskReason) -> None:
    """Nothing to size, nothing to gain, too little, or too far to the stop: rejected, and why."""
    found = assess(replace(SIGNAL, **changes), EMPTY, CALM, LIMITS)  # type: ignore[arg-type]  # fields by name
    assert (found.verdict, found.quantity, found.reasons) == ("REJECT", 0.0, (reason,))


def test_the_stop_bounds_the_whole_position() -> None:
    """The loss of all units at the stop stays within its limit, those held included."""
    wide = replace(SIGNAL, stop_distance=0.01)
    found = assess(wide, replace(EMPTY, toward=15_000.0, total=15_000.0), CALM, LIMITS)
    assert (found.verdict, found.reasons) == ("REDUCE_SIZE", (RiskReason.STOP_RISK,))
    assert (15_000.0 + found.quantity * 100.0) * 0.01 <= LIMITS.maximum_stop_risk * 1e6
