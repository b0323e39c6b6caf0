"""How many workers each stage should have; pure, but for reading `topics.yaml`.

As Kubernetes' horizontal autoscaler has it: as many as would be busy for the target share of the
time,

    ceil(workers * busy / target * growth)

where busy is the share of the time in which a worker of the stage decided, or of a core that the
busiest one used, whichever is more, and growth is by how much the offered load is going to rise
within a minute, where its trend is significant; at most twofold. A stage that falls behind gets one
worker more than it has. Never more than partitions, for a worker without one stands by, and never
none.

What is measured is the share u of the time in which any worker of a stage decided. Of n workers
that decide independently of one another, each then does for 1 - (1 - u)^(1/n) of it.

More workers are recommended once that has held for a while, fewer once it has held for longer
(`ScalingSettings`): each change makes a group rebalance, and while it does the stage stands still.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pipeline.resources import resource
from pipeline.settings import ScalingSettings
from pipeline.stages.routes import ROUTES
from pipeline.watch.catalogue import spelled
from pipeline.watch.trends import TrendDirection, trend_of
from pipeline.yaml_file import load_mapping

__all__ = ["RECOMMENDED", "ScalingAdvice", "ScalingAdvisor", "partitions_of_stages"]

RECOMMENDED: Final = "cascade_recommended_workers"
"""Gauge of the recommendation, by stage."""

_SECOND_US = 1_000_000
_LOOK_BACK_S = 60.0
_HORIZON_S = 60.0
_MOST_GROWTH = 2.0
_BEHIND_S = 1.0
_OFFERED = "cascade_offered_packets_per_second"

Points = Callable[[str, int], tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Returns moments and numbers of a series from a moment on; see `MetricsHistory.points`."""


class ScalingAdvice(Struct, frozen=True):
    """How many workers a stage should have.

    Attributes:
        stage: The stage.
        workers: How many it has.
        recommended: How many it should have.
        most: How many can share its partitions.
        reason: Why, for people.
    """

    stage: str
    workers: int
    recommended: int
    most: int
    reason: str


@dataclass(slots=True)
class _Standing:
    """What is recommended for a stage, and what has been wanted instead, since when."""

    recommended: int
    wanted: int
    since_us: int


def partitions_of_stages() -> dict[str, int]:
    """Return how many partitions the workers of each stage share."""
    topics = load_mapping(resource("topics.yaml"))["topics"]
    return {
        stage: int(topics[route.spec.subscribed]["partitions"]) for stage, route in ROUTES.items()
    }


class ScalingAdvisor:
    """Follows what is measured, and recommends. Not thread-safe.

    Args:
        points: The history.
        partitions: How many partitions the workers of each stage share.
        limits: Target, and for how long something must hold.
    """

    def __init__(
        self,
        points: Points,
        partitions: Mapping[str, int],
        limits: ScalingSettings | None = None,
    ) -> None:
        self._points = points
        self._partitions = partitions
        self._limits = limits or ScalingSettings()
        self._standing: dict[str, _Standing] = {}

    def advise(self, figures: Mapping[str, float], now_us: int) -> tuple[ScalingAdvice, ...]:
        """Return a recommendation for each stage that has workers.

        Args:
            figures: The numbers of the newest snapshot by series.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        growth = self._growth(now_us)
        found = []
        for stage, most in self._partitions.items():
            workers = int(figures.get(spelled("cascade_live_workers", {"system": stage}), 0.0))
            if workers < 1:
                self._standing.pop(stage, None)  # no load tells how many a stage without any needs
                continue
            wanted, reason = self._wanted(stage, workers, figures, growth, now_us)
            capped = max(1, min(wanted, most))
            if capped < wanted:
                reason += f"; {most} partitions allow no more than {most}"
            recommended = self._held(stage, workers, capped, now_us)
            found.append(ScalingAdvice(stage, workers, recommended, most, reason))
        return tuple(found)

    def _growth(self, now_us: int) -> float:
        """Return by which factor the offered load will have risen in a minute; 1 if it does not."""
        moments, numbers = self._points(_OFFERED, now_us - int(_LOOK_BACK_S * _SECOND_US))
        trend = trend_of((moments - now_us) / _SECOND_US, numbers)
        if trend.direction is not TrendDirection.RISING or trend.level <= 0.0:
            return 1.0
        return min(_MOST_GROWTH, 1.0 + trend.slope_per_s * _HORIZON_S / trend.level)

    def _wanted(
        self, stage: str, workers: int, figures: Mapping[str, float], growth: float, now_us: int
    ) -> tuple[int, str]:
        any_busy = figures.get(spelled("cascade_stage_utilisation_ratio", {"stage": stage}), 0.0)
        busy = max(
            1.0 - (1.0 - min(1.0, any_busy)) ** (1.0 / workers),
            figures.get(spelled("cascade_worker_cpu_ratio", {"system": stage}), 0.0),
        )
        wanted = max(1, math.ceil(round(workers * busy * growth / self._limits.target, 6)))
        reason = f"busy {busy:.0%} of the time"
        if growth > 1.0:
            reason += f", and {growth - 1.0:.0%} more load is coming"
        behind_s = figures.get(spelled("cascade_backlog_age_seconds", {"stage": stage}), 0.0)
        if behind_s > _BEHIND_S and self._falls_behind(stage, now_us):
            return max(wanted, workers + 1), f"{reason}; it falls behind, by {behind_s:.0f} s now"
        return wanted, reason

    def _falls_behind(self, stage: str, now_us: int) -> bool:
        series = spelled("cascade_backlog_records", {"stage": stage})
        moments, numbers = self._points(series, now_us - int(_LOOK_BACK_S * _SECOND_US))
        direction = trend_of((moments - now_us) / _SECOND_US, numbers).direction
        return direction is TrendDirection.RISING

    def _held(self, stage: str, workers: int, wanted: int, now_us: int) -> int:
        """Return what is recommended: what was, until something else has held for long enough."""
        known = self._standing.get(stage)
        if known is None:
            known = self._standing[stage] = _Standing(workers, wanted, now_us)
        if (wanted > known.recommended) != (known.wanted > known.recommended) or (
            wanted == known.recommended
        ):
            known.since_us = now_us
        known.wanted = wanted
        limits = self._limits
        patience_s = limits.up if wanted > known.recommended else limits.down
        if now_us - known.since_us >= patience_s * _SECOND_US:
            known.recommended, known.since_us = wanted, now_us
        return known.recommended
