"""How often somebody may try: token buckets; pure but for the clock that is given."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

__all__ = ["RateLimit"]

_MOST_KEYS = 10_000


class RateLimit:
    """A bucket of tokens for each key; thread-safe.

    Args:
        burst: Tokens of a full bucket.
        every_s: Seconds after which another token is there.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self, burst: int, every_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = float(burst)
        self._every_s = every_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Take a token; return 0, or the seconds to wait where there was none to take."""
        now_s = self._monotonic()
        with self._lock:
            tokens = self._tokens(key, now_s)
            if tokens < 1.0:
                return (1.0 - tokens) * self._every_s
            self._buckets[key] = (tokens - 1.0, now_s)
            self._buckets.move_to_end(key)
            while len(self._buckets) > _MOST_KEYS:
                self._buckets.popitem(last=False)
            return 0.0

    def give_back(self, key: Hashable) -> None:
        """Put a token back that was taken for what need not be limited."""
        now_s = self._monotonic()
        with self._lock:
            if key in self._buckets:
                self._buckets[key] = (min(self._burst, self._tokens(key, now_s) + 1.0), now_s)

    def _tokens(self, key: Hashable, now_s: float) -> float:
        tokens, at_s = self._buckets.get(key, (self._burst, now_s))
        return min(self._burst, tokens + (now_s - at_s) / self._every_s)
