"""One rule and one system: the level that its values are at, over time; pure.

A level is entered once its limit has been passed for `hold` seconds, and left once the value has
been better than the limit by the hysteresis for `clear` seconds. What is not measured neither
raises nor ends anything, and interrupts both.
"""

from collections import deque

import numpy as np

from pipeline.packets.events import PerformanceAlert
from pipeline.settings import AlertRule
from pipeline.watch.alerting.entry import LEVELS
from pipeline.watch.thresholds import EvaluationMethod, evaluate

__all__ = ["RuleWatch", "limits_of"]

_SECOND_US = 1_000_000
_MOST_VALUES = 10_000


def limits_of(rule: AlertRule) -> dict[PerformanceAlert, float]:
    """Return the limits of a rule, least level first."""
    found = (rule.info, rule.warning, rule.critical, rule.emergency)
    return {level: limit for level, limit in zip(LEVELS, found, strict=True) if limit is not None}


class RuleWatch:
    """Follows the level of one system under one rule.

    Args:
        rule: The rule.
        level: The level at the start: what was raised before a restart.

    Attributes:
        rule: The rule.
        level: The level; None for none.
        value: What was last held against the limits; None where nothing was measured.
        threshold_us: When the level's limit had been passed for as long as the rule says,
            microseconds since the Unix epoch.
    """

    def __init__(self, rule: AlertRule, level: PerformanceAlert | None = None) -> None:
        self.rule = rule
        self.level = level
        self.value: float | None = None
        self.threshold_us = 0
        self._values: deque[tuple[int, float]] = deque(maxlen=_MOST_VALUES)
        self._passed_us: dict[PerformanceAlert, int] = {}
        self._better_us: dict[PerformanceAlert, int] = {}

    def take(self, value: float | None, now_us: int) -> bool:
        """Take a measurement; return whether the level is another one now.

        Args:
            value: What was measured; None for no data.
            now_us: Now, microseconds since the Unix epoch, UTC.
        """
        self.value = self._evaluated(value, now_us)
        if self.value is None:
            self._passed_us.clear()
            self._better_us.clear()
            return False
        before, level = self.level, None
        for each, limit in limits_of(self.rule).items():
            self._note(each, limit, self.value, now_us)
            if self._is_at(each, now_us):
                level = each
        self.level = level
        if level is not None and level is not before and level in self._passed_us:
            self.threshold_us = self._passed_us[level] + int(self.rule.hold * _SECOND_US)
        return level is not before

    def _evaluated(self, value: float | None, now_us: int) -> float | None:
        window_us = int(self.rule.window * _SECOND_US)
        if value is not None:
            self._values.append((now_us, value))
        while self._values and self._values[0][0] < now_us - window_us:
            self._values.popleft()
        if value is None:
            return None
        values = np.array([each for _, each in self._values], dtype=np.float64)
        return evaluate(EvaluationMethod(self.rule.method), values)

    def _note(self, level: PerformanceAlert, limit: float, value: float, now_us: int) -> None:
        below = self.rule.direction == "below"
        margin = limit * self.rule.hysteresis
        if value <= limit if below else value >= limit:
            self._passed_us.setdefault(level, now_us)
        else:
            self._passed_us.pop(level, None)
        if value > limit + margin if below else value < limit - margin:
            self._better_us.setdefault(level, now_us)
        else:
            self._better_us.pop(level, None)

    def _is_at(self, level: PerformanceAlert, now_us: int) -> bool:
        passed_us = self._passed_us.get(level)
        if passed_us is not None and now_us - passed_us >= self.rule.hold * _SECOND_US:
            return True
        held = self.level is not None and LEVELS.index(level) <= LEVELS.index(self.level)
        better_us = self._better_us.get(level)
        over = better_us is not None and now_us - better_us >= self.rule.clear * _SECOND_US
        return held and not over
