import math
from itertools import islice

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.market.feeds.synthetic import MarketRegime, SyntheticFeed


def test_same_seed_gives_the_same_bars() -> None:
    """Bars depend on the seed alone."""
    first = list(islice(SyntheticFeed(7, seed=3), 500))
    assert first == list(islice(SyntheticFeed(7, seed=3), 500))
    assert first != list(islice(SyntheticFeed(7, seed=4), 500))


@pytest.mark.parametrize("symbols", [1, 10, 10_000])
def test_symbols_take_turns(symbols: int) -> None:
    """Each step holds one bar of each symbol, all of one time."""
    items = list(islice(SyntheticFeed(symbols), 2 * symbols))
    assert len({item.symbol for item in items}) == symbols
    assert [item.symbol for item in items[:symbols]] == [item.symbol for item in items[symbols:]]
    assert len({item.time_us for item in items}) == 2
    assert items[-1].time_us - items[0].time_us == 60_000_000


def test_bars_are_valid() -> None:
    """Prices are positive and consistent, each bar opens where the last closed."""
    last: dict[str, float] = {}
    for symbol, _, bar in islice(SyntheticFeed(20, seed=9), 20_000):
        assert 0.0 < bar.low <= min(bar.open, bar.close)
        assert max(bar.open, bar.close) <= bar.high < math.inf
        assert bar.volume >= 0.0
        assert bar.volume == int(bar.volume)
        assert bar.open == last.get(symbol, bar.open)
        last[symbol] = bar.close


def test_every_regime_occurs() -> None:
    """Over some thousand steps of 100 symbols each regime comes up."""
    regimes = SyntheticFeed(100).regimes(2000)
    assert set(np.unique(regimes)) == set(MarketRegime)


def test_regimes_differ_as_their_names_say() -> None:
    """Trends drift their way, crashes fall hard, high volatility moves more than a range."""
    symbols, steps = 100, 2000
    feed = SyntheticFeed(symbols)
    regimes = feed.regimes(steps)
    bars = [item.bar for item in islice(feed, symbols * steps)]
    returns = np.array([math.log(bar.close / bar.open) for bar in bars]).reshape(steps, symbols)
    mean = {regime: float(returns[regimes == regime].mean()) for regime in MarketRegime}
    spread = {regime: float(returns[regimes == regime].std()) for regime in MarketRegime}
    assert mean[MarketRegime.TREND_UP] > 2e-4
    assert mean[MarketRegime.TREND_DOWN] < -2e-4
    assert abs(mean[MarketRegime.RANGE]) < 1e-4
    assert mean[MarketRegime.CRASH] < -4e-3
    assert spread[MarketRegime.HIGH_VOLATILITY] > 2 * spread[MarketRegime.RANGE]


def test_feed_ends_where_it_is_told() -> None:
    """`bars` bounds the number of bars, in the middle of a step too."""
    feed = SyntheticFeed(10, bars=25)
    assert feed.expected_bars == 25
    assert len(list(feed)) == 25


@pytest.mark.parametrize("symbols", [0, 10_001])
def test_other_numbers_of_symbols_are_refused(symbols: int) -> None:
    """1 to 10,000 symbols can be made."""
    with pytest.raises(UsageError, match="Expected 1 to 10,000"):
        SyntheticFeed(symbols)
