"""The verdict on one emergency: detected, contained, recovered or escalated, and how soon."""

import time
from dataclasses import dataclass, field

import msgspec

from pipeline.emergency.ledger import Emergency
from pipeline.packets.events import EmergencyCourse, EmergencyType
from tests.emergencies.rig import EmergencyRig

__all__ = ["LIMIT_S", "EmergencyReport", "Verdict"]

LIMIT_S = 30.0
"""From the fault to the recovery, where there is a plan."""

_CONTAINED = (EmergencyCourse.CONTAINED, EmergencyCourse.UNCONTAINED)
_ENDS = (EmergencyCourse.RECOVERED, EmergencyCourse.ESCALATED)


class EmergencyReport(msgspec.Struct, frozen=True):
    """What became of one emergency.

    Attributes:
        emergency: Its type.
        fault: What was done to the cascade.
        level: Its level at the end.
        detected_s: From the fault to the declaration, seconds.
        contained_s: From the fault until it was seen contained; None where it was not.
        ended_s: From the fault until it was seen recovered, or was handed over to people.
        end: RECOVERED or ESCALATED.
        expected: What it was to end in.
        limit_s: The most that recovery may take.
        actions: What was done, in order.
        others: Types of emergencies that were declared besides: none was to be.
    """

    emergency: str
    fault: str
    level: str
    detected_s: float
    contained_s: float | None
    ended_s: float
    end: str
    expected: str
    limit_s: float
    actions: list[str]
    others: list[str]

    @property
    def passed(self) -> bool:
        """Whether it was detected, contained, and ended as expected, in time and alone."""
        quick = self.end != EmergencyCourse.RECOVERED or self.ended_s <= self.limit_s
        contained = self.contained_s is not None
        return contained and quick and self.end == self.expected and not self.others


@dataclass(slots=True)
class Verdict:
    """Judges an emergency: make it before the fault, `contained` and `give` after it.

    Attributes:
        rig: The cascade.
        properties: Where the report goes, as a test's property.
    """

    rig: EmergencyRig
    properties: list[tuple[str, object]]
    since_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def begin(self) -> None:
        """Note that the fault begins now."""
        self.since_us = time.time_ns() // 1000

    def contained(self, kind: EmergencyType) -> Emergency:
        """Wait until the emergency is contained, or could not be; return it."""
        return self.rig.reached(kind, self.since_us, *_CONTAINED, *_ENDS)

    def give(
        self,
        kind: EmergencyType,
        fault: str,
        expected: EmergencyCourse = EmergencyCourse.RECOVERED,
    ) -> EmergencyReport:
        """Wait for the end of the emergency, and report.

        Raises:
            AssertionError: If it was not detected, contained and ended as expected and in time, or
                others were declared.
        """
        found = self.rig.reached(kind, self.since_us, *_ENDS)
        end = next(each for each in found.history if each.course in _ENDS)
        report = EmergencyReport(
            str(kind), fault, str(found.event.emergency_level),
            self._after(found, EmergencyCourse.DECLARED) or 0.0,
            self._after(found, EmergencyCourse.CONTAINED),
            self._after(found, end.course) or 0.0,
            str(end.course), str(expected), LIMIT_S,
            [f"{each['action']} {each['system']}" for each in found.steps],
            self._others(kind),
        )  # fmt: skip
        self.properties.append(("emergency", report))
        assert report.passed, (
            f"{msgspec.json.format(msgspec.json.encode(report)).decode()}\n{self.rig.said}"
        )
        return report

    def _after(self, found: Emergency, course: EmergencyCourse) -> float | None:
        first = next((each for each in found.history if each.course is course), None)
        return None if first is None else round((first.updated_at - self.since_us) / 1e6, 2)

    def _others(self, kind: EmergencyType) -> list[str]:
        return [
            str(each.event.emergency_type)
            for each in self.rig.ledger.all
            if each.event.timestamp >= self.since_us and each.event.emergency_type is not kind
        ]
