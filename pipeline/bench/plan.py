"""How long and how often a bench measures."""

from dataclasses import dataclass

__all__ = ["DEFAULT", "FULL", "QUICK", "Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often.

    Attributes:
        name: Its name in reports.
        probe_s: Length of a search's probes.
        hold_s: How long a rate is held to count as sustained, and length of other phases.
        warm_up_s: How long packets are sent before those that count.
        repeats: How often what is compared takes turns.
        precision: Ratio at which a search stops.
    """

    name: str
    probe_s: float
    hold_s: float
    warm_up_s: float
    repeats: int
    precision: float


QUICK = Pace("quick", probe_s=4.0, hold_s=5.0, warm_up_s=4.0, repeats=1, precision=1.3)
DEFAULT = Pace("default", probe_s=8.0, hold_s=30.0, warm_up_s=8.0, repeats=3, precision=1.08)
FULL = Pace("full", probe_s=15.0, hold_s=60.0, warm_up_s=15.0, repeats=3, precision=1.05)
