"""Stand-ins for the outside world, for tests of this project and of policies written for it."""

__all__ = ["ManualClock"]


class ManualClock:
    """A clock that stands still until it is moved.

    Args:
        now_us: Microseconds since the Unix epoch, UTC.
    """

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self.skewed = False

    def now_us(self) -> int:
        """Return the time it stands at, microseconds since the Unix epoch, UTC."""
        return self._now_us

    def advance(self, *, us: int = 0, ms: int = 0, s: int = 0) -> None:
        """Move it on by microseconds, milliseconds and seconds together."""
        self._now_us += us + ms * 1000 + s * 1_000_000
