import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.market.bridge import IntradayBars, expand_day
from pipeline.market.data import read_days

Prices = tuple[float, float, float, float]


@st.composite
def days(draw: st.DrawFn) -> Prices:
    """Draw a day's open, high, low, close, often with some of them equal."""
    cents = st.integers(100, 200_000)
    low, high = sorted((draw(cents), draw(cents)))
    inside = st.one_of(st.sampled_from([low, high]), st.integers(low, high))
    return (draw(inside) / 100, high / 100, low / 100, draw(inside) / 100)


def _expanded(prices: Prices, volume: int, bars: int, seed: int) -> IntradayBars:
    return expand_day(prices, volume, bars, np.random.default_rng(seed))


def _kept(day: IntradayBars) -> tuple[float, ...]:
    return (
        float(day.open[0]),
        float(day.high.max()),
        float(day.low.min()),
        float(day.close[-1]),
        int(day.volume.sum()),
    )


@settings(max_examples=300, deadline=None)
@given(
    prices=days(),
    volume=st.one_of(st.integers(0, 500), st.integers(0, 10**10)),
    bars=st.integers(2, 400),
    seed=st.integers(0, 2**63),
)
def test_bars_keep_the_days_figures_exactly(
    prices: Prices, volume: int, bars: int, seed: int
) -> None:
    """The bars' open, high, low, close and volume are the day's own, to the last bit."""
    assert _kept(_expanded(prices, volume, bars, seed)) == (*prices, volume)


@settings(max_examples=200, deadline=None)
@given(prices=days(), volume=st.integers(0, 10**9), bars=st.integers(2, 400), seed=st.integers(0))
def test_bars_are_consistent(prices: Prices, volume: int, bars: int, seed: int) -> None:
    """In each bar low <= open, close <= high, each opens where the last closed, volume >= 0."""
    day = _expanded(prices, volume, bars, seed)
    assert bool((day.low <= np.minimum(day.open, day.close)).all())
    assert bool((day.high >= np.maximum(day.open, day.close)).all())
    assert bool((day.open[1:] == day.close[:-1]).all())
    assert int(day.volume.min()) >= 0
    assert len(day.open) == len(day.volume) == bars


def test_every_real_day_is_kept() -> None:
    """Each of the 12,154 shipped days comes back exactly from its bars."""
    for symbol, history in read_days().items():
        for seed, day in enumerate(history):
            found = _kept(_expanded(day[1:5], day.volume, 13, seed))
            assert found == tuple(day[1:]), (symbol, day.day)


def test_seed_alone_decides_the_way() -> None:
    """The same seed gives the same bars, another seed others."""
    prices = (100.0, 104.0, 99.0, 103.0)
    first, again, other = (_expanded(prices, 10**6, 390, seed) for seed in (1, 1, 2))
    assert first.close.tobytes() == again.close.tobytes()
    assert first.volume.tobytes() == again.volume.tobytes()
    assert first.close.tobytes() != other.close.tobytes()


def test_volume_is_higher_at_both_ends_of_the_session() -> None:
    """Averaged over seeds, the first and last tenth trade more than twice the middle tenth."""
    total = np.zeros(390, dtype=np.int64)
    for seed in range(20):
        total += _expanded((100.0, 102.0, 99.0, 101.0), 10**7, 390, seed).volume
    middle = total[175:214].sum()
    assert total[:39].sum() > 2 * middle
    assert total[-39:].sum() > 2 * middle


def test_path_moves_all_day() -> None:
    """The way between the known prices is a walk: few one-minute bars stand still."""
    day = _expanded((100.0, 102.0, 99.0, 101.0), 10**7, 390, 5)
    assert float((day.high > day.low).mean()) > 0.95


def test_intraday_volatility_fits_the_days_range() -> None:
    """Summed squared minute returns come, on average, near Parkinson's variance of the day."""
    expected = math.log(102 / 99) ** 2 / (4 * math.log(2))
    found = []
    for seed in range(30):
        day = _expanded((100.0, 102.0, 99.0, 101.0), 10**7, 390, seed)
        found.append(float((np.log(day.close / day.open) ** 2).sum()))
    assert 0.5 * expected < float(np.mean(found)) < 2.0 * expected


@pytest.mark.parametrize(
    ("prices", "volume", "bars"),
    [
        ((100.0, 99.0, 98.0, 98.5), 1, 10),
        ((100.0, 101.0, 100.5, 101.0), 1, 10),
        ((0.0, 1.0, 0.0, 1.0), 1, 10),
        ((1.0, math.nan, 1.0, 1.0), 1, 10),
        ((1.0, math.inf, 1.0, 1.0), 1, 10),
        ((1.0, 1.0, 1.0, 1.0), -1, 10),
        ((1.0, 1.0, 1.0, 1.0), 1, 1),
    ],
)
def test_contradictory_days_are_refused(prices: Prices, volume: int, bars: int) -> None:
    """A day whose figures contradict one another, or too few bars, raises ValueError."""
    with pytest.raises(ValueError, match="Expected"):
        _expanded(prices, volume, bars, 1)
