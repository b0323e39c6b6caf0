"""How often breakers opened, as the outcomes of packets tell; pure."""

from collections import Counter
from dataclasses import dataclass

from pipeline.stages.fates import Fate

__all__ = ["BreakerWatch"]

# Packets of one open phase come at least this close together, if any come.
_SAME_US = 1_000_000


@dataclass(slots=True)
class _Phase:
    last_us: int
    failed_since: bool = False


class BreakerWatch:
    """Counts phases in which a system's breaker was open.

    A phase begins with a packet held for it, and goes on as long as more follow within a second;
    a policy that failed in between was the probe that opened the breaker anew. Breakers that open
    while no packet comes are not seen.

    Attributes:
        trips: Phases by system.
    """

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self.trips: Counter[str] = Counter()

    def take(self, system: str, reasons: tuple[str, ...], ended_us: int) -> None:
        """Take the outcome of a packet.

        Args:
            system: System that sealed it.
            reasons: Why.
            ended_us: When, microseconds since the Unix epoch.
        """
        phase = self._phases.get(system)
        if Fate.POLICY_FAILED in reasons and phase is not None:
            phase.failed_since = True
        if Fate.BREAKER_OPEN not in reasons:
            return
        if phase is None or phase.failed_since or ended_us - phase.last_us > _SAME_US:
            self.trips[system] += 1
        self._phases[system] = _Phase(ended_us)
