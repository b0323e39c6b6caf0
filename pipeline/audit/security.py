"""Who did what, from the topics that tell: commands, dead letters, and what people and tools tell.

What stands on `cascade.control` and in the dead-letter topics is taken from there, so that nobody
can act without the audit log telling; the rest is told on `cascade.security` by who does it.
"""

from typing import Final

from pipeline.audit.content import Headers
from pipeline.audit.findings import Finding, FindingKind
from pipeline.errors import MalformedPacket, PoisonError
from pipeline.packets.codec import decode, decode_as
from pipeline.packets.events import ControlCommand, SecurityEvent, SecurityEventKind, ValidationType
from pipeline.stages.dispositions import Disposition, DispositionKind

__all__ = ["CONTROL", "DEAD", "SECURITY", "security_event_of"]

CONTROL: Final = "cascade.control"
SECURITY: Final = "cascade.security"
DEAD: Final = ".dead"
"""How the topics of dead letters end."""

_MOST_TEXT = 4096
_DONE = {
    DispositionKind.DISCARDED: SecurityEventKind.DEAD_LETTER_DISCARDED,
    DispositionKind.REPLAYED: SecurityEventKind.DEAD_LETTER_REPLAYED,
}


def security_event_of(
    topic: str, partition: int, offset: int, value: bytes | None, headers: Headers
) -> SecurityEvent | Finding | None:
    """Return what a record tells about security; None where it is nothing, as a dead letter itself.

    A record that ought to tell and cannot be read is a finding.
    """
    place = f"{topic}:{partition}:{offset}"
    try:
        if topic == SECURITY:
            return decode_as(value, SecurityEvent)
        if topic == CONTROL:
            return _of_command(decode(value), place)
        return _of_disposition(headers, place)
    except (PoisonError, ValueError) as error:
        return Finding(
            FindingKind.FOREIGN, topic, partition, -1, offset, f"{place}: {error}",
            validation_type=ValidationType.SECURITY_VALIDATION,
        )  # fmt: skip


def _of_command(command: object, place: str) -> SecurityEvent:
    if not isinstance(command, ControlCommand):
        raise MalformedPacket(f"Expected a control command, was a {type(command).__name__}")
    lifts = f"; lifts {command.lifts_epoch}" if command.lifts_epoch >= 0 else ""
    return SecurityEvent(
        place, SecurityEventKind.CONTROL_COMMAND, command.author,
        f"{command.kind} {command.scope}", f"{command.reason}{lifts}"[:_MOST_TEXT],
        command.time, "",
    )  # fmt: skip


def _of_disposition(headers: Headers, place: str) -> SecurityEvent | None:
    found = Disposition.read(headers)
    if found is None:
        return None
    target = f"; sent to {found.target}" if found.target else ""
    return SecurityEvent(
        place, _DONE[found.kind], (found.author or "unknown")[:128], found.coordinates,
        f"{found.reason}{target}"[:_MOST_TEXT], max(0, found.time), "",
    )  # fmt: skip
