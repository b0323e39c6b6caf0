"""Bar windows: what they show, what they remember, what survives a dump."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, FatalError, InvalidPacket
from pipeline.policies.actions import FloatArray
from pipeline.policies.windows import BAR_FIELDS, BarWindows

WIDTH = 4


def numbered(*numbers: float) -> FloatArray:
    """Bars that can be told apart: bar x is (x, x + 0.1, x + 0.2, x + 0.3, x + 0.4)."""
    return np.array(numbers)[:, None] + np.arange(5) / 10


def opens(window: FloatArray) -> list[float]:
    """The opens of a window, without the padding."""
    return [float(value) for value in window[:, 0] if not math.isnan(value)]


class Reference:
    """Bar windows as plain lists."""

    def __init__(self) -> None:
        self.bars: dict[str, list[float]] = {}

    def batch(self, symbols: list[str], numbers: list[float]) -> list[list[float]]:
        """Remember a batch and return the window at each of its bars."""
        seen = []
        for symbol, number in zip(symbols, numbers, strict=True):
            self.bars[symbol] = [*self.bars.get(symbol, []), number][-WIDTH:]
            seen.append(self.bars[symbol])
        return seen


def test_fields_are_named_in_order() -> None:
    """The columns of a bar have names."""
    assert BAR_FIELDS == ("open", "high", "low", "close", "volume")


def test_a_window_ends_at_its_bar_and_is_padded_on_the_left() -> None:
    """A new bar stands last, history before it, NaN where there is none."""
    windows = BarWindows(WIDTH)
    windows.push("A", (1.0, 2.0, 0.5, 1.5, 10.0))
    shown, counts = windows.gather(["A"], np.array([[2.0, 3.0, 1.5, 2.5, 20.0]]))
    assert shown.shape == (1, WIDTH, 5)
    assert shown.dtype == np.float64
    assert shown.flags.c_contiguous
    assert counts.tolist() == [2]
    assert np.isnan(shown[0, :2]).all()
    assert shown[0, 2].tolist() == [1.0, 2.0, 0.5, 1.5, 10.0]
    assert shown[0, 3].tolist() == [2.0, 3.0, 1.5, 2.5, 20.0]


def test_gather_remembers_nothing() -> None:
    """Looking twice shows the same, and leaves the content as it was, unknown symbols included."""
    windows = BarWindows(WIDTH)
    windows.push_many(["A", "A", "B"], numbered(1, 2, 3))
    before = windows.dump()
    first, _ = windows.gather(["A", "C", "A"], numbered(4, 5, 6))
    second, _ = windows.gather(["A", "C", "A"], numbered(4, 5, 6))
    assert first.tobytes() == second.tobytes()
    assert windows.dump() == before
    assert "C" not in windows


def test_bars_of_one_symbol_see_those_before_them_in_the_batch() -> None:
    """Several bars of a symbol in one batch build on each other, past the width as well."""
    windows = BarWindows(WIDTH)
    windows.push("A", numbered(1)[0])
    symbols = ["A", "B", "A", "A", "B", "A", "A", "A"]
    shown, counts = windows.gather(symbols, numbered(*range(10, 18)))
    assert [opens(window) for window in shown] == [
        [1, 10],
        [11],
        [1, 10, 12],
        [1, 10, 12, 13],
        [11, 14],
        [10, 12, 13, 15],
        [12, 13, 15, 16],
        [13, 15, 16, 17],
    ]
    assert counts.tolist() == [2, 1, 3, 4, 2, 4, 4, 4]


def test_an_empty_batch_is_nothing() -> None:
    """No rows in, no rows out, nothing remembered."""
    windows = BarWindows(WIDTH)
    shown, counts = windows.gather([], np.empty((0, 5)))
    windows.push_many([], np.empty((0, 5)))
    assert (shown.shape, counts.shape, len(windows)) == ((0, WIDTH, 5), (0,), 0)


BATCHES = st.lists(st.lists(st.sampled_from("ABCDE"), max_size=12), max_size=8)


@settings(max_examples=100, deadline=None)
@given(BATCHES, st.sampled_from(["push", "push_many"]))
def test_compiled_or_not_the_windows_are_the_same(batches: list[list[str]], how: str) -> None:
    """Both show the same bits and remember the same, and refuse the same bars."""
    both = BarWindows(WIDTH), BarWindows(WIDTH, compiled=False)
    for number, symbols in enumerate(batches):
        bars = numbered(*(100.0 * number + row for row in range(len(symbols))))
        shown = [each.gather(symbols, bars) for each in both]
        assert shown[0][0].tobytes() == shown[1][0].tobytes()
        assert shown[0][1].tolist() == shown[1][1].tolist()
        for each in both:
            if how == "push_many":
                each.push_many(symbols, bars)
            else:
                for symbol, bar in zip(symbols, bars.tolist(), strict=True):
                    each.push(symbol, bar)
            if symbols and number % 3 == 0:
                each.reset(symbols[0])
        assert both[0].dump() == both[1].dump()
    for each in both:
        with pytest.raises(InvalidPacket, match="Expected five finite numbers as bar of B"):
            each.gather(["A", "B"], np.array([[1.0] * 5, [1.0, math.nan, 1.0, 1.0, 1.0]]))
        with pytest.raises(InvalidPacket, match="Expected bars of shape"):
            each.gather(["A"], np.ones((5, 1)))


@settings(max_examples=150, deadline=None)
@given(BATCHES, st.sampled_from(["push", "push_many"]))
def test_any_sequence_of_batches_equals_plain_lists(batches: list[list[str]], how: str) -> None:
    """Batches of any shape show and remember what lists would, pushed singly or together."""
    windows, reference, number = BarWindows(WIDTH), Reference(), 0
    for symbols in batches:
        numbers = [float(number + i) for i in range(len(symbols))]
        number += len(symbols)
        rows = numbered(*numbers) if symbols else np.empty((0, 5))
        shown, counts = windows.gather(symbols, rows)
        if how == "push_many":
            windows.push_many(symbols, rows)
        else:
            for symbol, row in zip(symbols, rows, strict=True):
                windows.push(symbol, row)
        expected = reference.batch(symbols, numbers)
        assert [opens(window) for window in shown] == expected
        assert counts.tolist() == [len(bars) for bars in expected]
    assert len(windows) == len(reference.bars)


@settings(max_examples=100, deadline=None)
@given(BATCHES)
def test_equal_content_dumps_to_equal_bytes(batches: list[list[str]]) -> None:
    """However the bars came in, and once through a dump, equal content gives equal bytes."""
    together, singly = BarWindows(WIDTH), BarWindows(WIDTH)
    for symbols in batches:
        if symbols:
            rows = numbered(*map(float, range(len(symbols))))
            together.push_many(symbols, rows)
            for symbol, row in zip(symbols, rows, strict=True):
                singly.push(symbol, row)
    restored = BarWindows(WIDTH)
    restored.push("Z", numbered(99)[0])
    restored.load(together.dump())
    assert together.dump() == singly.dump()
    assert together.dump() == restored.dump()


def test_a_load_goes_on_where_the_dump_left() -> None:
    """After a load the next windows are equal to the bit, half-full and odd-named ones included."""
    rng = np.random.default_rng(5)
    original, restored = BarWindows(48), BarWindows(48)
    names = [f"S{i}" for i in range(40)] + ["", "Ä €", "nul\0byte"]
    for size in (len(names), 7, 20):
        for _ in range(25):
            original.push_many(names[:size], rng.lognormal(0, 3, (size, 5)))
    restored.load(original.dump())
    later = [*names, "new", names[0]]
    bars = rng.random((len(later), 5))
    for one, other in zip(original.gather(later, bars), restored.gather(later, bars), strict=True):
        assert one.tobytes() == other.tobytes()
    original.push_many(later, bars)
    restored.push_many(later, bars)
    assert original.dump() == restored.dump()


def test_a_reset_symbol_starts_anew() -> None:
    """After a reset a symbol is unknown, others are not touched, its place is used again."""
    windows, fresh = BarWindows(WIDTH), BarWindows(WIDTH)
    windows.push_many(["A", "B", "A", "A", "A"], numbered(1, 2, 3, 4, 5))
    windows.reset("A")
    windows.reset("never seen")
    fresh.push("B", numbered(2)[0])
    assert windows.dump() == fresh.dump()
    windows.push("C", numbered(4)[0])
    shown, counts = windows.gather(["A", "C"], numbered(5, 6))
    assert [opens(window) for window in shown] == [[5], [4, 6]]
    assert counts.tolist() == [1, 2]


def test_many_symbols_fit() -> None:
    """Ten thousand symbols keep their own bars apart while the arrays grow."""
    windows = BarWindows(WIDTH)
    names = [f"S{i}" for i in range(10_000)]
    windows.push_many(names, numbered(*map(float, range(10_000))))
    shown, _ = windows.gather(["S0", "S17", "S9999"], numbered(-1, -2, -3))
    assert [opens(window) for window in shown] == [[0, -1], [17, -2], [9999, -3]]
    assert len(windows) == 10_000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_bars_that_are_no_numbers_are_refused(value: float) -> None:
    """A bar that is not finite is refused by name and changes nothing."""
    windows = BarWindows(WIDTH)
    bars = numbered(1, 2)
    bars[1, 3] = value
    with pytest.raises(InvalidPacket, match="bar of B"):
        windows.push("B", bars[1])
    with pytest.raises(InvalidPacket, match="bar of B"):
        windows.push_many(["A", "B"], bars)
    with pytest.raises(InvalidPacket, match="bar of B"):
        windows.gather(["A", "B"], bars)
    assert len(windows) == 0


def test_bars_of_another_shape_are_refused() -> None:
    """Too few fields, or rows without a symbol, are an error."""
    windows = BarWindows(WIDTH)
    with pytest.raises(InvalidPacket, match="Expected five finite numbers"):
        windows.push("A", (1.0, 2.0))
    with pytest.raises(InvalidPacket, match=r"Expected bars of shape \(1, 5\)"):
        windows.gather(["A"], numbered(1, 2))


@pytest.mark.parametrize("width", [1, 65_536])
def test_widths_that_cannot_work_are_refused(width: int) -> None:
    """A window has at least two bars, and as many as the dump can name."""
    with pytest.raises(ConfigurationError, match="Expected a window of 2 to 65535 bars"):
        BarWindows(width)


def test_a_dump_of_another_width_is_refused() -> None:
    """Windows of one stage cannot be loaded into another; nothing changes."""
    windows = BarWindows(WIDTH)
    windows.push("A", numbered(1)[0])
    before = windows.dump()
    with pytest.raises(FatalError, match="Expected a version 1 dump of windows of 4 bars"):
        windows.load(BarWindows(WIDTH + 1).dump())
    assert windows.dump() == before


def test_damaged_dumps_are_refused() -> None:
    """A dump cut anywhere, or with any byte changed, is refused and changes nothing."""
    source, windows = BarWindows(WIDTH), BarWindows(WIDTH)
    source.push_many(["A", "B", "A"], numbered(1, 2, 3))
    data = source.dump()
    for size in range(len(data)):
        with pytest.raises(FatalError):
            windows.load(data[:size])
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        with pytest.raises(FatalError):
            windows.load(bytes(changed))
    assert len(windows) == 0
