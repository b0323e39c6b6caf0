"""A packet's way through the systems, from the packet's own trace or as somebody reported it."""

import re
from enum import StrEnum

from msgspec import Struct, structs

from pipeline.packets.vocabulary import OutcomeKind
from pipeline.watch.observations import FlowEnd

__all__ = ["FAILURES", "PacketTrace", "SystemTimes", "TraceSource", "flow_of", "trace_of"]

FAILURES = frozenset({OutcomeKind.EXPIRED, OutcomeKind.SHED, OutcomeKind.DEAD_LETTERED})
"""Outcomes that count as failures; that nothing was traded does not."""

_PACKET_ID = re.compile(r"([0-9a-f]{32})(-[a-z_]+)?")


class TraceSource(StrEnum):
    """Where a trace comes from."""

    CASCADE = "cascade"
    MANUAL = "manual"


class SystemTimes(Struct, frozen=True, gc=False):
    """One system's part of a packet's way; times in microseconds since the Unix epoch.

    Attributes:
        system: The system.
        before: When the system before it was done; for the first, when the packet was accepted.
        arrived: When its worker had the packet; None where nobody noted it.
        started: When it began to decide.
        finished: When it was done; None while it is not.
        worked: Whether it decided; False where the packet's fate was sealed before.
        success: Whether it decided without failing; None while it is not done.
        error: What failed, where somebody said so.
    """

    system: str
    before: int
    arrived: int | None
    started: int
    finished: int | None
    worked: bool = True
    success: bool | None = None
    error: str = ""

    @property
    def broker_ms(self) -> float | None:
        """Time between the systems, milliseconds; None where waiting cannot be told from it."""
        return None if self.arrived is None else max(0, self.arrived - self.before) / 1000

    @property
    def queue_wait_ms(self) -> float:
        """Time that it waited at the system, milliseconds.

        Where nobody noted its arrival, the time since the system before it was done.
        """
        return max(0, self.started - (self.before if self.arrived is None else self.arrived)) / 1000

    @property
    def processing_ms(self) -> float | None:
        """Time that the system decided, milliseconds; None while it is not done."""
        return None if self.finished is None else max(0, self.finished - self.started) / 1000

    @property
    def total_ms(self) -> float | None:
        """Time in the system's hands, waiting and deciding, milliseconds; None while not done."""
        if self.finished is None:
            return None
        return (
            max(0, self.finished - (self.started if self.arrived is None else self.arrived)) / 1000
        )


class PacketTrace(Struct, frozen=True, gc=False):
    """A packet's way.

    Attributes:
        flow_id: The flow; the packet's id where that is not one of the cascade's.
        source: Where the trace comes from.
        began: Acceptance, microseconds since the Unix epoch, UTC.
        ended: When the last system was done; None while the packet is under way.
        systems: Its part in each system, in order.
        success: Whether it ended without a failure; None while it is under way.
        outcome: Outcome of the flow; empty where it is not the cascade's.
        reasons: Why.
        sealed_by: System that sealed its fate.
        retries: Retries of all systems.
        recorded: When the broker had the record of its end; None where it is not the cascade's.
    """

    flow_id: str
    source: TraceSource
    began: int
    ended: int | None = None
    systems: tuple[SystemTimes, ...] = ()
    success: bool | None = None
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    sealed_by: str = ""
    retries: int = 0
    recorded: int | None = None

    @property
    def latency_ms(self) -> float | None:
        """End-to-end latency, milliseconds; None while it is under way."""
        return None if self.ended is None else max(0, self.ended - self.began) / 1000

    @property
    def decided(self) -> bool:
        """Whether all its systems decided on it, however late."""
        if not self.systems or not all(each.worked for each in self.systems):
            return False
        if self.source is TraceSource.MANUAL:
            return bool(self.success)
        return self.outcome != OutcomeKind.DEAD_LETTERED.value

    def with_system(self, times: SystemTimes) -> "PacketTrace":
        """Return it with the last part replaced, or one more where the system is another one."""
        kept = self.systems
        if kept and kept[-1].system == times.system and kept[-1].finished is None:
            kept = kept[:-1]
        return structs.replace(self, systems=(*kept, times))


def flow_of(packet_id: str) -> str:
    """Return the flow that a packet belongs to; the id itself where it is not one of ours."""
    found = _PACKET_ID.fullmatch(packet_id)
    return found.group(1) if found else packet_id


def trace_of(end: FlowEnd) -> PacketTrace:
    """Return the trace of a flow that ended, from what its last packet carries."""
    stages = [hop.stage for hop in end.trace]
    # Systems after the one that sealed the fate only passed the packet on.
    last = stages.index(end.stage) if end.stage in stages else len(stages) - 1
    failed = end.kind in FAILURES
    systems = []
    before = end.accepted_at
    for index, hop in enumerate(end.trace):
        success = not (failed and hop.stage == end.stage)
        systems.append(
            SystemTimes(
                hop.stage, before, hop.received, hop.started, hop.finished, index <= last, success
            )
        )
        before = hop.finished
    return PacketTrace(
        end.flow_id,
        TraceSource.CASCADE,
        end.accepted_at,
        end.finished or None,
        tuple(systems),
        not failed,
        end.kind.value,
        end.reasons,
        end.stage,
        end.retries,
        end.appended_ms * 1000,
    )
