"""What risk remembers of the market."""

import itertools
import math
import random

import msgspec
import numpy as np
import pytest

from pipeline.policies.risk import Market


def feed(market: Market, count: int, seed: int = 1, symbols: str = "ABC") -> None:
    """Give a market random bars of several symbols in turn."""
    rng = random.Random(seed)
    price = dict.fromkeys(symbols, 100.0)
    for time_us in range(count):
        for symbol in symbols:
            price[symbol] *= 1.0 + rng.gauss(0.0, 0.001)
            market.update(symbol, time_us, price[symbol], rng.uniform(1e3, 1e6))


def reload(market: Market) -> Market:
    """Return the market after a trip through bytes."""
    return Market.load(msgspec.msgpack.decode(msgspec.msgpack.encode(market.dump())))


def test_a_mark_is_the_last_close() -> None:
    """The mark follows the bars, and says what it was before."""
    market = Market(4)
    assert market.update("A", 1, 100.0, 5.0) == (0.0, 100.0)
    assert market.update("A", 2, 101.0, 5.0) == (100.0, 101.0)
    assert (market.mark("A"), market.time_us("A"), market.bars("A")) == (101.0, 2, 2)
    assert (market.mark("B"), market.bars("B"), market.average_volume("B")) == (0.0, 0, 0.0)


def test_an_old_bar_changes_nothing() -> None:
    """A bar older than the newest of its symbol does not move the mark."""
    market = Market(4)
    market.update("A", 5, 100.0, 5.0)
    assert market.update("A", 4, 90.0, 5.0) == (100.0, 100.0)
    assert (market.mark("A"), market.bars("A")) == (100.0, 1)


def test_bars_of_one_moment_share_a_row() -> None:
    """Symbols that move one after the other are compared as of one step, in whatever order."""
    market = Market(8)
    for time_us, close in enumerate([100.0, 101.0, 100.0, 102.0, 101.0]):
        market.update("A", time_us, close, 1.0)
        market.update("B", time_us, 2.0 * close, 1.0)
    scaled, volatility = market.history(["A", "B"])
    assert scaled[:, 0].tolist() == pytest.approx(scaled[:, 1].tolist())
    assert volatility[0] == pytest.approx(volatility[1])
    assert np.count_nonzero(scaled[:, 0]) == 3  # the first return has no volatility to scale it


def test_volatility_equals_the_recursion() -> None:
    """Volatility and average volume equal RiskMetrics' recursion written out."""
    rng = random.Random(2)
    closes = [100.0]
    for _ in range(200):
        closes.append(closes[-1] * (1.0 + rng.gauss(0.0, 0.002)))
    market = Market(8)
    for time_us, close in enumerate(closes):
        market.update("A", time_us, close, float(time_us))
    moves = [after / before - 1.0 for before, after in itertools.pairwise(closes)]
    fast = slow = moves[0] ** 2
    volume = 0.0
    for time_us, move in enumerate(moves, start=1):
        volume = 0.94 * volume + 0.06 * time_us
        if time_us > 1:
            fast, slow = 0.94 * fast + 0.06 * move**2, 0.99 * slow + 0.01 * move**2
    assert market.history(["A"])[1][0] == pytest.approx(math.sqrt(fast))
    assert market.stress("A") == pytest.approx(math.sqrt(fast / slow))
    assert market.average_volume("A") == pytest.approx(volume)


def test_one_broken_bar_does_not_fill_the_history() -> None:
    """A return of a hundred volatilities is stored as eight."""
    market = Market(64)
    feed(market, 50)
    market.update("A", 1000, 2.0 * market.mark("A"), 1.0)
    assert market.history(["A"])[0].max() == 8.0


@pytest.mark.parametrize("symbols", ["ABC", "".join(map(chr, range(200, 300)))])
def test_a_dump_goes_on_to_the_last_bit(symbols: str) -> None:
    """A market that went through bytes stays equal to the one that did not."""
    market = Market(16)
    feed(market, 40, symbols=symbols)
    copy = reload(market)
    feed(market, 30, seed=2, symbols=symbols)
    feed(copy, 30, seed=2, symbols=symbols)
    assert market.dump() == copy.dump()
    names = list(symbols)[::-1]
    for one, other in zip(market.history(names), copy.history(names), strict=True):
        assert one.tobytes() == other.tobytes()
