"""What tests of the coordination share."""

import time
from collections.abc import Callable

LIMIT_S = 30.0


class FixedClock:
    """A clock that stands still."""

    skewed = False

    def now_us(self) -> int:
        return 1_700_000_000_000_000


def now_ms() -> int:
    """Return the time of records in a topic in memory."""
    return time.time_ns() // 1_000_000


def eventually(condition: Callable[[], object], what: str) -> None:
    """Poll until a condition holds; fail where it does not within a generous deadline."""
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, f"Expected {what}"
        time.sleep(0.005)
