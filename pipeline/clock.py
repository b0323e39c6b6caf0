"""Time: microseconds since the Unix epoch, UTC, from a clock that is handed in."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["Clock", "WallClock"]

_JUMP_US = 50_000
_CHECK_NS = 10_000_000
_READ_NS = 1_000_000
_MOST_SLEW = 0.001


class Clock(Protocol):
    """Says what time it is."""

    @property
    def skewed(self) -> bool:
        """Whether the time cannot be trusted; who decides on it then fails closed."""
        ...

    def now_us(self) -> int:
        """Return microseconds since the Unix epoch, UTC."""
        ...


class _Anchor(NamedTuple):
    monotonic_ns: int
    wall_us: float
    rate: float


class WallClock:
    """The wall clock as the monotonic clock carries it on.

    It never runs backwards. Every 10 ms it is compared with the system's wall clock: a slow drift
    is caught up with by running up to 0.1 % faster or slower, which is more than clocks drift; a
    difference of more than 50 ms is a jump (somebody set the clock, or the machine slept) and
    makes it `skewed` until the difference is gone or `anchor` is called, as a restart does.

    Args:
        wall_ns: Wall clock, nanoseconds since the Unix epoch.
        monotonic_ns: A clock that only runs forward.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._check_lock = threading.Lock()
        self._skewed = False
        self.anchor()

    @property
    def skewed(self) -> bool:
        """Whether the wall clock jumped by more than 50 ms; looked at anew at most every 10 ms."""
        self.now_us()
        return self._skewed

    def anchor(self) -> None:
        """Take the system's wall clock for right from now on."""
        self._anchor = _Anchor(self._monotonic_ns(), self._wall_ns() / 1000, 1.0)
        self._skewed = False

    def now_us(self) -> int:
        """Return microseconds since the Unix epoch, UTC; never less than before."""
        monotonic_ns = self._monotonic_ns()
        anchor = self._anchor
        if monotonic_ns - anchor.monotonic_ns >= _CHECK_NS and self._check_lock.acquire(
            blocking=False
        ):
            try:
                self._check()
            finally:
                self._check_lock.release()
        return int(_carried_on(anchor, monotonic_ns))

    def _check(self) -> None:
        before_ns = self._monotonic_ns()
        wall_us = self._wall_ns() / 1000
        if self._monotonic_ns() - before_ns > _READ_NS:
            return  # interrupted between the two readings: they cannot be compared
        carried_us = _carried_on(self._anchor, before_ns)
        error_us = wall_us - carried_us
        self._skewed = abs(error_us) > _JUMP_US
        slew = 0.0 if self._skewed else error_us / 1_000_000
        rate = 1.0 + max(-_MOST_SLEW, min(_MOST_SLEW, slew))
        self._anchor = _Anchor(before_ns, carried_us, rate)


def _carried_on(anchor: _Anchor, monotonic_ns: int) -> float:
    return anchor.wall_us + (monotonic_ns - anchor.monotonic_ns) / 1000 * anchor.rate
