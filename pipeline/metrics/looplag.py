"""How late an event loop is: the time by which it wakes up later than it was asked to."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache

__all__ = ["LoopLag", "loop_lag"]

_EVERY_S = 0.25
_KEPT = 40  # ten seconds


class LoopLag:
    """The lag of this process's event loop over the last ten seconds; read from any thread.

    Args:
        monotonic: Seconds that only run forward.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: deque[float] = deque(maxlen=_KEPT)
        self._due_s: float | None = None

    async def follow(self) -> None:
        """Measure for as long as the loop runs; of several that follow, the first measures."""
        if self._due_s is not None:
            return
        try:
            while True:
                self._due_s = self._monotonic() + _EVERY_S
                await asyncio.sleep(_EVERY_S)
                self.woke()
        finally:
            self._due_s = None

    def woke(self) -> None:
        """Note that the loop woke up now."""
        if self._due_s is not None:
            self._seen.append(max(0.0, self._monotonic() - self._due_s))

    def worst_s(self) -> float | None:
        """Return the longest lag, one that still lasts among them; None before the first."""
        overdue_s = 0.0
        if (due_s := self._due_s) is not None:
            overdue_s = self._monotonic() - due_s
        seen = list(self._seen)
        if not seen and overdue_s <= 0.0:
            return None
        return max((*seen, overdue_s))


@lru_cache(maxsize=1)
def loop_lag() -> LoopLag:
    """Return the lag of this process's loop; workers have one loop."""
    return LoopLag()
