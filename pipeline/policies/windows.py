"""Bar history per symbol, and the windows that end at new bars.

One ring of `width` bars per symbol, all rings in one array, so that a batch costs a handful of
numpy calls however many symbols there are, or a copy per row where `pipeline.policies.rows` is
compiled. `gather` only looks; `push` and `push_many` remember.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from math import isfinite

import numpy as np

from pipeline.errors import ConfigurationError, FatalError, InvalidPacket
from pipeline.policies.actions import FloatArray, IntArray
from pipeline.policies.kernels import compiled_module

__all__ = ["BAR_FIELDS", "BarWindows"]

BAR_FIELDS = ("open", "high", "low", "close", "volume")

_FIELDS = len(BAR_FIELDS)
_NOBODY = 0  # slot of the symbols that have no history; stays empty
_FIRST_CAPACITY = 16
_MIN_WIDTH, _MAX_WIDTH = 2, 0xFFFF  # the header holds 16 bits
_HEADER = struct.Struct("<4sHHI")  # magic, version, width, symbols
_CHECKSUM = struct.Struct("<I")  # crc32 of all before it
_MAGIC = b"BARW"
_VERSION = 1


class BarWindows:
    """The last `width` bars of every symbol.

    Not thread-safe. Memory: 40 bytes per bar, `width` bars per symbol.

    Args:
        width: Bars per window, at least 2.
        compiled: Whether to use compiled code where it is there; the content is the same.
    """

    def __init__(self, width: int, *, compiled: bool = True) -> None:
        if not _MIN_WIDTH <= width <= _MAX_WIDTH:
            raise ConfigurationError(
                f"Expected a window of {_MIN_WIDTH} to {_MAX_WIDTH} bars, was {width}"
            )
        self.width = width
        self._rows = compiled_module("rows") if compiled else None
        self._slots: dict[str, int] = {}
        self._clear(_FIRST_CAPACITY)

    def __len__(self) -> int:
        """Return the number of symbols with a history."""
        return len(self._slots)

    def __contains__(self, symbol: str) -> bool:
        """Tell whether a symbol has a history."""
        return symbol in self._slots

    def push(self, symbol: str, bar: Sequence[float] | FloatArray) -> None:
        """Remember a bar (open, high, low, close, volume) as the latest of its symbol.

        Raises:
            InvalidPacket: Not five finite numbers; nothing is remembered.
        """
        if len(bar) != _FIELDS or not all(map(isfinite, bar)):
            raise InvalidPacket(f"Expected five finite numbers as bar of {symbol}, was {bar}")
        slot = self._slot_for(symbol)
        if self._rows is not None:
            self._rows.push(slot, bar, self._bars, self._heads, self._counts, self.width)
            return
        head = int(self._heads[slot])
        self._bars[slot, head] = bar
        self._heads[slot] = (head + 1) % self.width
        if self._counts[slot] < self.width:
            self._counts[slot] += 1

    def push_many(self, symbols: Sequence[str], bars: FloatArray) -> None:
        """Remember one bar per row, in the order of the rows; as `push` for each.

        Args:
            symbols: n symbols, repeats allowed.
            bars: [n, 5].

        Raises:
            InvalidPacket: A number that is not finite; nothing is remembered.
        """
        self._check(symbols, bars)
        if not symbols:
            return
        names, group, rank, sizes = _grouped(symbols)
        slots = np.array([self._slot_for(name) for name in names])
        kept = rank >= (sizes - self.width)[group]  # only these outlive the batch
        group, rank = group[kept], rank[kept]
        rows = slots[group]
        self._bars[rows, (self._heads[rows] + rank) % self.width] = bars[kept]
        self._heads[slots] = (self._heads[slots] + sizes) % self.width
        self._counts[slots] = np.minimum(self._counts[slots] + sizes, self.width)

    def gather(self, symbols: Sequence[str], bars: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return the window that ends at each new bar, remembering nothing.

        A symbol may come several times: each of its bars sees those in the rows before it.

        Args:
            symbols: n symbols, repeats allowed.
            bars: [n, 5], the new bars.

        Returns:
            Windows [n, width, 5], C-contiguous, oldest bar first, NaN on the left where there are
            fewer bars; and the number of bars in each, [n].

        Raises:
            InvalidPacket: A number that is not finite.
        """
        width = self.width
        if self._rows is not None and bars.shape == (len(symbols), _FIELDS):
            return self._gathered(symbols, bars)
        self._check(symbols, bars)
        if not symbols:
            return np.empty((0, width, _FIELDS)), np.empty(0, dtype=np.int64)
        names, group, rank, sizes = _grouped(symbols)
        slots = np.array([self._slots.get(name, _NOBODY) for name in names])
        # One timeline per symbol, end to end: width - 1 bars of history, then the new ones.
        starts = np.cumsum(width - 1 + sizes) - (width - 1 + sizes)
        timelines = np.empty((len(symbols) + len(names) * (width - 1), _FIELDS))
        past = np.arange(1, width)
        history = self._bars[slots[:, None], (self._heads[slots][:, None] + past) % width]
        timelines[starts[:, None] + (past - 1)] = history
        first = starts[group] + rank
        timelines[first + (width - 1)] = bars
        windows = timelines[first[:, None] + np.arange(width)]
        return windows, np.minimum(self._counts[slots][group] + rank + 1, width)

    def _gathered(self, symbols: Sequence[str], bars: FloatArray) -> tuple[FloatArray, IntArray]:
        assert self._rows is not None  # noqa: S101  # the caller asked
        windows = np.empty((len(symbols), self.width, _FIELDS))
        sizes = np.empty(len(symbols), dtype=np.int64)
        try:
            self._rows.gather(
                list(symbols), np.ascontiguousarray(bars, dtype=np.float64), self._slots,
                self._bars, self._heads, self._counts, self.width, windows, sizes,
            )  # fmt: skip
        except ArithmeticError:
            self._check(symbols, bars)  # says which
            raise
        return windows, sizes

    def reset(self, symbol: str) -> None:
        """Forget a symbol; its next bar starts a new window. Unknown symbols are no error."""
        slot = self._slots.pop(symbol, None)
        if slot is not None:
            self._bars[slot] = np.nan
            self._heads[slot] = self._counts[slot] = 0
            self._free.append(slot)

    def dump(self) -> bytes:
        """Return the content as bytes: equal content gives equal bytes, to the last bit of a bar.

        Layout (little-endian): header; one bar count per symbol (uint32); length of the names
        (uint32) and the names, sorted, as JSON; the bars, oldest first (float64); checksum.
        """
        names = sorted(self._slots)
        slots = np.array([self._slots[name] for name in names], dtype=np.int64)
        counts = self._counts[slots]
        places = (self._heads[slots][:, None] + np.arange(self.width)) % self.width
        present = np.arange(self.width) >= self.width - counts[:, None]
        bars = self._bars[slots[:, None], places][present]
        text = json.dumps(names).encode()
        content = b"".join(
            (
                _HEADER.pack(_MAGIC, _VERSION, self.width, len(names)),
                counts.astype("<u4").tobytes(),
                struct.pack("<I", len(text)),
                text,
                bars.astype("<f8").tobytes(),
            )
        )
        return content + _CHECKSUM.pack(zlib.crc32(content))

    def load(self, data: bytes) -> None:
        """Replace the content by what `dump` returned.

        Raises:
            FatalError: Bytes that no `dump` of this version and width wrote; content unchanged.
        """
        size = _checked_symbols(data, self.width)
        at = _HEADER.size
        counts = np.frombuffer(data, "<u4", size, at).astype(np.int64)
        at += 4 * size
        (text_size,) = struct.unpack_from("<I", data, at)
        at += 4
        names = json.loads(data[at : at + text_size])
        bars = np.frombuffer(data[at + text_size : -_CHECKSUM.size], "<f8").reshape(-1, _FIELDS)
        self._clear(max(_FIRST_CAPACITY, size + 1))
        self._slots = {name: slot for slot, name in enumerate(names, start=1)}
        self._free = list(range(len(self._bars) - 1, size, -1))
        self._counts[1 : size + 1] = counts
        present = np.arange(self.width) >= self.width - counts[:, None]
        self._bars[1 : size + 1][present] = bars

    def _clear(self, capacity: int) -> None:
        self._bars = np.full((capacity, self.width, _FIELDS), np.nan)
        self._heads = np.zeros(capacity, dtype=np.int64)  # place of the next bar = of the oldest
        self._counts = np.zeros(capacity, dtype=np.int64)
        self._slots = {}
        self._free = list(range(capacity - 1, _NOBODY, -1))

    def _slot_for(self, symbol: str) -> int:
        slot = self._slots.get(symbol)
        if slot is None:
            if not self._free:
                self._grow()
            slot = self._slots[symbol] = self._free.pop()
        return slot

    def _grow(self) -> None:
        old = len(self._bars)
        self._bars = np.concatenate((self._bars, np.full_like(self._bars, np.nan)))
        self._heads = np.concatenate((self._heads, np.zeros_like(self._heads)))
        self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
        self._free = list(range(2 * old - 1, old - 1, -1))

    @staticmethod
    def _check(symbols: Sequence[str], bars: FloatArray) -> None:
        if bars.shape != (len(symbols), _FIELDS):
            raise InvalidPacket(
                f"Expected bars of shape ({len(symbols)}, {_FIELDS}), was {bars.shape}"
            )
        finite = np.isfinite(bars)
        if not finite.all():
            row = int(np.flatnonzero(~finite.all(axis=1))[0])
            raise InvalidPacket(
                f"Expected five finite numbers as bar of {symbols[row]}, was {bars[row].tolist()}"
            )


def _grouped(symbols: Sequence[str]) -> tuple[list[str], IntArray, IntArray, IntArray]:
    """Distinct symbols; each row's symbol among them and its rank there; rows per symbol."""
    places: dict[str, int] = {}
    sizes: list[int] = []
    group, rank = [], []
    for symbol in symbols:
        place = places.setdefault(symbol, len(sizes))
        if place == len(sizes):
            sizes.append(0)
        group.append(place)
        rank.append(sizes[place])
        sizes[place] += 1
    return list(places), np.array(group), np.array(rank), np.array(sizes)


def _checked_symbols(data: bytes, width: int) -> int:
    """Check a dump and return how many symbols it holds."""
    hint = "; drop the snapshot and rebuild the windows from the log"
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise FatalError(f"Expected a dump of bar windows, was {len(data)} bytes{hint}")
    (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
    magic, version, stored_width, size = _HEADER.unpack_from(data)
    if (magic, version, stored_width) != (_MAGIC, _VERSION, width):
        raise FatalError(
            f"Expected a version {_VERSION} dump of windows of {width} bars, was {magic!r} "
            f"version {version} of {stored_width} bars{hint}"
        )
    if zlib.crc32(data[: -_CHECKSUM.size]) != checksum:
        raise FatalError(f"Expected bar windows with checksum {checksum}, was another{hint}")
    return int(size)
