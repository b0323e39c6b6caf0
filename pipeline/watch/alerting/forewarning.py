"""Alerts on what is not yet there: limits of rules that series are going to pass; pure.

A breach counts once two looks in a row foresee it, since of many tests one is significant by
chance; it counts no more once two do not, or when it has come and the rule itself has raised its
alert. Its level is one below that of the limit.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from pipeline.packets.events import PerformanceAlert
from pipeline.settings import AlertRule
from pipeline.watch.alerting.entry import FORECAST, LEVELS, AlertState, rank
from pipeline.watch.alerting.rules import limits_of
from pipeline.watch.alerting.series import picked
from pipeline.watch.forecast import Forecast, forecast

__all__ = ["Foreseen", "Forewarner", "Points"]

Points = Callable[[str, int], tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Returns moments and numbers of a series from a moment on; see `MetricsHistory.points`."""

_SECOND_US = 1_000_000
_LOOK_BACK_S = 60.0
_CONFIRMED = 2


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What is to be raised, or to end.

    Attributes:
        subject: What it is about.
        state: What is foreseen; None for nothing any more.
        message: The same for people.
    """

    subject: str
    state: AlertState | None
    message: str


class Forewarner:
    """Looks ahead, and remembers what it saw. Not thread-safe.

    Args:
        points: The history.
    """

    def __init__(self, points: Points) -> None:
        self._points = points
        self._seen: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()
        self._told: set[str] = set()

    def look(
        self,
        rules: Mapping[str, AlertRule],
        series: Collection[str],
        raised: Collection[str],
        now_us: int,
    ) -> list[Foreseen]:
        """Return what changed since the last look.

        Args:
            rules: The rules in force.
            series: The series that are measured now.
            raised: Subjects of the alerts that are raised, forecasts among them.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        self._told.update(each for each in raised if each.startswith(f"{FORECAST}/"))
        found: list[Foreseen] = []
        looked: set[str] = set()
        for name, rule, spelled, system in _concerned(rules, series):
            subject = f"{FORECAST}/{name}/{system}"
            looked.add(subject)
            seen = None
            if f"{name}/{system}" not in raised:
                seen = self._foreseen(rule, spelled, now_us)
            found += self._judged(subject, name, rule, system, seen, now_us)
        for subject in self._told - looked:
            found += self._judged_unseen(subject)
        return found

    def _foreseen(
        self, rule: AlertRule, spelled: str, now_us: int
    ) -> tuple[PerformanceAlert, Forecast] | None:
        """Return the worst limit that a series is going to pass."""
        moments, numbers = self._points(spelled, now_us - int(_LOOK_BACK_S * _SECOND_US))
        if not len(moments):
            return None
        times_s = (moments - moments[0]) / _SECOND_US
        below = rule.direction == "below"
        for level, limit in reversed(limits_of(rule).items()):
            seen = forecast(times_s, numbers, limit, rule.foresee, below=below)
            if seen is not None:
                return level, seen
        return None

    def _judged(
        self,
        subject: str,
        name: str,
        rule: AlertRule,
        system: str,
        seen: tuple[PerformanceAlert, Forecast] | None,
        now_us: int,
    ) -> Iterator[Foreseen]:
        if seen is None:
            yield from self._judged_unseen(subject)
            return
        self._unseen.pop(subject, None)
        self._seen[subject] += 1
        if self._seen[subject] < _CONFIRMED or subject in self._told:
            return
        self._told.add(subject)
        level, ahead = seen
        lower = LEVELS[max(0, rank(level) - 1)]
        message = (
            f"{name} of {system}: {rule.metric} will pass {ahead.limit:g} in about"
            f" {ahead.breach_s:.0f} s ({ahead.probability:.0%} sure within {rule.foresee:g} s),"
            f" it changes by {ahead.trend.slope_per_s * 60:.3g} a minute"
        )
        state = AlertState(
            subject=subject, state="raised", rule=FORECAST, system=system, metric=rule.metric,
            limit=ahead.limit, group=rule.group or name, raised_us=now_us, threshold_us=now_us,
            measured=lower, peak=lower,
            details={
                "breach_s": round(ahead.breach_s, 1),
                "probability": round(ahead.probability, 3),
                "slope_per_s": ahead.trend.slope_per_s,
            },
        )  # fmt: skip
        yield Foreseen(subject, state, message)

    def _judged_unseen(self, subject: str) -> Iterator[Foreseen]:
        self._seen.pop(subject, None)
        if subject not in self._told:
            return
        self._unseen[subject] += 1
        if self._unseen[subject] >= _CONFIRMED:
            self._told.discard(subject)
            self._unseen.pop(subject, None)
            yield Foreseen(subject, None, f"{subject}: no breach is foreseen any more")


def _concerned(
    rules: Mapping[str, AlertRule], series: Collection[str]
) -> Iterator[tuple[str, AlertRule, str, str]]:
    """Yield rule name, rule, series and system for each series that a rule looks ahead on."""
    for name, rule in rules.items():
        if rule.foresee <= 0.0:
            continue
        for system, spelled in picked(series, rule.metric, rule.where):
            if fnmatchcase(system, rule.subject):
                yield name, rule, spelled, system
