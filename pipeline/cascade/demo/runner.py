"""Carries the parts of the demo out, one after the other, on one cascade."""

import time
from collections.abc import Callable
from functools import partial

from pipeline.cascade.demo.checks import Checks, PartSeen
from pipeline.cascade.demo.running import Running, running_cascade
from pipeline.cascade.demo.split import show_split
from pipeline.demo.rig import rig
from pipeline.errors import PipelineError
from pipeline.settings import Settings

__all__ = ["PARTS", "carry_out", "parts", "run_parts", "run_split"]

Show = Callable[[Running, Checks], None]

TIME_LIMIT_S = 60.0
"""From a ready broker to the end of the last part."""


def parts() -> dict[str, tuple[str, Show]]:
    """Return title and function of each part, by name, in their order."""
    from pipeline.cascade.demo import (
        coordination,
        emergency,
        flow,
        integration,
        performance,
        validation,
    )

    return {
        "flow": ("Normal cascade flow", flow.show),
        "coordination": ("System coordination", coordination.show),
        "performance": ("Performance monitoring", performance.show),
        "validation": ("Validation framework", validation.show),
        "emergency": ("Emergency protocols", emergency.show),
        "integration": ("Complete system integration", integration.show),
    }


PARTS = ("flow", "coordination", "performance", "validation", "emergency", "integration")
"""Names of the parts, in their order."""


def run_parts(
    settings: Settings, say: Callable[[str], None], *, broken: str | None, keep: bool
) -> list[PartSeen]:
    """Carry all parts out; return what each saw.

    Args:
        settings: The user's settings.
        say: Told in lines of text what is done and seen.
        broken: Part to spoil.
        keep: Leave a broker that was started here running.

    Raises:
        PipelineError: If the cascade cannot be started at all.
    """
    seen = []
    with rig(settings, say=say, keep=keep, partitions=1) as ready:
        ready_s = time.monotonic()
        with running_cascade(ready.settings, say) as running:
            for name, (title, show) in parts().items():
                running.broken = name == broken
                part = carry_out(name, title, partial(show, running))
                seen.append(part)
                _tell(part, say)
            took_s = time.monotonic() - ready_s
    seen.append(_in_time(took_s))
    _tell(seen[-1], say)
    return seen


def run_split(
    settings: Settings, say: Callable[[str], None], *, broken: str | None, keep: bool
) -> list[PartSeen]:
    """Carry out the part with two processes; see `run_parts`."""
    with rig(settings, say=say, keep=keep, partitions=1) as ready:
        part = carry_out(
            "split",
            "Two processes, one system each",
            lambda checks: show_split(ready.settings, checks, broken=broken == "split"),
        )
        _tell(part, say)
    return [part]


def carry_out(name: str, title: str, show: Callable[[Checks], None]) -> PartSeen:
    """Carry a part out, and return what it saw; an error of the cascade ends it, and fails it."""
    checks, began_s, error = Checks(), time.monotonic(), ""
    try:
        show(checks)
    except PipelineError as failure:
        error = str(failure)
    return PartSeen(name, title, tuple(checks.noted), time.monotonic() - began_s, error)


def _in_time(took_s: float) -> PartSeen:
    checks = Checks()
    checks.holds(
        "all parts, from a ready broker",
        f"at most {TIME_LIMIT_S:g} s",
        f"{took_s:.1f} s",
        took_s <= TIME_LIMIT_S,
    )
    return PartSeen("time", "Time", tuple(checks.noted), took_s)


def _tell(part: PartSeen, say: Callable[[str], None]) -> None:
    for line in part.lines():
        say(line)
