"""How busy this machine is; ratios from 0 to 1."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

__all__ = ["HostFigures", "read_host"]


@dataclass(frozen=True, slots=True)
class HostFigures:
    """Load of this machine and of the systems; ratios from 0 to 1.

    Attributes:
        cpu_usage: Share of all processors' time spent working since the look before; None at the
            first look.
        memory_usage: Share of the memory in use.
        run_queue_load: Mean length of the run queue over a minute for each processor, at most 1.
        system_loads: Load of each system: as it announced, else the share of time it decided.
    """

    cpu_usage: float | None
    memory_usage: float | None
    run_queue_load: float | None
    system_loads: Mapping[str, float]

    @property
    def system_load(self) -> float | None:
        """The highest load of a system; the machine's run queue where no system's load is known."""
        return max(self.system_loads.values()) if self.system_loads else self.run_queue_load


def read_host(system_loads: Mapping[str, float] | None = None) -> HostFigures:
    """Return how busy this machine is now; processor time is since the call before."""
    percent = psutil.cpu_percent(interval=None)
    run_queue = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    processors = os.cpu_count() or 1
    return HostFigures(
        _ratio(percent / 100) if percent > 0.0 else None,
        _ratio(psutil.virtual_memory().percent / 100),
        None if run_queue is None else _ratio(run_queue / processors),
        dict(system_loads or {}),
    )


def _ratio(value: float) -> float:
    return min(1.0, max(0.0, value))
