"""Credit: how much of the normal lane may be under way, so that the priority lane never waits long.

A stage after the first has one log to read, in its order. So a packet of the priority lane waits
there for all that lies before it, and the backlog of the normal lane must wait before the first
stage: it lets records go on only while few are under way. How few is found as TCP Vegas finds its
window: the time that they take from the first stage's round to the last log is held at a target.
What comes out is read from the last log (`pipeline.stages.progress`).

Small rounds cost more for each record. So the target is short only while urgent packets come, and
for a minute after; else it is as long as leaves the stages their best throughput.

While little waits, nothing is held back, counted or read. Whatever becomes of the stages behind,
credit only delays: where nothing comes out, twice as much may go on with each tenth of a second.
"""

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Credit"]

_SECOND_US = 1_000_000
_URGENT_US = 12_000
_CALM_US = 60_000
"""How long records are to take from the first stage's round to the last log."""
_URGENT_FOR_S = 60.0
_FIRST = 64.0
"""Records; so many may wait before any is held back, since they are one round of a busy stage."""
_LEAST = 8.0
_MOST = 1000.0
_LEAST_SHARE = 1 / 4
"""A round costs as much as some records do: it waits until so much of the credit is free."""
_MOST_GROWTH = 1.25
_MOST_CUT = 0.5
_STILL_US = 100_000
"""Several times what records take with a busy pipeline, and a broker's pause."""
_MOST_DOUBLINGS = 20.0
_IDLE_US = 2 * _SECOND_US


class Credit:
    """Says how many records of the normal lane may go on. Two threads may use it.

    Args:
        now_us: Clock, microseconds since the Unix epoch.

    Attributes:
        needed: Set while it needs to be told what comes out.
        freed: Called when more may go on.
        limit: Records that may be under way.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.needed = threading.Event()
        self.freed: Callable[[], None] = _nobody_waits
        self.limit = _FIRST
        self._now_us = now_us
        self._target_us = _CALM_US
        self._lock = threading.Lock()
        self._under_way: deque[tuple[int, int]] = deque()
        self._count = 0
        self._short = False
        self._still_since_us = self._held_us = self._changed_us = 0

    @property
    def under_way(self) -> int:
        """Records let in that have not come out."""
        return self._count

    def room(self, waiting: int, since_priority_s: float) -> int:
        """Return how many may go on of those that wait; see `pipeline.transport.rounds.Room`."""
        with self._lock:
            now_us = self._now_us()
            self._target_us = _URGENT_US if since_priority_s < _URGENT_FOR_S else _CALM_US
            if not self.needed.is_set():
                if waiting <= _FIRST:
                    return waiting
                self._begin(now_us)
            free = int(self._allowed(now_us)) - self._count
            if waiting <= free:
                if now_us - self._held_us > _IDLE_US:
                    self.needed.clear()
                return waiting
            self._held_us = now_us
            self._short = True
            return free if free >= self.limit * _LEAST_SHARE else 0

    def let_in(self, at_us: int, records: int) -> None:
        """Note what went on.

        Args:
            at_us: When its round began, microseconds, as the trace of the records says.
            records: How many.
        """
        if not records or not self.needed.is_set():
            return
        with self._lock:
            if not self._count:
                self._still_since_us = max(self._still_since_us, at_us)
            self._under_way.append((at_us, records))
            self._count += records

    def came_out(self, at_us: int, out_us: int, deadline_us: int | None) -> None:
        """Note that all came out that went on up to a moment.

        Args:
            at_us: That moment: when the round of the newest of them began at the first stage.
            out_us: When the newest was done.
            deadline_us: Its deadline; makes no difference here.
        """
        del deadline_us
        with self._lock:
            before = self._count
            while self._under_way and self._under_way[0][0] <= at_us:
                self._count -= self._under_way.popleft()[1]
            if self._count == before:
                return
            self._still_since_us = now_us = self._now_us()
            if at_us >= self._changed_us:
                self._adapt(max(1, out_us - at_us))
                self._changed_us = now_us
        self.freed()

    def forget(self) -> None:
        """Forget what is under way; for when nobody can tell how far it has come."""
        with self._lock:
            self._under_way.clear()
            self._count = 0

    def _begin(self, now_us: int) -> None:
        self._under_way.clear()
        self._count = 0
        self._short = False
        self._still_since_us = self._held_us = self._changed_us = now_us
        self.needed.set()

    def _allowed(self, now_us: int) -> float:
        still = (now_us - self._still_since_us) / _STILL_US if self._count else 0.0
        return float(self.limit * 2.0 ** min(_MOST_DOUBLINGS, max(0.0, still - 1.0)))

    def _adapt(self, took_us: int) -> None:
        """Bring the limit closer to what takes the target time; only a short one grows."""
        share = self._target_us / took_us
        if share > 1.0 and not self._short:
            return
        self._short = False
        self.limit = min(_MOST, max(_LEAST, self.limit * min(_MOST_GROWTH, max(_MOST_CUT, share))))


def _nobody_waits() -> None:
    """Do nothing."""
