"""The tactical decision: against the reference, to the bit, its gate, and agent by agent."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError
from pipeline.policies import strategic, tactical
from pipeline.policies.actions import ACTIONS, BUY, HOLD, SELL, FloatArray, IntArray
from pipeline.policies.strategic import RegimeCode, StrategicSettings
from pipeline.policies.tactical import (
    ReasonCode,
    StrategicContext,
    TacticalBatch,
    TacticalSettings,
)
from pipeline.policies.tactical.entry import entry_price
from pipeline.policies.tactical.fvg import NearestGaps
from tests.unit.policies import series, strategic_reference, tactical_reference

DEFAULTS = TacticalSettings()


def context_of(
    n: int,
    bias: float = 0.6,
    confidence: float = 0.8,
    regime: RegimeCode = RegimeCode.RANGE,
    volatility: float = 0.001,
) -> StrategicContext:
    """The same strategic context for n rows."""
    return StrategicContext(
        np.full(n, bias),
        np.full(n, confidence),
        np.full(n, regime, dtype=np.int8),
        np.full(n, volatility),
    )


def rows_of(context: StrategicContext, rows: slice | IntArray) -> StrategicContext:
    """Some rows of a context."""
    return StrategicContext(
        context.bias[rows], context.confidence[rows], context.regime[rows], context.volatility[rows]
    )


def random_context(n: int, seed: int) -> StrategicContext:
    """Contexts of all kinds but WARMUP."""
    rng = np.random.default_rng(seed)
    return StrategicContext(
        rng.uniform(-1.0, 1.0, n),
        rng.uniform(0.34, 1.0, n),
        rng.integers(1, 5, n).astype(np.int8),
        10.0 ** rng.uniform(-4, -2, n),
    )


def decide(
    windows: FloatArray,
    context: StrategicContext | None = None,
    counts: IntArray | None = None,
    tuned: TacticalSettings = DEFAULTS,
) -> TacticalBatch:
    """Decide with full windows and a bullish context, unless told otherwise."""
    n = len(windows)
    full = np.full(n, windows.shape[1]) if counts is None else counts
    return tactical.decide(
        windows, full, np.zeros(n, np.int64), context_of(n) if context is None else context, tuned
    )


def cascade(
    bars: FloatArray, tuned: TacticalSettings = DEFAULTS, strategy: StrategicSettings | None = None
) -> TacticalBatch:
    """Both stages over every full window of a series."""
    windows, counts, times = series.windows_of(bars, 60)
    recent = np.ascontiguousarray(windows[:, -48:])
    above = strategic.decide(
        recent, np.full(len(recent), 48), times, strategy or StrategicSettings()
    )
    context = StrategicContext(
        above.signal_strength, above.confidence, above.regime, above.volatility
    )
    return tactical.decide(windows, counts, times, context, tuned)


def parts(batch: TacticalBatch) -> dict[str, bytes]:
    """Every array of a batch as bytes, rows first."""
    arrays = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    by_row = {k: np.moveaxis(a, 1, 0) if k.startswith("agent") else a for k, a in arrays.items()}
    return {name: np.ascontiguousarray(array).tobytes() for name, array in by_row.items()}


def flat(price: float = 100.0) -> FloatArray:
    """One window of equal bars of range 1 around a price."""
    return np.tile([price, price + 0.5, price - 0.5, price, 1000.0], (1, 60, 1))


def with_bullish_gap() -> FloatArray:
    """Flat, a jump four bars ago that leaves a gap from 100.5 to 103.5, flat again at 104."""
    window = flat()
    window[0, -5] = (100.0, 104.0, 100.0, 104.0, 1000.0)
    window[0, -4:] = (104.0, 104.5, 103.5, 104.0, 1000.0)
    return window


def mirrored(window: FloatArray) -> FloatArray:
    """The same window upside down, around the price of 100."""
    turned = 200.0 - window[..., [0, 2, 1, 3]]
    return np.concatenate((turned, window[..., 4:]), axis=-1)


def test_reasons_are_a_closed_list_of_names() -> None:
    """Reason codes index their names."""
    assert [tactical.REASONS[code] for code in ReasonCode] == [code.name for code in ReasonCode]


def test_agrees_with_the_reference_on_random_windows() -> None:
    """Agents, mixture, gate and every figure equal the plain loops on 1,000 windows."""
    windows, counts, _ = series.random_windows(1000, 60, seed=21)
    context = random_context(1000, seed=22)
    batch = decide(windows, context, counts)
    expected = [
        tactical_reference.decide(
            row,
            tactical_reference.Context(
                float(context.bias[i]),
                float(context.confidence[i]),
                strategic.REGIMES[context.regime[i]],
                float(context.volatility[i]),
            ),
            DEFAULTS,
        )
        for i, row in enumerate(windows.tolist())
    ]
    for agent in range(3):
        scores = [
            strategic_reference.distribution_of(one.scores[agent], DEFAULTS.ambiguity)
            for one in expected
        ]
        np.testing.assert_allclose(batch.agents[agent], scores, rtol=1e-9, atol=1e-9)
    mixed = [one.distribution for one in expected]
    np.testing.assert_allclose(batch.distribution, mixed, rtol=1e-9, atol=1e-9)
    for name in ("entry", "momentum", "volume_ratio", "atr"):
        figures = [getattr(one, name) for one in expected]
        np.testing.assert_allclose(getattr(batch, name), figures, rtol=1e-9, atol=1e-12)
    assert [one.action for one in expected] == [ACTIONS[code] for code in batch.action]
    assert [one.reason for one in expected] == [tactical.REASONS[code] for code in batch.reason]


def test_random_windows_reach_every_reason_and_action() -> None:
    """The comparison with the reference is worth something: it covers every branch."""
    windows, counts, _ = series.random_windows(1000, 60, seed=21)
    batch = decide(windows, random_context(1000, seed=22), counts)
    unreachable = {ReasonCode.WARMUP, ReasonCode.NO_CONTEXT}
    assert set(batch.reason.tolist()) == set(ReasonCode) - unreachable
    assert set(batch.action.tolist()) == {BUY, HOLD, SELL}


@pytest.mark.parametrize("size", [1, 7, 64, 333])
def test_a_row_is_equal_to_the_bit_in_any_batch(size: int) -> None:
    """Cut into batches of any size, 1,000 rows give the same bytes as at once."""
    windows, counts, _ = series.random_windows(1000, 60, seed=23)
    counts[::13] = 59
    context = random_context(1000, seed=24)
    context.bias[::17] = np.nan
    context.regime[::19] = RegimeCode.WARMUP
    whole = decide(windows, context, counts)
    cuts = [slice(i, i + size) for i in range(0, 1000, size)]
    pieces = [parts(decide(windows[cut], rows_of(context, cut), counts[cut])) for cut in cuts]
    together = {name: b"".join(piece[name] for piece in pieces) for name in pieces[0]}
    assert together == parts(whole)


def test_a_row_is_equal_to_the_bit_in_any_order_and_company() -> None:
    """Neighbours in the batch, rows not ready among them, do not touch a row's result."""
    windows, counts, _ = series.random_windows(200, 60, seed=25)
    context = random_context(200, seed=26)
    order = np.random.default_rng(1).permutation(200)
    alone = decide(windows, context, counts)
    company = np.append(0, order)
    padded = windows[company]
    padded[0] = np.nan
    mixed = decide(padded, rows_of(context, company), np.append(0, counts[order]))
    assert alone.distribution[order].tobytes() == mixed.distribution[1:].tobytes()
    assert alone.entry[order].tobytes() == mixed.entry[1:].tobytes()


def test_does_not_write_into_its_input() -> None:
    """Windows and context are only read."""
    windows, counts, _ = series.random_windows(20, 60, seed=27)
    context = random_context(20, seed=28)
    counts[3] = 5
    before = windows.tobytes(), context.bias.tobytes(), context.volatility.tobytes()
    decide(windows, context, counts)
    assert before == (windows.tobytes(), context.bias.tobytes(), context.volatility.tobytes())


def test_warmup_is_all_hold() -> None:
    """A row with a bar too few is certain of HOLD and has no figures."""
    window = with_bullish_gap()
    window[0, 0] = np.nan
    batch = decide(window, counts=np.array([59]))
    assert batch.distribution.tolist() == [[0.0, 1.0, 0.0]]
    assert batch.agents[:, 0].tolist() == [[0.0, 1.0, 0.0]] * 3
    assert (batch.action[0], batch.probability[0]) == (HOLD, 1.0)
    assert batch.reason.tolist() == [ReasonCode.WARMUP]
    figures = (batch.entry, batch.atr, batch.momentum, batch.timing, batch.volume_ratio)
    assert [figure[0] for figure in figures] == [0.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("column", range(5))
def test_a_broken_bar_is_warmup(column: int, value: float) -> None:
    """Whatever slipped past the validation of bars, a broken window decides nothing."""
    window = with_bullish_gap()
    window[0, 20, column] = value
    assert decide(window).reason.tolist() == [ReasonCode.WARMUP]


@pytest.mark.parametrize(
    "broken",
    [
        {"regime": RegimeCode.WARMUP},
        {"bias": math.nan},
        {"bias": 1.1},
        {"confidence": math.nan},
        {"confidence": -0.1},
        {"volatility": math.inf},
        {"volatility": math.nan},
    ],
)
def test_without_a_sound_context_nothing_is_done(broken: dict[str, Any]) -> None:
    """A strategic stage in warm-up, or figures that make no sense, mean HOLD."""
    context = context_of(1, **broken)
    batch = decide(with_bullish_gap(), context)
    assert batch.reason.tolist() == [ReasonCode.NO_CONTEXT]
    assert batch.action.tolist() == [HOLD]
    assert np.isfinite(batch.distribution).all()


def test_no_rows_are_no_decisions() -> None:
    """An empty batch is fine."""
    batch = decide(np.empty((0, 60, 5)))
    assert (batch.distribution.shape, batch.agents.shape) == ((0, 3), (3, 0, 3))


def test_windows_of_another_width_are_refused() -> None:
    """Windows of the wrong width name both widths and what to do."""
    with pytest.raises(ConfigurationError, match=r"Expected windows of shape \(1, 60, 5\)"):
        decide(np.ones((1, 48, 5)))


def test_a_context_of_another_length_is_refused() -> None:
    """Contexts cut by other rows than the windows are an error, not a broadcast."""
    with pytest.raises(ConfigurationError, match="Expected 1 event times and contexts"):
        decide(flat(), context_of(2))


def test_an_aligned_sure_signal_is_acted_on() -> None:
    """A jump that strategy agrees with is bought; upside down it is sold."""
    buy = decide(with_bullish_gap())
    sell = decide(mirrored(with_bullish_gap()), context_of(1, bias=-0.6))
    assert (buy.action[0], buy.reason[0]) == (BUY, ReasonCode.NONE)
    assert (sell.action[0], sell.reason[0]) == (SELL, ReasonCode.NONE)
    assert buy.probability[0] == buy.distribution[0, BUY]
    np.testing.assert_allclose(sell.distribution[0], buy.distribution[0, ::-1], rtol=1e-2)


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (context_of(1, bias=-0.2), ReasonCode.NO_ALIGNMENT),
        (context_of(1, bias=0.19), ReasonCode.NO_ALIGNMENT),
        (context_of(1, confidence=0.44), ReasonCode.LOW_STRATEGIC_CONFIDENCE),
    ],
)
def test_an_unaligned_or_unsure_strategy_withholds(
    context: StrategicContext, reason: ReasonCode
) -> None:
    """What strategy does not back is HOLD, its probability moved to HOLD, agents kept."""
    batch = decide(with_bullish_gap(), context)
    assert (batch.action[0], batch.reason[0]) == (HOLD, reason)
    assert batch.distribution[0, BUY] == 0.0
    assert batch.distribution[0].argmax() == HOLD
    assert batch.agents[1, 0].argmax() == BUY


def test_a_signal_below_the_threshold_is_withheld() -> None:
    """The threshold is a probability, and belongs to the acting side."""
    sure = decide(with_bullish_gap()).probability[0]
    picky = dataclasses.replace(DEFAULTS, min_confidence=sure + 1e-9)
    just = dataclasses.replace(DEFAULTS, min_confidence=sure)
    assert decide(with_bullish_gap(), tuned=picky).reason.tolist() == [ReasonCode.LOW_CONFIDENCE]
    assert decide(with_bullish_gap(), tuned=just).action.tolist() == [BUY]


def test_high_volatility_asks_for_more() -> None:
    """The same signal that is acted on in a range is too faint while volatility is high."""
    sure = decide(with_bullish_gap()).probability[0]
    tuned = dataclasses.replace(DEFAULTS, min_confidence=sure - 0.05)
    wild = context_of(1, regime=RegimeCode.HIGH_VOLATILITY)
    assert decide(with_bullish_gap(), tuned=tuned).reason.tolist() == [ReasonCode.NONE]
    assert decide(with_bullish_gap(), wild, tuned=tuned).reason.tolist() == [
        ReasonCode.LOW_CONFIDENCE
    ]


def test_without_a_lean_of_its_own_the_stage_is_neutral() -> None:
    """Flat bars and a faint bias favour HOLD by themselves."""
    batch = decide(flat(), context_of(1, bias=0.05))
    assert (batch.action[0], batch.reason[0]) == (HOLD, ReasonCode.NEUTRAL)


def test_a_zero_minimum_bias_still_asks_for_the_same_direction() -> None:
    """No bias at all is no alignment, even where any bias would do."""
    any_bias = dataclasses.replace(DEFAULTS, min_bias=0.0, entry_weight=0.0)
    batch = decide(with_bullish_gap(), context_of(1, bias=0.0), tuned=any_bias)
    assert batch.reason.tolist() == [ReasonCode.NO_ALIGNMENT]


def test_an_open_gap_speaks_for_its_side() -> None:
    """An untouched bullish gap below the price is support; a bearish one is pressure."""
    assert decide(with_bullish_gap()).agents[0, 0].argmax() == BUY
    assert decide(mirrored(with_bullish_gap())).agents[0, 0].argmax() == SELL


def test_a_filled_gap_says_nothing() -> None:
    """Once the price has traded through the whole gap the agent is undecided again."""
    window = with_bullish_gap()
    window[0, -2, 2] = 100.5
    buy, _, sell = decide(window).agents[0, 0]
    assert buy == sell


def test_mitigation_and_age_weaken_a_gap() -> None:
    """A gap that is half filled, or older, counts less."""
    fresh, half, older = with_bullish_gap(), with_bullish_gap(), with_bullish_gap()
    half[0, -2, 2] = 102.0
    older[0, :-3] = with_bullish_gap()[0, 3:]
    lean = [decide(window).agents[0, 0, BUY] for window in (fresh, half, older)]
    assert lean[0] > lean[1]
    assert lean[0] > lean[2]


def test_gaps_too_old_or_too_small_do_not_count() -> None:
    """Beyond the age limit, or under the size limit, a gap is ignored."""
    limits: tuple[dict[str, Any], ...] = ({"gap_max_age_bars": 2}, {"gap_min_atr": 50.0})
    for limit in limits:
        tuned = dataclasses.replace(DEFAULTS, **limit)
        buy, _, sell = decide(with_bullish_gap(), tuned=tuned).agents[0, 0]
        assert buy == sell


def test_volume_stands_behind_momentum() -> None:
    """The same move counts for more on rising volume, for less on falling volume."""
    calm = with_bullish_gap()
    loud, quiet = calm.copy(), calm.copy()
    loud[0, -5:, 4] *= 2.0
    quiet[0, -5:, 4] *= 0.2
    batch = decide(np.concatenate((quiet, calm, loud)))
    lean = batch.agents[1, :, BUY]
    assert lean[0] < lean[1] < lean[2]
    np.testing.assert_allclose(batch.volume_ratio, [0.2, 1.0, 2.0])


def test_volume_unknown_is_volume_unchanged() -> None:
    """Without volume to compare with the ratio is 1, and the average price still works."""
    silent = with_bullish_gap()
    silent[..., 4] = 0.0
    batch = decide(silent)
    assert batch.volume_ratio.tolist() == [1.0]
    assert np.isfinite(batch.distribution).all()
    assert batch.timing[0] > 0.0


def test_momentum_is_measured_by_the_volatility_forecast() -> None:
    """What is a large move for a calm market is none for a wild one."""
    calm = decide(with_bullish_gap(), context_of(1, volatility=0.001))
    wild = decide(with_bullish_gap(), context_of(1, volatility=0.05))
    assert calm.agents[1, 0, BUY] > wild.agents[1, 0, BUY]


def test_an_entry_after_a_run_is_late() -> None:
    """Far above its average the price is no entry for a buyer, but a fine one for a seller."""
    window = flat()
    window[0, -4:, :4] += np.array([2.0, 4.0, 6.0, 8.0])[:, None]
    long, short = decide(window, context_of(1, bias=0.6)), decide(window, context_of(1, bias=-0.6))
    assert long.timing[0] < 0.5
    assert short.timing[0] == 1.0


def test_the_entry_waits_behind_the_close_within_reach() -> None:
    """BUY enters at or below the close, SELL at or above, never further than the reach."""
    batch = cascade(series.bars(1500, seed=31))
    close = series.windows_of(series.bars(1500, seed=31), 60)[0][:, -1, 3]
    behind = (close - batch.entry) * np.array([1.0, 0.0, -1.0])[batch.action]
    assert (behind >= 0.0).all()
    assert (behind <= DEFAULTS.pullback_atr * batch.atr * (1.0 + 1e-9)).all()
    assert (behind > 0.0).any()
    assert (batch.entry[batch.action == HOLD] == close[batch.action == HOLD]).all()


def test_the_entry_waits_at_a_gap_within_reach() -> None:
    """A gap's edge just behind the close is where the entry waits."""
    window = with_bullish_gap()
    wide = dataclasses.replace(DEFAULTS, pullback_atr=2.0)
    assert decide(window, tuned=wide).entry.tolist() == [103.5]


def test_the_entry_never_leaves_the_positive_prices() -> None:
    """In markets wilder than their own price the entry stops half-way down."""
    nowhere = NearestGaps(
        np.full((2, 1), np.nan), np.full((2, 1), np.inf), np.zeros((2, 1), int), np.zeros((2, 1))
    )
    close, reach, late = np.array([100.0]), np.array([900.0]), np.array([0.5])
    assert entry_price(close, reach, nowhere, late, np.array([1.0])).tolist() == [50.0]


@pytest.mark.parametrize("agent", tactical.AGENTS)
def test_each_tactical_agent_changes_some_decision(agent: str) -> None:
    """Without any one of the agents some actions on a fixed series are different."""
    bars = series.bars(1500, seed=32)
    nothing: dict[str, Any] = {f"{agent}_weight": 0.0}
    without = dataclasses.replace(DEFAULTS, **nothing)
    changed = np.count_nonzero(cascade(bars).action != cascade(bars, without).action)
    assert changed >= 15


@pytest.mark.parametrize("agent", strategic.AGENTS)
def test_each_strategic_agent_changes_some_tactical_decision(agent: str) -> None:
    """Strategy matters down the line: without any one of its agents other orders come out."""
    bars = series.bars(1500, seed=33)
    nothing: dict[str, Any] = {f"{agent}_weight": 0.0}
    without = dataclasses.replace(StrategicSettings(), **nothing)
    changed = np.count_nonzero(cascade(bars).action != cascade(bars, strategy=without).action)
    assert changed >= 15


@pytest.mark.parametrize("seed", [34, 35, 36])
def test_a_sensible_share_of_bars_is_acted_on(seed: int) -> None:
    """With the defaults 10 to 40 % of ordinary one-minute bars end as BUY or SELL, both of them."""
    action = cascade(series.bars(3000, seed=seed)).action
    share = np.count_nonzero(action != HOLD) / len(action)
    assert 0.10 < share < 0.40
    assert np.count_nonzero(action == BUY) > 0.02 * len(action)
    assert np.count_nonzero(action == SELL) > 0.02 * len(action)


def test_the_outputs_of_a_row_fit_together() -> None:
    """The action is the mode of the distribution given out; BUY and SELL are always aligned."""
    windows, counts, _ = series.random_windows(1000, 60, seed=37)
    context = random_context(1000, seed=38)
    batch = decide(windows, context, counts)
    rows = np.arange(1000)
    np.testing.assert_allclose(batch.distribution.sum(axis=1), 1.0, atol=1e-12)
    assert (batch.distribution >= 0.0).all()
    assert (batch.action == batch.distribution.argmax(axis=1)).all()
    assert (batch.probability == batch.distribution[rows, batch.action]).all()
    assert (batch.confidence == batch.probability).all()
    assert ((batch.action == HOLD) == (batch.reason != ReasonCode.NONE)).all()
    assert (context.bias[batch.action == BUY] >= DEFAULTS.min_bias).all()
    assert (context.bias[batch.action == SELL] <= -DEFAULTS.min_bias).all()
    assert (batch.agent_confidence == batch.agents.max(axis=-1)).all()
    assert ((batch.coherence >= 0.0) & (batch.coherence <= 1.0)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.floats(1e-300, 1e300) for _ in range(4)), st.floats(0.0, 1e308)),
        min_size=60,
        max_size=60,
    ),
    st.floats(-1.0, 1.0),
)
def test_whatever_the_bars_the_distribution_is_one(
    rows: list[tuple[float, ...]], bias: float
) -> None:
    """No bars, however absurd, give a number that is not finite or a sum other than 1."""
    batch = decide(np.array(rows)[None], context_of(1, bias=bias))
    assert math.isclose(batch.distribution.sum(), 1.0, abs_tol=1e-9)
    figures = (batch.entry, batch.atr, batch.momentum, batch.volume_ratio, batch.timing)
    assert all(np.isfinite(figure).all() for figure in figures)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-199, 1e199),
    st.lists(st.tuples(*[st.floats(0.5, 2.0)] * 4), min_size=60, max_size=60),
    st.floats(-1.0, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1e18),
)
def test_any_price_level_and_shape_of_bar_gives_sound_figures(
    level: float, shapes: list[tuple[float, ...]], bias: float, volatility: float, volume: float
) -> None:
    """Highs below lows and closes outside of the bar included, all figures stay sound."""
    window = np.concatenate((level * np.array(shapes), np.full((60, 1), volume)), axis=1)
    batch = decide(window[None], context_of(1, bias=bias, volatility=volatility))
    assert batch.reason[0] != ReasonCode.WARMUP
    assert math.isclose(batch.distribution.sum(), 1.0, abs_tol=1e-9)
    assert batch.entry[0] > 0.0
    assert batch.atr[0] >= 0.0
    assert 0.0 <= batch.probability[0] <= 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("atr_period", 60),
        ("gap_max_age_bars", 58),
        ("momentum_bars", 0),
        ("volume_bars", 55),
        ("value_bars", 61),
        ("ambiguity", 0.4),
        ("min_confidence", 1.1),
        ("gap_decay", 0.0),
        ("volume_influence", 1.1),
        ("pullback_atr", -0.1),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, value: Any) -> None:
    """A setting out of its bounds is refused with the rule that it breaks."""
    with pytest.raises(ConfigurationError, match="Expected tactical settings with"):
        dataclasses.replace(DEFAULTS, **{field: value})
