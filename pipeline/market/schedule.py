"""When each record should go out, whatever happened to those before it."""

from typing import Protocol

from pipeline.errors import UsageError

__all__ = ["RateSchedule", "Schedule", "SpeedSchedule", "make_schedule"]

_SECOND_US = 1_000_000
_PAUSE_US = 3600 * _SECOND_US
_BAR_US = 60 * _SECOND_US


class Schedule(Protocol):
    """Says when a record is due."""

    def due_us(self, index: int, bar_time_us: int) -> int:
        """Return microseconds after the start; ask for records in the order they go out.

        Args:
            index: Of the record, from 0.
            bar_time_us: The bar's own time.
        """
        ...


class RateSchedule:
    """Record i is due i / rate seconds after the start.

    Args:
        rate: Records a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def due_us(self, index: int, bar_time_us: int) -> int:
        """Return index / rate, to the microsecond."""
        del bar_time_us
        return round(index * _SECOND_US / self._rate)


class SpeedSchedule:
    """Bars follow one another as their own times do, `speed` times as fast.

    Hours without a bar (nights, weekends) count as one minute; a bar dated before the last one is
    due at once.

    Args:
        speed: Market seconds per second.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._latest_us: int | None = None
        self._market_us = 0

    def due_us(self, index: int, bar_time_us: int) -> int:
        """Return the market time since the first bar, pauses shortened, divided by speed."""
        del index
        if self._latest_us is None:
            self._latest_us = bar_time_us
        step_us = bar_time_us - self._latest_us
        if step_us > 0:
            self._market_us += step_us if step_us <= _PAUSE_US else _BAR_US
            self._latest_us = bar_time_us
        return round(self._market_us / self._speed)


def make_schedule(rate: float | None, speed: float | None) -> Schedule | None:
    """Return the schedule, or None for as fast as can be (`rate` 0, or neither given).

    Raises:
        UsageError: Both given, or one that is negative or not finite.
    """
    if rate is not None and speed is not None:
        raise UsageError("Expected a rate or a speed, was both; leave one out")
    for name, value in (("rate", rate), ("speed", speed)):
        if value is not None and not 0.0 <= value < float("inf"):
            raise UsageError(f"Expected a {name} of 0 or more, was {value}")
    if speed == 0.0:
        raise UsageError("Expected a speed above 0, was 0; a rate of 0 is as fast as can be")
    if speed:
        return SpeedSchedule(speed)
    return RateSchedule(rate) if rate else None
