"""How long to gather records before they become a round.

Each round costs two hand-overs between threads, some hundred numpy calls and a request to the
broker, in its stage and in all after it. So the busier a worker is, the longer its rounds wait for
more records, and one that could work off each record by itself waits not at all. The first stage
gathers for all: a round comes to the others as it left the one before.
"""

from dataclasses import dataclass
from math import exp

__all__ = ["Pacing"]

_SHARE = 9.0  # the first stage's work is about a fifth of what a round costs in all places
# Up to here one core is enough for a round of each record in all places: five times as much.
_LEISURE = 0.25
_MEMORY_S = 0.25


@dataclass(slots=True)
class Pacing:
    """Keeps hand-overs apart by nine times what a round takes to work off, once it is busy.

    So the first stage is busy for a tenth of its time, and all that its rounds set off for about
    half of one core's, until rounds reach their longest wait; from there on by as much as must be.
    While records come so slowly that a round of each would keep the first stage busy for less than
    a quarter of its time, none waits.

    Attributes:
        limit_s: The longest wait.
        last_s: Monotonic time of the last hand-over.
    """

    limit_s: float
    last_s: float = float("-inf")
    _recent: float = 0.0

    def wait_s(self, now_s: float, work_s: float) -> float:
        """Return how long records that came at `now_s` wait for more.

        Args:
            now_s: Monotonic time.
            work_s: How long recent rounds took.
        """
        if self.rate(now_s) * work_s < _LEISURE:
            return 0.0
        return max(0.0, self.last_s + min(self.limit_s, _SHARE * work_s) - now_s)

    def rate(self, now_s: float) -> float:
        """Return how many records a second were handed over lately."""
        return self._faded(now_s) / _MEMORY_S

    def handed_over(self, now_s: float, count: int) -> None:
        """Note that `count` records were handed over."""
        self._recent = self._faded(now_s) + count
        self.last_s = now_s

    def _faded(self, now_s: float) -> float:
        return self._recent * exp((self.last_s - now_s) / _MEMORY_S)
