"""What a process tells of itself with each heartbeat, beside its load."""

import psutil

from pipeline.metrics.looplag import loop_lag

__all__ = ["LOOP_LAG", "MEMORY", "process_vitals"]

MEMORY = "memory_bytes"
"""Resident memory."""

LOOP_LAG = "event_loop_lag_s"
"""By how much the event loop woke up late, the worst of the last ten seconds."""

_process = psutil.Process()


def process_vitals() -> dict[str, float]:
    """Return memory and event-loop lag of this process, by name."""
    lag_s = loop_lag().worst_s()
    return {
        MEMORY: float(_process.memory_info().rss),
        **({} if lag_s is None else {LOOP_LAG: lag_s}),
    }
