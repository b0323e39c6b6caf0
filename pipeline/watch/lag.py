"""How far a consumer group is behind, and whether it moves; pure.

Groups commit about once a second, so end offset less committed offset overstates the lag by up to a
second of records: 1,000 at 1,000 packets/s, with nothing waiting. Here a commit is held against the
end offset known *before* the commit was first seen: what came in later it could not have covered.
A group that has committed nothing for `STALE_S` is held against the end offset of now.

The state follows Burrow's rules (LinkedIn, `core/internal/evaluator/caching.go`) over a window of
observations: no fixed number of records is good or bad for every topic.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

__all__ = ["STALE_S", "LagState", "PartitionLag", "SystemLag", "together"]

STALE_S: Final = 3.0
"""Seconds without a new commit after which what has come in since counts as lag."""

_WINDOW_S = 30.0
_FEWEST = 5
_MOST_ENDS = 4096


class LagState(StrEnum):
    """How a group works its input off, worst last.

    Attributes:
        NO_DATA: Nothing was committed yet, or too little observed.
        OK: It keeps up.
        WARN: It works, and falls behind.
        STALL: It commits nothing though records wait.
        REWIND: Its position went back.
    """

    NO_DATA = "no_data"
    OK = "ok"
    WARN = "warn"
    STALL = "stall"
    REWIND = "rewind"


class _Observation(NamedTuple):
    at_s: float
    end: int
    committed: int
    lag: int


@dataclass(frozen=True, slots=True)
class SystemLag:
    """How far a system is behind on its inputs.

    Attributes:
        records: Records that wait; None where nothing was committed yet.
        seconds: Age of the oldest of them, as far as it was watched; None as `records`.
        state: How it works them off.
        worked_off_per_second: Records a second that it worked off over the window; None where too
            little was observed.
    """

    records: int | None
    seconds: float | None
    state: LagState
    worked_off_per_second: float | None = None


class PartitionLag:
    """Follows one partition of one group."""

    def __init__(self) -> None:
        self._seen: deque[_Observation] = deque()
        self._ends: deque[tuple[float, int]] = deque()
        self._moved_s: float | None = None

    def take(self, end: int, committed: int | None, now_s: float) -> None:
        """Take an observation.

        Args:
            end: End offset of the partition.
            committed: Committed offset; None where there is none.
            now_s: When, on a clock that only runs forward, seconds.
        """
        known_end = self._ends[-1][1] if self._ends else None
        if known_end is None or end != known_end:
            self._ends.append((now_s, end))
            if len(self._ends) > _MOST_ENDS:  # a long stall: half the resolution does
                self._ends = deque(list(self._ends)[::2])
        if committed is None:
            return
        before = self._seen[-1] if self._seen else None
        if before is None or committed != before.committed:
            self._moved_s = now_s
        fresh = self._moved_s is not None and now_s - self._moved_s <= STALE_S
        if before is not None and committed == before.committed and fresh:
            lag = min(before.lag, end - committed)
        elif before is not None and fresh:
            lag = before.end - committed
        else:
            lag = end - committed
        self._seen.append(_Observation(now_s, end, committed, max(0, lag)))
        self._forget(now_s, committed)

    def now(self, now_s: float) -> SystemLag:
        """Return how far it is behind."""
        if not self._seen:
            return SystemLag(None, None, LagState.NO_DATA)
        last, first = self._seen[-1], self._seen[0]
        seconds = self._age_s(last, now_s)
        span_s = last.at_s - first.at_s
        rate = (last.committed - first.committed) / span_s if span_s > 0.0 else None
        return SystemLag(last.lag, seconds, self._state(), None if rate is None else max(0.0, rate))

    def _age_s(self, last: _Observation, now_s: float) -> float:
        """Return since when the first record that waits has been there."""
        if last.lag == 0:
            return 0.0
        # The record at `committed` came with the first end offset beyond it.
        came_s = next((at for at, end in self._ends if end > last.committed), now_s)
        return max(0.0, now_s - came_s)

    def _state(self) -> LagState:
        seen = self._seen
        committed = [each.committed for each in seen]
        if any(later < earlier for earlier, later in pairwise(committed)):
            return LagState.REWIND
        if any(each.lag == 0 for each in seen):
            # Since then it may have stopped; that is told by a commit that no longer comes.
            quiet = self._moved_s is not None and seen[-1].at_s - self._moved_s > STALE_S
            return LagState.STALL if quiet and seen[-1].lag > 0 else LagState.OK
        if len(seen) < _FEWEST:
            return LagState.NO_DATA
        if committed[0] == committed[-1]:
            return LagState.STALL
        lags = [each.lag for each in seen]
        falls = any(later < earlier for earlier, later in pairwise(lags))
        return LagState.OK if falls else LagState.WARN

    def _forget(self, now_s: float, committed: int) -> None:
        while self._seen[0].at_s < now_s - _WINDOW_S:
            self._seen.popleft()
        # The newest end up to `committed` is no answer to any question any more.
        while len(self._ends) > 1 and self._ends[0][1] <= committed:
            self._ends.popleft()


_WORST = list(LagState)


def together(lags: Iterable[SystemLag]) -> SystemLag:
    """Return the lag of a system over its partitions: records added up, the worst of the rest."""
    found = [each for each in lags if each.records is not None]
    if not found:
        return SystemLag(None, None, LagState.NO_DATA)
    rates = [each.worked_off_per_second for each in found]
    known = [rate for rate in rates if rate is not None]
    return SystemLag(
        sum(each.records or 0 for each in found),
        max(each.seconds or 0.0 for each in found),
        max((each.state for each in found), key=_WORST.index),
        sum(known) if known else None,
    )
