"""The compiled kernels against the arrays they stand in for: equal to the last bit, row by row."""

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policies import strategic, tactical
from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.strategic import RegimeCode, StrategicSettings
from pipeline.policies.tactical import ReasonCode, StrategicContext, TacticalSettings
from tests.unit.policies import series

ROWS = 1500
STRATEGIC = (
    StrategicSettings(),
    StrategicSettings(width=19, neighbours=1, horizon_bars=1, trend_bars=7, volume_bins=1),
    # Longer than the 128 numbers that numpy sums in one go.
    StrategicSettings(width=300, neighbours=40, slope_bars=9, trend_bars=160, volume_bins=31),
    StrategicSettings(ambiguity=0.0, mlmi_weight=0.0, node_share=0.0, season_cosine=0.3),
    StrategicSettings(mlmi_weight=0.0, nwrqk_weight=0.0, regime_weight=0.0),
)
TACTICAL = (
    TacticalSettings(),
    TacticalSettings(width=10, gap_max_age_bars=7, momentum_bars=2, volume_bars=4, value_bars=10,
                     atr_period=3, gap_min_atr=0.0, gap_decay=1.0),
    TacticalSettings(width=330, gap_max_age_bars=200, volume_bars=150, momentum_bars=140,
                     value_bars=260, atr_period=50),
    TacticalSettings(ambiguity=1 / 3, fvg_weight=0.0, free_extension_atr=0.0, pullback_atr=0.0),
    TacticalSettings(fvg_weight=0.0, momentum_weight=0.0, entry_weight=0.0),
    TacticalSettings(min_confidence=0.0, min_strategic_confidence=0.0, volume_influence=0.0),
    # Signals without a bias are acted on but for one rule, and entries wait far behind the price.
    TacticalSettings(min_bias=0.0, min_confidence=0.0, min_strategic_confidence=0.0,
                     entry_weight=0.0, free_extension_atr=0.0, pullback_atr=5e3),
)  # fmt: skip


def windows_of_all_kinds(width: int, seed: int) -> tuple[FloatArray, IntArray, IntArray]:
    """Return sound windows, and a few of everything that can be odd about one."""
    rng = np.random.default_rng(seed)
    windows, counts, times = series.random_windows(ROWS, width, seed)
    windows[::7] = np.round(windows[::7], 1)  # ties: equal prices, moves of nothing
    windows[1::11, :, :4] = windows[1::11, :1, :1]  # nothing moves at all
    windows[2::11, :, 4] = rng.choice([0.0, -0.0, 1.0], (len(windows[2::11]), width))
    windows[3::13, :, 4] = 0.0
    windows[4::17, -1, 1:4] *= rng.uniform(0.5, 2.0, (len(windows[4::17]), 1))  # a jump
    windows[5::19, :, 4] = 5e-324
    windows[6::23, :, :4] *= 1e190
    windows[7::23, :, :4] *= 1e-190
    broken = rng.choice([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300], len(windows[::29]))
    places = rng.integers(0, width, len(broken)), rng.integers(0, 5, len(broken))
    windows[np.arange(0, ROWS, 29), *places] = broken
    counts[::31] = rng.integers(0, width, len(counts[::31]))
    counts[1::31] = width + 5
    return windows, counts, times


def context_of_all_kinds(seed: int) -> StrategicContext:
    """Return strategic decisions, some of them not to be used."""
    rng = np.random.default_rng(seed)
    columns = rng.uniform(-1, 1, ROWS), rng.uniform(0, 1, ROWS), 10 ** rng.uniform(-5, -2, ROWS)
    for column in columns:
        odd = np.flatnonzero(rng.random(ROWS) < 0.05)
        column[odd] = rng.choice([np.nan, np.inf, -0.0, 0.0, 1.0, -1.0, 1.5, -1e-9], len(odd))
    regime = rng.integers(0, len(RegimeCode), ROWS).astype(np.int8)
    return StrategicContext(columns[0], columns[1], regime, columns[2])


def part(context: StrategicContext, rows: slice) -> StrategicContext:
    """Return some rows of a context."""
    return StrategicContext(*(getattr(context, f.name)[rows] for f in dataclasses.fields(context)))


def assert_same_bits(expected: Any, found: Any) -> None:
    """Assert that two batches hold the same types, shapes and bits."""
    for field in dataclasses.fields(expected):
        one, other = getattr(expected, field.name), getattr(found, field.name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), field.name
        assert one.tobytes() == other.tobytes(), (field.name, np.argwhere(one != other)[:5])


@pytest.mark.parametrize("tuned", STRATEGIC)
def test_the_strategic_kernel_equals_the_arrays_to_the_bit(tuned: StrategicSettings) -> None:
    """On windows of all kinds and under several settings, every number of a decision is equal."""
    assert strategic.compiled.kernel_of(tuned) is not None, "not compiled: run scripts/install"
    windows, counts, times = windows_of_all_kinds(tuned.width, seed=31)
    expected = strategic.arrays.decide(windows, counts, times, tuned)
    assert_same_bits(expected, strategic.compiled.decide(windows, counts, times, tuned))
    assert (expected.regime == RegimeCode.WARMUP).sum() > ROWS / 31


@pytest.mark.parametrize("tuned", TACTICAL)
def test_the_tactical_kernel_equals_the_arrays_to_the_bit(tuned: TacticalSettings) -> None:
    """On windows and contexts of all kinds and under several settings, every number is equal."""
    assert tactical.compiled.kernel_of(tuned) is not None, "not compiled: run scripts/install"
    windows, counts, _ = windows_of_all_kinds(tuned.width, seed=32)
    context = context_of_all_kinds(seed=33)
    expected = tactical.arrays.decide(windows, counts, context, tuned)
    assert_same_bits(expected, tactical.compiled.decide(windows, counts, context, tuned))


def test_the_comparison_reaches_every_branch() -> None:
    """The windows compared lead to every regime, action and reason."""
    one = strategic.compiled.decide(*windows_of_all_kinds(48, seed=31), STRATEGIC[0])
    assert set(one.regime.tolist()) == set(RegimeCode)
    assert set(one.action.tolist()) == {0, 1, 2}
    windows, counts, _ = windows_of_all_kinds(60, seed=32)
    two = tactical.compiled.decide(windows, counts, context_of_all_kinds(seed=33), TACTICAL[0])
    assert set(two.reason.tolist()) == set(ReasonCode)
    assert set(two.action.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("size", [1, 5, 64])
def test_rows_are_equal_however_rounds_are_cut(size: int) -> None:
    """Kernel and arrays may take turns over a log: cut anywhere, rows have the same bits."""
    windows, counts, times = windows_of_all_kinds(48, seed=34)
    expected = strategic.arrays.decide(windows, counts, times, STRATEGIC[0])
    wide, full, _ = windows_of_all_kinds(60, seed=35)
    context = context_of_all_kinds(seed=36)
    expected_entries = tactical.arrays.decide(wide, full, context, TACTICAL[0])
    for start in range(0, ROWS, size):
        rows = slice(start, start + size)
        piece = strategic.decide(windows[rows], counts[rows], times[rows], STRATEGIC[0])
        assert expected.distribution[rows].tobytes() == piece.distribution.tobytes()
        assert expected.agent_coherence[:, rows].tobytes() == piece.agent_coherence.tobytes()
        assert expected.volatility[rows].tobytes() == piece.volatility.tobytes()
        entry = tactical.decide(
            wide[rows], full[rows], times[rows], part(context, rows), TACTICAL[0]
        )
        assert expected_entries.entry[rows].tobytes() == entry.entry.tobytes()
        assert expected_entries.distribution[rows].tobytes() == entry.distribution.tobytes()


_PRICES = st.one_of(st.floats(1e-300, 1e300), st.floats(0.5, 2.0), st.sampled_from([1.0, 2.0]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(_PRICES, _PRICES, _PRICES, _PRICES, st.floats(0.0, 1e18) | st.just(0.0)),
        min_size=60, max_size=60,
    ),
    st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)),
    st.sampled_from(RegimeCode),
)  # fmt: skip
def test_no_bars_are_decided_differently(
    rows: list[tuple[float, ...]], above: tuple[float, float, float], regime: RegimeCode
) -> None:
    """Whatever the bars, absurd ones among them, both give the same bits."""
    windows, times = np.array(rows)[None], np.array([series.START_US])
    short, width = np.ascontiguousarray(windows[:, :48]), np.array([60])
    assert_same_bits(
        strategic.arrays.decide(short, width, times, STRATEGIC[0]),
        strategic.compiled.decide(short, width, times, STRATEGIC[0]),
    )
    bias, confidence, volatility = (np.array([each]) for each in above)
    context = StrategicContext(bias, confidence, np.array([regime], dtype=np.int8), volatility)
    assert_same_bits(
        tactical.arrays.decide(windows, width, context, TACTICAL[0]),
        tactical.compiled.decide(windows, width, context, TACTICAL[0]),
    )


@pytest.mark.parametrize("place", range(9))
def test_a_kernel_refuses_arrays_of_another_size(place: int) -> None:
    """It reads and writes memory, so an array that does not fit is refused before it does."""
    kernel: Any = strategic.compiled.kernel_of(STRATEGIC[0])
    arrays = [
        np.ones((2, 48, 5)), np.full(2, 48), np.zeros(2), np.ones(2), np.empty((2, 4, 3)),
        np.empty((2, 4)), np.empty((2, 2)), np.empty(2, dtype=np.int64), np.empty(2, dtype=np.int8),
    ]  # fmt: skip
    kernel.decide(*arrays)
    arrays[place] = np.ascontiguousarray(arrays[place][:1])
    with pytest.raises(ValueError, match=r"Expected an array of \d+ bytes, was \d+"):
        kernel.decide(*arrays)


_WITHOUT_COMPILER = """
import logging, sys
logging.basicConfig()
for name in ("rows", "strategic.kernel", "tactical.kernel"):
    sys.modules[f"pipeline.policies.{name}"] = None
import numpy as np
from pipeline.policies import strategic, tactical
from tests.unit.policies import test_kernels as kinds
windows, counts, times = kinds.windows_of_all_kinds(48, seed=31)
signals = strategic.decide(windows, counts, times, kinds.STRATEGIC[0])
windows, counts, times = kinds.windows_of_all_kinds(60, seed=32)
context = kinds.context_of_all_kinds(seed=33)
entries = tactical.decide(windows, counts, times, context, kinds.TACTICAL[0])
for each in (signals.distribution, signals.coherence, entries.entry, entries.coherence):
    print(each.tobytes().hex())
"""


def test_the_decisions_are_the_same_where_nothing_was_compiled() -> None:
    """Without the kernels the arrays decide, the same, and the log says that it is slow."""
    signals = strategic.decide(*windows_of_all_kinds(48, seed=31), STRATEGIC[0])
    windows, counts, times = windows_of_all_kinds(60, seed=32)
    entries = tactical.decide(windows, counts, times, context_of_all_kinds(seed=33), TACTICAL[0])
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_COMPILER], capture_output=True, text=True, check=True
    )
    found = (signals.distribution, signals.coherence, entries.entry, entries.coherence)
    assert [each.tobytes().hex() for each in found] == done.stdout.split()
    for name in ("rows", "strategic.kernel", "tactical.kernel"):
        assert f"pipeline.policies.{name} is not compiled" in done.stderr
