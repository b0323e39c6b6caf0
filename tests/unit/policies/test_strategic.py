"""The strategic decision: against the reference, to the bit, and agent by agent."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.packets.vocabulary import Action, Regime
from pipeline.policies import strategic
from pipeline.policies.actions import ACTIONS, BUY, HOLD, SELL, FloatArray, IntArray
from pipeline.policies.strategic import RegimeCode, StrategicBatch, StrategicSettings
from tests.unit.policies import series, strategic_reference

DEFAULTS = StrategicSettings()


def decide(
    windows: FloatArray,
    counts: IntArray | None = None,
    times: IntArray | None = None,
    tuned: StrategicSettings = DEFAULTS,
) -> StrategicBatch:
    """Decide with full windows in the first minute of the epoch, unless told otherwise."""
    n = len(windows)
    full = np.full(n, windows.shape[1]) if counts is None else counts
    return strategic.decide(windows, full, np.zeros(n, np.int64) if times is None else times, tuned)


def straight(step: float, wiggle: float = 0.0) -> FloatArray:
    """One window of closes that grow by `step` a bar, with a zigzag of `wiggle` on top."""
    close = 100.0 * (1.0 + step) ** np.arange(48.0) * (1.0 + wiggle * (-1.0) ** np.arange(48))
    opened = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return np.stack((opened, high, low, close, np.full(48, 1000.0)), axis=-1)[None]


def parts(batch: StrategicBatch) -> dict[str, bytes]:
    """Every array of a batch as bytes, rows first."""
    arrays = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    by_row = {k: np.moveaxis(a, 1, 0) if k.startswith("agent") else a for k, a in arrays.items()}
    return {name: np.ascontiguousarray(array).tobytes() for name, array in by_row.items()}


def test_names_are_those_of_the_packets() -> None:
    """Columns and regime codes stand for the actions and regimes of the packets, by name."""
    assert tuple(action.value for action in Action) == ACTIONS
    assert (ACTIONS[BUY], ACTIONS[HOLD], ACTIONS[SELL]) == ("BUY", "HOLD", "SELL")
    assert {regime.value for regime in Regime} == set(strategic.REGIMES)
    assert [strategic.REGIMES[code] for code in RegimeCode] == [code.name for code in RegimeCode]


def test_agrees_with_the_reference_on_random_windows() -> None:
    """Agents, mixture, coherence, regime and forecast equal the plain loops on 1,000 windows."""
    windows, counts, times = series.random_windows(1000, 48, seed=11)
    batch = decide(windows, counts, times)
    expected = [
        strategic_reference.decide(row, int(time), DEFAULTS)
        for row, time in zip(windows.tolist(), times, strict=True)
    ]
    for agent in range(3):
        scores = [
            strategic_reference.distribution_of(one.scores[agent], DEFAULTS.ambiguity)
            for one in expected
        ]
        np.testing.assert_allclose(batch.agents[agent], scores, rtol=1e-9, atol=1e-9)
    mixed = [one.distribution for one in expected]
    np.testing.assert_allclose(batch.distribution, mixed, rtol=1e-9, atol=1e-9)
    coherences = [one.coherence for one in expected]
    np.testing.assert_allclose(batch.coherence, coherences, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(batch.volatility, [one.volatility for one in expected], rtol=1e-9)
    assert [one.regime for one in expected] == [strategic.REGIMES[code] for code in batch.regime]
    assert [m.index(max(m)) for m in mixed] == batch.action.tolist()


def test_random_windows_reach_every_regime_and_action() -> None:
    """The comparison with the reference is worth something: it covers every branch."""
    batch = decide(*series.random_windows(1000, 48, seed=11))
    assert set(batch.regime.tolist()) == set(RegimeCode) - {RegimeCode.WARMUP}
    assert set(batch.action.tolist()) == {BUY, HOLD, SELL}


@pytest.mark.parametrize("size", [1, 7, 64, 333])
def test_a_row_is_equal_to_the_bit_in_any_batch(size: int) -> None:
    """Cut into batches of any size, 1,000 rows give the same bytes as at once."""
    windows, counts, times = series.random_windows(1000, 48, seed=12)
    counts[::13] = 47
    whole = decide(windows, counts, times)
    pieces = [
        parts(decide(windows[i : i + size], counts[i : i + size], times[i : i + size]))
        for i in range(0, 1000, size)
    ]
    together = {name: b"".join(piece[name] for piece in pieces) for name in pieces[0]}
    assert together == parts(whole)


def test_a_row_is_equal_to_the_bit_in_any_order_and_company() -> None:
    """Neighbours in the batch, rows not ready among them, do not touch a row's result."""
    windows, counts, times = series.random_windows(200, 48, seed=13)
    order = np.random.default_rng(1).permutation(200)
    alone = decide(windows, counts, times)
    padded = np.concatenate((np.full((1, 48, 5), np.nan), windows[order]))
    mixed = decide(padded, np.append(0, counts[order]), np.append(0, times[order]))
    assert alone.distribution[order].tobytes() == mixed.distribution[1:].tobytes()
    assert alone.volatility[order].tobytes() == mixed.volatility[1:].tobytes()


def test_does_not_write_into_its_input() -> None:
    """The windows may be views of somebody's state: they are only read."""
    windows, counts, times = series.random_windows(20, 48, seed=14)
    counts[3] = 5
    before = windows.tobytes()
    decide(windows, counts, times)
    assert before == windows.tobytes()


def test_warmup_is_all_hold() -> None:
    """A row with a bar too few is WARMUP, certain of HOLD, with nothing to forecast."""
    windows, counts, times = series.random_windows(2, 48, seed=15)
    windows[1, 0] = np.nan
    counts[1] = 47
    batch = decide(windows, counts, times)
    assert batch.regime[0] != RegimeCode.WARMUP
    assert batch.regime[1] == RegimeCode.WARMUP
    assert batch.distribution[1].tolist() == [0.0, 1.0, 0.0]
    assert batch.agents[:, 1].tolist() == [[0.0, 1.0, 0.0]] * 3
    assert (batch.action[1], batch.confidence[1], batch.coherence[1]) == (HOLD, 1.0, 1.0)
    assert (batch.signal_strength[1], batch.volatility[1]) == (0.0, 0.0)


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_broken_bar_is_warmup(column: int, value: float) -> None:
    """Whatever slipped past the validation of bars, a broken window decides nothing."""
    windows = straight(0.001)
    windows[0, 20, column] = value
    assert decide(windows).regime.tolist() == [RegimeCode.WARMUP]


def test_no_rows_are_no_decisions() -> None:
    """An empty batch is fine."""
    batch = decide(np.empty((0, 48, 5)))
    assert (batch.distribution.shape, batch.agents.shape) == ((0, 3), (3, 0, 3))


def test_windows_of_another_width_are_refused() -> None:
    """Windows of the wrong width name both widths and what to do."""
    with pytest.raises(ConfigurationError, match=r"Expected windows of shape \(1, 48, 5\)"):
        decide(np.ones((1, 60, 5)))


def test_a_steady_rise_is_bought_and_a_steady_fall_sold() -> None:
    """In a clean trend all agents agree, and the columns are not mixed up."""
    rise, fall = decide(straight(0.001)), decide(straight(-0.001))
    assert (rise.action[0], rise.regime[0]) == (BUY, RegimeCode.TREND_UP)
    assert (fall.action[0], fall.regime[0]) == (SELL, RegimeCode.TREND_DOWN)
    assert (rise.agents.argmax(axis=-1) == BUY).all()
    assert (fall.agents.argmax(axis=-1) == SELL).all()
    assert rise.signal_strength[0] > 0.5
    assert fall.signal_strength[0] < -0.5


def test_a_flat_market_is_held() -> None:
    """A price that never moves is RANGE and HOLD, without a division by zero."""
    batch = decide(straight(0.0))
    assert (batch.regime[0], batch.action[0]) == (RegimeCode.RANGE, HOLD)


def test_no_volume_is_no_volume_node() -> None:
    """Without volume nothing pulls, and the regime agent is undecided in a range."""
    window = straight(0.0, wiggle=0.001)
    window[..., 4] = 0.0
    batch = decide(window)
    buy, _, sell = batch.agents[2, 0]
    assert batch.regime[0] == RegimeCode.RANGE
    assert buy == sell


def test_in_a_range_the_price_is_pulled_to_where_volume_was() -> None:
    """The regime agent leans towards the volume node, on whichever side it lies."""
    below, above = straight(0.0, wiggle=0.001), straight(0.0, wiggle=0.001)
    close = below[0, :, 3]
    below[0, :, 4] = np.where(close < 100.0, 1000.0, 1.0)
    above[0, :, 4] = np.where(close > 100.0, 1000.0, 1.0)
    below[0, -1, 1:4] = above[0, -1, 1:4] = 100.0
    lean_below, lean_above = decide(below).agents[2, 0], decide(above).agents[2, 0]
    assert lean_below[SELL] > lean_below[BUY]
    assert lean_above[BUY] > lean_above[SELL]


def test_a_burst_of_volatility_is_a_regime_of_its_own() -> None:
    """Wild last bars make the regime HIGH_VOLATILITY, and raise the forecast."""
    calm, wild = straight(0.0, wiggle=0.0005), straight(0.0, wiggle=0.0005)
    wild[0, -6:, 3] *= 1.0 + 0.005 * (-1.0) ** np.arange(6)
    batch_calm, batch_wild = decide(calm), decide(wild)
    assert batch_calm.regime[0] == RegimeCode.RANGE
    assert batch_wild.regime[0] == RegimeCode.HIGH_VOLATILITY
    assert batch_wild.volatility[0] > 2.0 * batch_calm.volatility[0]


def test_steady_but_extreme_volatility_counts_as_high() -> None:
    """Volatility above the absolute limit counts as high, however used to it the market is."""
    batch = decide(straight(0.0, wiggle=0.03))
    assert batch.regime.tolist() == [RegimeCode.HIGH_VOLATILITY]


def test_time_of_day_moves_forecast_and_regime() -> None:
    """The same bars are judged by the hour: busy hours excuse some volatility."""
    windows, counts, _ = series.windows_of(series.bars(1200, seed=16), 48)
    morning = decide(windows, counts, np.full(len(windows), 6 * 3600 * 10**6))
    evening = decide(windows, counts, np.full(len(windows), 18 * 3600 * 10**6))
    high = RegimeCode.HIGH_VOLATILITY
    assert (morning.volatility > evening.volatility).all()  # activity is rising, then falling
    assert np.count_nonzero(evening.regime == high) < np.count_nonzero(morning.regime == high)


@pytest.mark.parametrize("agent", strategic.AGENTS)
def test_each_agent_changes_some_decision(agent: str) -> None:
    """Without any one of the agents some actions on a fixed series are different."""
    cut = series.windows_of(series.bars(1500, seed=17), 48)
    nothing: dict[str, Any] = {f"{agent}_weight": 0.0}
    without = dataclasses.replace(DEFAULTS, **nothing)
    changed = np.count_nonzero(decide(*cut).action != decide(*cut, tuned=without).action)
    assert changed >= 15


def test_the_regime_gates_the_other_agents() -> None:
    """Closing a gate for a regime changes the rows in that regime, and no others."""
    cut = series.windows_of(series.bars(1500, seed=18), 48)
    ranging = int(RegimeCode.RANGE)
    gates = [0.0 if code == ranging else gate for code, gate in enumerate(DEFAULTS.mlmi_gate)]
    closed = decide(*cut, tuned=dataclasses.replace(DEFAULTS, mlmi_gate=tuple(gates)))
    before = decide(*cut)
    different = (before.distribution != closed.distribution).any(axis=1)
    assert different[before.regime == ranging].all()
    assert not different[before.regime != ranging].any()


def test_only_agents_of_weight_nothing_leave_hold() -> None:
    """With all agents left out the stage holds instead of dividing by zero."""
    nobody = dataclasses.replace(DEFAULTS, mlmi_weight=0.0, nwrqk_weight=0.0, regime_weight=0.0)
    assert decide(straight(0.001), tuned=nobody).distribution.tolist() == [[0.0, 1.0, 0.0]]


def test_the_outputs_of_a_row_fit_together() -> None:
    """Confidence, action and strength are read off the distribution that is given out."""
    batch = decide(*series.random_windows(500, 48, seed=19))
    rows = np.arange(500)
    np.testing.assert_allclose(batch.distribution.sum(axis=1), 1.0, atol=1e-12)
    assert (batch.distribution >= 0.0).all()
    assert (batch.confidence == batch.distribution[rows, batch.action]).all()
    assert (batch.confidence == batch.distribution.max(axis=1)).all()
    strength = batch.distribution[:, BUY] - batch.distribution[:, SELL]
    assert (batch.signal_strength == strength).all()
    assert ((batch.coherence >= 0.0) & (batch.coherence <= 1.0)).all()
    assert (batch.agent_confidence == batch.agents.max(axis=-1)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.floats(1e-300, 1e300) for _ in range(4)), st.floats(0.0, 1e308)),
        min_size=48,
        max_size=48,
    )
)
def test_whatever_the_bars_the_distribution_is_one(rows: list[tuple[float, ...]]) -> None:
    """No bars, however absurd, give a number that is not finite or a sum other than 1."""
    batch = decide(np.array(rows)[None])
    assert np.isfinite(batch.distribution).all()
    assert math.isclose(batch.distribution.sum(), 1.0, abs_tol=1e-9)
    assert math.isfinite(batch.volatility[0])


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-199, 1e199),
    st.lists(st.floats(0.5, 2.0), min_size=48, max_size=48),
    st.floats(0.0, 1e18),
)
def test_any_price_level_gives_a_distribution(
    level: float, moves: list[float], volume: float
) -> None:
    """Prices of any size that stay within a sane range of each other are decided on."""
    close = level * np.array(moves)
    window = np.stack((close, close, close, close, np.full(48, volume)), axis=-1)
    batch = decide(window[None])
    assert batch.regime[0] != RegimeCode.WARMUP
    assert math.isclose(batch.distribution.sum(), 1.0, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("neighbours", 0),
        ("neighbours", 31),
        ("horizon_bars", 0),
        ("fast_period", 15),
        ("slope_bars", 0),
        ("trend_bars", 48),
        ("ambiguity", 0.4),
        ("volatility_decay", 1.0),
        ("kernel_alpha", 0.0),
        ("volume_bins", 0),
        ("season_sine", 1.0),
        ("mlmi_weight", -1.0),
        ("nwrqk_gate", (1.0,)),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, value: Any) -> None:
    """A setting out of its bounds is refused with the rule that it breaks."""
    with pytest.raises(ConfigurationError, match="Expected strategic settings with"):
        dataclasses.replace(DEFAULTS, **{field: value})
