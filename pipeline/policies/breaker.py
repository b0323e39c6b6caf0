"""A circuit breaker: after too many failures in a row, nobody asks the policy for a while."""

import time
from collections.abc import Callable
from enum import StrEnum

__all__ = ["Breaker", "BreakerState"]


class BreakerState(StrEnum):
    """State of a breaker."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    FORCED_OPEN = "FORCED_OPEN"


class Breaker:
    """Counts a policy's failures and says whether it may be asked.

    CLOSED until `failures` in a row, then OPEN for `open_s`, then HALF_OPEN: one probe is let
    through; its success closes the breaker, its failure opens it again. FORCED_OPEN stays until
    `reset`. (Nygard, "Release It!", 2007, "Circuit Breaker".)

    Args:
        failures: Failures in a row that open it.
        open_s: How long it stays open, seconds.
        monotonic: Seconds on a clock that only runs forward.
    """

    def __init__(
        self, failures: int, open_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._open_s = open_s
        self._monotonic = monotonic
        self._failures = 0
        self._opened_at = 0.0
        self._probing = False
        self._state = BreakerState.CLOSED
        self.trips = 0

    @property
    def state(self) -> BreakerState:
        """The state now; OPEN turns HALF_OPEN by itself when its time is over."""
        if self._state is BreakerState.OPEN and (
            self._monotonic() - self._opened_at >= self._open_s
        ):
            self._state = BreakerState.HALF_OPEN
            self._probing = False
        return self._state

    def allows(self) -> bool:
        """Say whether the policy may be asked now; in HALF_OPEN only one asker gets a yes."""
        state = self.state
        if state is BreakerState.HALF_OPEN and not self._probing:
            self._probing = True
            return True
        return state is BreakerState.CLOSED

    def succeeded(self) -> None:
        """Note a success."""
        self._failures = 0
        if self._state is BreakerState.HALF_OPEN:
            self._state = BreakerState.CLOSED

    def failed(self) -> None:
        """Note a failure."""
        self._failures += 1
        if self._state is BreakerState.HALF_OPEN or (
            self._state is BreakerState.CLOSED and self._failures >= self._limit
        ):
            self._state = BreakerState.OPEN
            self._opened_at = self._monotonic()
            self.trips += 1

    def force_open(self) -> None:
        """Keep the policy from being asked until `reset`."""
        self._state = BreakerState.FORCED_OPEN

    def reset(self) -> None:
        """Close the breaker."""
        self._failures = 0
        self._state = BreakerState.CLOSED
