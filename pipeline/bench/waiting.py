"""Waits for what a measurement needs, and says what was missing where it does not come."""

import time
from collections.abc import Callable

from pipeline.errors import BrokerUnavailable

__all__ = ["wait_until"]


def wait_until(
    condition: Callable[[], object],
    what: str,
    limit_s: float,
    *,
    every_s: float = 0.05,
    was: Callable[[], str] = lambda: "not so",
) -> None:
    """Wait until a condition holds.

    Args:
        condition: Asked again and again.
        what: What is waited for, for people.
        limit_s: The longest wait, seconds.
        every_s: Between two questions, seconds.
        was: Says how far it came, where it does not hold in time.

    Raises:
        BrokerUnavailable: If it does not.
    """
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise BrokerUnavailable(f"Expected {what} within {limit_s:g} s, was {was()}")
        time.sleep(every_s)
