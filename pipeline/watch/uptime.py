"""For how long the path was available, and carried what it has to; pure.

What the specification asks for, as seconds that count and seconds that were good, so that any
window's share is a quotient of increases.
"""

from dataclasses import dataclass
from typing import Final

from pipeline.stages.routes import ROUTES
from pipeline.watch.coordination import WorkersOf
from pipeline.watch.lag import LagState
from pipeline.watch.metrics import RealTimeMetrics

__all__ = ["LEAST_PER_SECOND", "Uptime", "available", "carries"]

LEAST_PER_SECOND: Final = 1000.0
"""Packets a second that the path has to carry, if as many are offered."""

# Counting whole seconds at both ends costs so much.
_SHORT = 0.05
# A monitor that was away knows nothing of that time.
_LONGEST_S = 5.0


def available(metrics: RealTimeMetrics, workers: dict[str, WorkersOf]) -> bool | None:
    """Say whether each stage has a live worker and none stands still; None where nobody knows.

    A halt is no outage: the path does as it was told.
    """
    backlogs = metrics.throughput.backlogs
    if not backlogs:
        return None
    stalled = any(lag.state is LagState.STALL and lag.records for lag in backlogs.values())
    return not stalled and all(stage in workers for stage in ROUTES)


def carries(metrics: RealTimeMetrics) -> bool | None:
    """Say whether as much comes out as is offered, up to 1,000 a second; None: nobody knows."""
    offered, out = metrics.throughput.offered_per_second, metrics.throughput.packets_per_second
    if offered is None:
        return None
    return (out or 0.0) >= min(offered, LEAST_PER_SECOND) * (1.0 - _SHORT)


@dataclass(slots=True)
class _Share:
    good_s: float = 0.0
    whole_s: float = 0.0

    def take(self, seconds: float, *, good: bool | None) -> None:
        if good is not None:
            self.whole_s += seconds
            self.good_s += seconds if good else 0.0


class Uptime:
    """Adds up good and watched seconds.

    Attributes:
        availability: Seconds that the path was available, of those watched.
        throughput: Seconds that it carried what it has to, of those watched.
    """

    def __init__(self) -> None:
        self.availability = _Share()
        self.throughput = _Share()
        self._before_us: int | None = None

    def take(self, now_us: int, *, is_available: bool | None, is_carrying: bool | None) -> None:
        """Take how it stands; the time since the call before counts so."""
        before_us, self._before_us = self._before_us, now_us
        if before_us is None:
            return
        seconds = min(_LONGEST_S, max(0.0, (now_us - before_us) / 1e6))
        self.availability.take(seconds, good=is_available)
        self.throughput.take(seconds, good=is_carrying)
