"""What generated codecs are made of: Avro's long, string, bytes and map, checked, in plain Python.

Every function raises one of `REFUSALS` on a value that it does not take, be it for its constraint,
its type, or only because it is too rare to be worth a fast path. Tables hold what is short, caches
what repeats; both are bounded, whatever bytes come in. A position past the end of a buffer needs no
check where text or bytes are sliced: the reader's position is then past the end too, and the caller
compares it with the length.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, Final, NamedTuple

__all__ = [
    "BITS",
    "HIGH_BITS",
    "HIGH_BYTES",
    "LONGS",
    "MORE",
    "ONE_TEXT",
    "REFUSALS",
    "SHORT",
    "SPANS",
    "STRINGS",
    "ZIGZAGS",
    "Maps",
    "Texts",
    "Unusual",
    "long_writer",
    "maps",
    "read_bytes",
    "read_long",
    "read_size",
    "texts",
    "times_unpacker",
    "write_bytes",
    "write_size",
]

SHORT: Final = 64
"""A length or count below this takes one byte."""

_MOST_CACHED = 4096
_CONTINUED = 0x80  # set in every byte of a long but its last
_FOURTEEN = 0x3FFF
_TEN_BYTES = 70  # bits


class Unusual(ValueError):
    """A value that compiled code leaves to the careful path."""


REFUSALS: Final = (
    Unusual, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error,
)  # fmt: skip
"""What a generated function may raise; none of them says more than "not by me"."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _CONTINUED:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# Fourteen bits at a time: a time in microseconds is four look-ups instead of eight rounds.
_LAST: Final[list[bytes]] = [_varint(bits) for bits in range(_FOURTEEN + 1)]
MORE: Final = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_FOURTEEN + 1)]
BITS: Final[list[Any]] = [None] * 65536  # None where one of the two bytes ends a number
for _bits, _pair in enumerate(MORE):
    BITS[int.from_bytes(_pair, "little")] = _bits

ZIGZAGS: Final = [(n >> 1) ^ -(n & 1) for n in range(_FOURTEEN + 1)]
"""Number by its zigzag form, for all that take one or two bytes."""

LONGS: Final = [_LAST[n << 1] for n in range(8192)] + [_LAST[(-n << 1) - 1] for n in range(-64, 0)]
"""Bytes by number, for -64 to 8191; a negative number counts from the list's end."""


class _HighBytes(dict[int, bytes]):
    """Varint of the bits above 28, which a clock changes every 134 seconds."""

    def __missing__(self, high: int) -> bytes:
        if len(self) > _MOST_CACHED:
            self.clear()
        self[high] = found = _varint(high)
        return found


class _HighBits(dict[int, int]):
    """Bits 28 and up by the last four bytes of an eight-byte varint."""

    def __missing__(self, word: int) -> int:
        low: int | None = BITS[word & 0xFFFF]
        last = word >> 24
        if low is None or not word >> 23 & 1 or last >= _CONTINUED:
            raise Unusual
        if len(self) > _MOST_CACHED:
            self.clear()
        found: int = (low | (word >> 16 & 0x7F) << 14 | last << 21) << 28
        self[word] = found
        return found


HIGH_BYTES: Final = _HighBytes()
HIGH_BITS: Final = _HighBits()
_eight_bytes = struct.Struct("<HHI").unpack_from


@cache
def times_unpacker(count: int) -> Callable[..., tuple[int, ...]]:
    """Return what unpacks `count` neighbours of eight bytes, each as two, two and four."""
    return struct.Struct("<" + count * "HHI").unpack_from


@cache
def long_writer(least: int, most: int) -> Callable[[Any], bytes]:
    """Return a function from an integer of `least` to `most` to its Avro bytes."""

    def write(given: Any) -> bytes:
        if type(given) is not int and not isinstance(given, IntEnum):
            raise Unusual
        number = int(given)
        if not least <= number <= most:
            raise Unusual
        bits = number << 1 if number >= 0 else (-number << 1) - 1
        if bits <= _FOURTEEN:
            return _LAST[bits]
        if bits < 1 << 28:
            return MORE[bits & _FOURTEEN] + _LAST[bits >> 14]
        low = MORE[bits & _FOURTEEN] + MORE[bits >> 14 & _FOURTEEN]
        return low + HIGH_BYTES[bits >> 28]

    return write


def read_long(value: bytes, at: int) -> tuple[int, int]:
    """Return (integer, position after it); refuses what no 64 bits hold."""
    try:
        first, second, rest = _eight_bytes(value, at)
    except struct.error:  # near the end
        return _read_slowly(value, at)
    low = BITS[first]
    if low is None:
        return _read_slowly(value, at)
    middle = BITS[second]
    if middle is not None:
        try:
            bits = low | middle << 14 | HIGH_BITS[rest]
        except Unusual:
            return _read_slowly(value, at)
        return (bits >> 1) ^ -(bits & 1), at + 8
    third = second & 0xFF
    if third < _CONTINUED:
        bits = low | third << 14
        return (bits >> 1) ^ -(bits & 1), at + 3
    bits = low | (third & 0x7F) << 14 | (second >> 8) << 21
    return (bits >> 1) ^ -(bits & 1), at + 4


def _read_slowly(value: bytes, at: int) -> tuple[int, int]:
    bits = 0
    for shift in range(0, _TEN_BYTES, 7):
        byte = value[at]
        at += 1
        bits |= (byte & 0x7F) << shift
        if byte < _CONTINUED and not bits >> 64:
            return (bits >> 1) ^ -(bits & 1), at
    raise Unusual


write_size = long_writer(0, 2**62)


def read_size(value: bytes, at: int) -> tuple[int, int]:
    """Return (length or count, position after it); refuses negative ones."""
    byte = value[at]
    if byte < _CONTINUED:
        size, at = ZIGZAGS[byte], at + 1
    elif value[at + 1] < _CONTINUED:
        size, at = ZIGZAGS[byte & 0x7F | value[at + 1] << 7], at + 2
    else:
        size, at = read_long(value, at)
    if size < 0:
        raise Unusual
    return size, at


def write_bytes(data: Any) -> bytes:
    """Return Avro's bytes with their length before them."""
    if type(data) is not bytes:
        raise Unusual
    return write_size(len(data)) + data


def read_bytes(value: bytes, at: int) -> tuple[bytes, int]:
    """Return (bytes, position after them)."""
    size, at = read_size(value, at)
    return value[at : at + size], at + size


class _Strings(dict[bytes, str]):
    """Text by its Avro bytes, for texts that are the same in packet after packet."""

    def __missing__(self, data: bytes) -> str:
        text = data[1:].decode()
        if len(self) > _MOST_CACHED:
            self.clear()
        self[data] = text
        return text


class _OneText(dict[bytes, tuple[str]]):
    """Tuple of one short text by the bytes of an array of one, as most lists of reasons are."""

    def __missing__(self, data: bytes) -> tuple[str]:
        if data[-1]:
            raise Unusual
        if len(self) > _MOST_CACHED:
            self.clear()
        self[data] = found = (STRINGS[data[1:-1]],)
        return found


STRINGS: Final = _Strings()
ONE_TEXT: Final = _OneText()
SPANS: Final = [
    tuple(
        0 if size & 1 or size >= _CONTINUED or size >> 1 < least else 1 + (size >> 1)
        for size in range(256)
    )
    for least in (0, 1)
]
"""By least length and first byte: how many bytes a short text takes; 0 where it is not short."""


class Texts(dict[str, bytes]):
    """Avro strings of `least` to `most` characters; `texts[text]` remembers, `encoded` does not.

    Names of stages, symbols, accounts and topics are the same in packet after packet.
    """

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self._least = least
        self._most = most

    def __missing__(self, text: str) -> bytes:
        found = self.encoded(text)
        if len(found) <= SHORT:
            if len(self) > _MOST_CACHED:
                self.clear()
            self[text] = found
        return found

    def encoded(self, text: Any) -> bytes:
        """Return the bytes of a text."""
        if not isinstance(text, str) or not self._least <= len(text) <= self._most:
            raise Unusual
        data = text.encode()
        size = len(data)
        return (LONGS[size] if size < SHORT else write_size(size)) + data

    def read(self, value: bytes, at: int) -> tuple[str, int]:
        """Return (text, position after it)."""
        size, at = read_size(value, at)
        text = value[at : at + size].decode()
        if not self._least <= len(text) <= self._most:
            raise Unusual
        return text, at + size


@cache
def texts(least: int, most: int) -> Texts:
    """Return the one `Texts` of these limits."""
    return Texts(least, most)


class _Layout(NamedTuple):
    """How a map is written and read that has these keys in this order; only its numbers vary."""

    write: Callable[..., bytes]
    read: Callable[[bytes, int], tuple[dict[str, float], int]]


_LAYOUT = """
def write({numbers}):
    if not (type({types}) is float and {checks}):
        raise Unusual
    return pack({pieces}, b"\\0")

def read(value, at):
    {names}, end = unpack(value, at)
    if not ({same} and end == b"\\0" and {checks}):
        raise Unusual
    return {{{items}}}, at + size
"""


def _layout(keys: tuple[str, ...], least: float, most: float) -> _Layout:
    names = [LONGS[len(data := key.encode())] + data for key in keys]
    names[0] = LONGS[len(keys)] + names[0]
    form = struct.Struct("<" + "".join(f"{len(name)}sd" for name in names) + "s")
    each = range(len(keys))
    source = _LAYOUT.format(
        numbers=", ".join(f"x{i}" for i in each),
        types=") is type(".join(f"x{i}" for i in each),
        checks=" and ".join(f"{least} <= x{i} <= {most}" for i in each),
        pieces=", ".join(f"n{i}, x{i}" for i in each),
        names=", ".join(f"k{i}, x{i}" for i in each),
        same=" and ".join(f"k{i} == n{i}" for i in each),
        items=", ".join(f"key{i}: x{i}" for i in each),
    )
    bound: dict[str, Any] = {"Unusual": Unusual, "size": form.size}
    bound |= {"pack": form.pack, "unpack": form.unpack_from}
    bound |= {f"n{i}": name for i, name in enumerate(names)}
    bound |= {f"key{i}": key for i, key in enumerate(keys)}
    exec(source, bound)  # noqa: S102  # keys are bound by name, so that no text from outside runs
    return _Layout(bound["write"], bound["read"])


class Maps:
    """Avro maps from text to numbers of `least` to `most`.

    A stage's distributions have the same keys each time, so that a map is packed and unpacked in
    one go once its keys have been seen. Only maps of a few short keys are taken.
    """

    _MOST_LAYOUTS = 64
    _HEAD = 4  # count, length of the first key, and two of its letters tell most layouts apart

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._by_keys: dict[tuple[str, ...], _Layout] = {}
        self._by_head: dict[bytes, _Layout] = {}

    def write(self, held: Any) -> bytes:
        """Return the bytes of a dict."""
        if type(held) is not dict:
            raise Unusual
        if not held:
            return b"\x00"
        keys = tuple(held)
        layout = self._by_keys.get(keys) or self._learn(keys)
        return layout.write(*held.values())

    def read(self, value: bytes, at: int) -> tuple[dict[str, float], int]:
        """Return (dict, position after it)."""
        layout = self._by_head.get(value[at : at + self._HEAD])
        if layout is not None:
            try:
                return layout.read(value, at)
            except (Unusual, struct.error):
                pass  # other keys that begin alike, or a map that the next try refuses as well
        if value[at] == 0:
            return {}, at + 1
        keys = self._read_keys(value, at)
        layout = self._by_keys.get(keys) or self._learn(keys)
        return layout.read(value, at)

    def _read_keys(self, value: bytes, at: int) -> tuple[str, ...]:
        count, at = read_size(value, at)
        keys = []
        for _ in range(count):
            size, at = read_size(value, at)
            keys.append(value[at : at + size].decode())
            at += size + 8
            if at > len(value):
                raise Unusual
        return tuple(keys)

    def _learn(self, keys: tuple[str, ...]) -> _Layout:
        short = len(keys) < SHORT and len(set(keys)) == len(keys)
        if not short or any(type(key) is not str or len(key.encode()) >= SHORT for key in keys):
            raise Unusual
        if len(self._by_keys) >= self._MOST_LAYOUTS:
            self._by_keys.clear()
            self._by_head.clear()
        layout = self._by_keys[keys] = _layout(keys, self._least, self._most)
        self._by_head[layout.write(*[0.0] * len(keys))[: self._HEAD]] = layout
        return layout


@cache
def maps(least: float, most: float) -> Maps:
    """Return the one `Maps` of these limits."""
    return Maps(least, most)
