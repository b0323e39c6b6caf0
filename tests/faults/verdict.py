"""The verdict on one fault: what the oracle finds, and how long recovery took."""

from dataclasses import dataclass

import msgspec

from tests.faults.rig import Rig

__all__ = ["NETWORK_LIMIT_S", "WORKER_LIMIT_S", "FaultReport", "Verdict"]

WORKER_LIMIT_S = 15.0
NETWORK_LIMIT_S = 30.0
_LISTED = 20


class FaultReport(msgspec.Struct, frozen=True):
    """What became of one fault.

    Attributes:
        fault: Its name.
        recovery_s: From the fault to the first new record, seconds; None where nothing recovers.
        limit_s: The most that it may take.
        lost: Inputs without a record, or flows without an end.
        doubled: Inputs, orders or ends that there are two of.
        violations: All that the oracle found, the first of them.
        note: What was seen beside.
    """

    fault: str
    recovery_s: float | None
    limit_s: float
    lost: int
    doubled: int
    violations: list[str]
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong and it was quick enough."""
        quick = self.recovery_s is None or self.recovery_s <= self.limit_s
        return quick and not self.violations


@dataclass(frozen=True, slots=True)
class Verdict:
    """Judges a fault; see `give`.

    Attributes:
        fault: Its name.
        rig: The pipeline that it befell.
        properties: Where the report goes, as a test's property.
    """

    fault: str
    rig: Rig
    properties: list[tuple[str, object]]

    def give(
        self, recovery_s: float | None, limit_s: float = WORKER_LIMIT_S, note: str = ""
    ) -> None:
        """Wait until all is worked off, ask the oracle, and report.

        Raises:
            AssertionError: If anything was lost, doubled or otherwise wrong, or it took too long.
        """
        found = self.rig.findings()
        report = FaultReport(
            self.fault,
            None if recovery_s is None else round(recovery_s, 2),
            limit_s,
            sum(each.lost for each in found),
            sum(each.doubled for each in found),
            [f"{each.checker}: {each.text}" for each in found[:_LISTED]],
            note,
        )
        self.properties.append(("fault", report))
        assert report.passed, msgspec.json.format(msgspec.json.encode(report)).decode()
