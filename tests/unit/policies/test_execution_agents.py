"""The agents of the execution stage, one by one."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, PositionLost
from pipeline.policies.execution import (
    ExecutionReason,
    ExecutionSettings,
    ExecutionState,
    SymbolState,
    expected_slippage,
    fragment,
    limit_price,
    liquidity,
    monitor,
    schedule,
    schedule_weights,
    split_lots,
)
from pipeline.policies.execution.liquidity import expected_volume
from pipeline.policies.execution.timing import expected_half_spread
from tests.unit.policies.execution_reference import (
    slippage_one,
    split_one,
    timing_one,
    weights_one,
)

SETTINGS = ExecutionSettings()
START_US = 1_700_000_000_000_000


def columns(count: int, seed: int = 3) -> dict[str, np.ndarray]:
    """Return random plans' bars, signals and clocks."""
    rng = np.random.default_rng(seed)
    close = rng.uniform(1.0, 900.0, count)
    accepted = START_US + rng.integers(0, 10**9, count)
    deadline = accepted + rng.integers(1, 200_000, count)
    now = accepted + rng.integers(-5_000, 210_000, count)
    return {
        "bars": np.stack(
            [close * (1 + 0.02 * rng.random(count)), close * (1 - 0.02 * rng.random(count)), close],
            axis=1,
        ),
        "confidence": rng.random(count),
        "volatility": rng.choice([0.0, 1e-4, 1e-3, 1e-2], count) * rng.random(count),
        "clock": np.stack([accepted, deadline, now], axis=1),
    }


def rows(given_columns: dict[str, np.ndarray]) -> list[bytes]:
    """Return each row of the schedule as bytes."""
    batch = schedule(**given_columns, settings=SETTINGS)
    return [
        row.tobytes()
        for row in np.stack(
            [batch.urgency, batch.market, batch.window_ms, batch.half_spread], axis=1
        )
    ]


def test_timing_equals_the_reference_on_random_plans() -> None:
    """Urgency, order type, window and spread equal the plain reference on 1,000 plans."""
    plans = columns(1000)
    batch = schedule(**plans, settings=SETTINGS)
    for row in range(1000):
        high, low, close = (float(value) for value in plans["bars"][row])
        accepted, deadline, now = (int(value) for value in plans["clock"][row])
        expected = timing_one(
            (high, low, close),
            float(plans["confidence"][row]),
            float(plans["volatility"][row]),
            (accepted, deadline, now),
            SETTINGS,
        )
        assert expected[0] == pytest.approx(float(batch.urgency[row]), rel=1e-9)
        assert expected[1:3] == (bool(batch.market[row]), int(batch.window_ms[row]))
        assert expected[3] == pytest.approx(float(batch.half_spread[row]), rel=1e-9)
        assert batch.window_ms[row] <= max(0, (deadline - now) // 1000)


@pytest.mark.parametrize("length", [1, 7, 333])
def test_a_row_is_the_same_to_the_last_bit_in_any_round(length: int) -> None:
    """Cutting a round differently changes no bit of any row."""
    plans = columns(1000)
    pieces: list[bytes] = []
    for start in range(0, 1000, length):
        pieces += rows({name: column[start : start + length] for name, column in plans.items()})
    assert rows(plans) == pieces


def test_weights_equal_the_paper() -> None:
    """The recurrence gives Almgren and Chriss' hyperbolic shares, 1,000 times."""
    rng = random.Random(9)
    for _ in range(1000):
        count, aversion = rng.randint(1, 12), rng.choice([0.0, rng.uniform(0.0, 4.0)])
        found = schedule_weights(count, aversion)
        assert weights_one(count, aversion) == pytest.approx(found, rel=1e-9)
        assert found == sorted(found, reverse=True)


def test_slippage_equals_the_reference_on_random_slices() -> None:
    """Expected slippage is half the spread and the square-root impact, 1,000 times."""
    rng = random.Random(10)
    for _ in range(1000):
        quantity, volume = rng.uniform(1, 1e5), rng.uniform(1, 1e7)
        volatility, half = rng.uniform(0, 0.02), rng.uniform(0, 0.01)
        case = (quantity, volume, volatility, half)
        expected = slippage_one(*case, SETTINGS)
        assert expected == pytest.approx(expected_slippage(*case, SETTINGS), rel=1e-9)
    assert expected_slippage(1.0, 0.0, 0.001, 0.0, SETTINGS) == math.inf


def test_splitting_equals_the_reference_on_random_orders() -> None:
    """Lots are shared out exactly, never more than the cap to a slice, 1,000 times."""
    rng = random.Random(12)
    for _ in range(1000):
        count, most = rng.randint(1, 8), rng.randint(1, 60)
        lots = rng.randint(1, count * most)
        weights = schedule_weights(count, rng.uniform(0.0, 4.0))
        found = list(split_lots(lots, weights, most))
        assert split_one(lots, weights, most) == found
        assert sum(found) == lots


@given(
    st.floats(min_value=0.0, max_value=1e6),
    st.floats(min_value=0.0, max_value=1e6),
    st.floats(min_value=0.0, max_value=1.0),
)
def test_slices_never_exceed_what_is_allowed(quantity: float, largest: float, u: float) -> None:
    """Whatever is asked: no slice above its cap, no sum above the order, no empty slice."""
    found = fragment(quantity, largest, u, SETTINGS)
    assert found.total <= quantity + 1e-9
    assert all(0 < lots <= largest + 1e-9 for lots in found.lots)
    assert len(found.lots) <= SETTINGS.maximum_children
    capped = ExecutionReason.PARTICIPATION_CAP in found.view.reasons
    assert found.total == math.floor(quantity + 1e-9) or capped or not found.lots


def test_an_order_beyond_the_cap_is_sliced_front_first() -> None:
    """250 lots in slices of 100 are three, the first ones larger the more urgent it is."""
    assert fragment(250.0, 100.0, 0.0, SETTINGS).lots == (84, 83, 83)
    assert fragment(250.0, 100.0, 1.0, SETTINGS).lots == (100, 100, 50)
    assert fragment(90.0, 100.0, 1.0, SETTINGS).lots == (90,)


@pytest.mark.parametrize(
    ("volume", "half_spread", "expected"),
    [
        (1000.0, 1e-4, ("EXECUTE", ())),
        (0.0, 1e-4, ("HOLD", (ExecutionReason.NO_LIQUIDITY,))),
        (1000.0, 0.01, ("HOLD", (ExecutionReason.WIDE_SPREAD,))),
    ],
)
def test_liquidity_holds_where_there_is_none(
    volume: float, half_spread: float, expected: tuple[str, tuple[ExecutionReason, ...]]
) -> None:
    """No volume or too wide a spread: not now."""
    view = liquidity(volume, half_spread, SymbolState(), SETTINGS)
    assert (view.path, view.reasons) == expected


def test_a_jump_of_the_spread_holds() -> None:
    """A spread far above the symbol's own average is not traded into, once that is known."""
    quiet = SymbolState()
    for number in range(SETTINGS.spread_bars):
        assert liquidity(1000.0, 1e-3, quiet, SETTINGS).path == "EXECUTE", number
        quiet.take_bar(1000.0, 1e-4, 0.9)
    assert liquidity(1000.0, 3.9e-4, quiet, SETTINGS).path == "EXECUTE"
    jumped = liquidity(1000.0, 4.1e-4, quiet, SETTINGS)
    assert (jumped.path, jumped.reasons) == ("HOLD", (ExecutionReason.WIDE_SPREAD,))


def test_one_bar_and_a_round_of_bars_expect_the_same_spread() -> None:
    """What enters the averages is to the last bit what plans are made with."""
    plans = columns(100)
    batch = schedule(**plans, settings=SETTINGS)
    alone = [
        expected_half_spread(high, low, close, SETTINGS)
        for high, low, close in plans["bars"].tolist()
    ]
    assert batch.half_spread.tolist() == alone


def test_the_expected_volume_is_the_cautious_one() -> None:
    """The smaller of the last bar and the average; the bar alone where nothing is known."""
    assert [expected_volume(5.0, 3.0), expected_volume(2.0, 3.0), expected_volume(5.0, 0.0)] == [
        3.0,
        2.0,
        5.0,
    ]


def test_the_monitor_equals_the_recursion_and_throttles() -> None:
    """The averages follow their recursion, and dear plans shrink the next slices."""
    state, expected = SymbolState(), 0.0
    for number, slippage in enumerate([0.0001, 0.0002, 0.0004]):
        state.take_plan(0.1, slippage, 0.9)
        expected = slippage if number == 0 else 0.9 * expected + 0.1 * slippage
    assert state.slippage == pytest.approx(expected)
    assert monitor(state, SETTINGS)[1] == 1.0
    state.take_plan(0.1, 0.02, 0.9)
    view, scale = monitor(state, SETTINGS)
    assert (view.path, view.reasons) == ("SLICE", (ExecutionReason.MONITOR_THROTTLED,))
    assert scale == SETTINGS.monitor_scale


@pytest.mark.parametrize(
    ("direction", "slippage", "expected"),
    [(1, 0.0, 100.06), (-1, 0.0, 99.95), (1, 0.001, 100.21), (-1, 1.0, 99.0)],
)
def test_limits_leave_room_and_stay_on_the_tick(
    direction: int, slippage: float, expected: float
) -> None:
    """A limit is beyond the reference by a bounded multiple of the slippage, on a tick."""
    assert limit_price(100.007, direction, slippage, SETTINGS) == expected


def test_a_price_below_one_tick_keeps_a_positive_limit() -> None:
    """Rounding never makes a limit of zero."""
    assert limit_price(0.004, -1, 0.0, SETTINGS) > 0.0


def test_the_state_goes_through_bytes_exactly() -> None:
    """A dump is loaded to the last bit; another version's is refused."""
    state = ExecutionState()
    state.open("A").take_bar(1.0 / 3.0, 1e-4 / 7.0, 0.9)
    state.open("B").take_plan(0.1, 2.0 / 3.0, 0.9)
    copy = ExecutionState.load(state.dump())
    assert copy.dump() == state.dump()
    assert copy.of("B") == state.of("B")
    with pytest.raises(PositionLost):
        ExecutionState.load(b"\x81\xa7version\x63")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maximum_participation", 0.0),
        ("lot_size", math.nan),
        ("monitor_memory", 1.0),
        ("maximum_children", 257),
        ("confidence_weight", 1.5),
    ],
)
def test_parameters_that_cannot_work_are_refused(field: str, value: float) -> None:
    """A cap that is none cannot be set."""
    with pytest.raises(ConfigurationError):
        ExecutionSettings(**{field: value})  # type: ignore[arg-type]  # that is the point
