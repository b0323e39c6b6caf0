"""What the records of the audit log say; `details` is JSON with sorted keys.

A WINDOW says what was read of each partition since the last one: range, count, SHA-256 of the raw
records, and where reading goes on. A restart goes on there, so nothing is skipped or repeated. A
FINDING names something wrong, a SECURITY record who did what, a START who audits from here on.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.audit.findings import Finding
from pipeline.packets.events import (
    AuditRecord,
    SecurityEvent,
    ValidationLevel,
    ValidationType,
)

__all__ = [
    "Digest",
    "EntryKind",
    "Headers",
    "Place",
    "Places",
    "Range",
    "Window",
    "details_of",
    "finding_record",
    "kind_of",
    "places_of",
    "ranges_of",
    "security_record",
    "settled_of",
    "start_record",
    "window_record",
]

_MOST_DETAIL = 60_000
_HEAD = struct.Struct(">qii")


class EntryKind(StrEnum):
    """What a record of the audit log is."""

    START = "start"
    WINDOW = "window"
    FINDING = "finding"
    SECURITY = "security"


class Place(NamedTuple):
    """Where a partition is read on: next offset, and the reading rule's state before it."""

    offset: int
    epoch: int = -1
    sequence: int = -1


Places = Mapping[tuple[str, int], Place]
Headers = Sequence[tuple[str, bytes | None]]


class Digest:
    """SHA-256 over raw records as they stand in a partition, one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(
        self,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> None:
        """Take the next record: its offset, key, value and headers count."""
        parts = [key, value, *(each for name, held in headers for each in (name.encode(), held))]
        told: list[bytes] = []
        for part in parts:
            size = -1 if part is None else len(part)
            told += (_HEAD.pack(offset, size, len(parts)), part or b"")
        self._hash.update(b"".join(told))
        self.count += 1

    @property
    def sha256(self) -> str:
        """The digest of all so far, hex."""
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class Range:
    """What was read of a partition within one window: offsets from `first` up to before `end`."""

    topic: str
    partition: int
    first: int
    end: int
    count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Window:
    """One window.

    Attributes:
        ranges: What was read.
        places: Where each partition is read on.
        settled: All before is judged for good, so that a restart reads from there to know again
            what is under way.
        tallies: Counts of what was seen within the window.
        findings: How many findings it has.
    """

    ranges: Sequence[Range]
    places: Places
    settled: Mapping[tuple[str, int], Place]
    tallies: Mapping[str, Any] = field(default_factory=dict)
    findings: int = 0


def start_record(auditor: str, places: Places, now_us: int, reason: str) -> AuditRecord:
    """Return the record that opens an auditor's work."""
    details = {"auditor": auditor, "places": _spelled(places), "reason": reason}
    return _record(EntryKind.START, f"{auditor} audits from here on: {reason}", details, now_us)


def window_record(auditor: str, window: Window, now_us: int) -> AuditRecord:
    """Return the record of a window."""
    details = {
        "auditor": auditor,
        "ranges": [
            [r.topic, r.partition, r.first, r.end, r.count, r.sha256] for r in window.ranges
        ],
        "places": _spelled(window.places),
        "settled": _spelled(window.settled),
        "tallies": dict(window.tallies),
        "findings": window.findings,
    }
    count = sum(each.count for each in window.ranges)
    message = f"{count} records audited, {window.findings} findings"
    return _record(EntryKind.WINDOW, message, details, now_us)


def finding_record(auditor: str, finding: Finding, now_us: int) -> AuditRecord:
    """Return the record of a finding."""
    details: dict[str, Any] = {
        "auditor": auditor,
        "finding": finding.kind,
        "topic": finding.topic,
        "partition": finding.partition,
        "sequence": finding.sequence,
        "offset": finding.offset,
        "flow_id": finding.flow_id,
        "rule_id": finding.rule_id,
    }
    if finding.also is not None:
        details["also"] = list(finding.also)
    return _record(
        EntryKind.FINDING, f"{finding.kind}: {finding.text}", details, now_us,
        level=finding.level, kind=finding.validation_type, identity=finding.identity,
        system_id=finding.topic, packet_id=finding.packet_id,
    )  # fmt: skip


def security_record(auditor: str, event: SecurityEvent, place: str, now_us: int) -> AuditRecord:
    """Return the record of a security event; `place` says which record told of it."""
    details = {
        "auditor": auditor,
        "event": event.kind,
        "author": event.author,
        "subject": event.subject,
        "detail": event.detail,
        "time": event.time,
        "source_address": event.source_address,
        "place": place,
    }
    subject = f" {event.subject}" if event.subject else ""
    return _record(
        EntryKind.SECURITY, f"{event.kind} by {event.author}:{subject}"[:4096], details, now_us,
        kind=ValidationType.SECURITY_VALIDATION, identity=event.event_id, system_id="security",
    )  # fmt: skip


def details_of(record: AuditRecord) -> dict[str, Any]:
    """Return the details of a record; empty where they are none."""
    try:
        found = json.loads(record.details)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def kind_of(record: AuditRecord) -> str:
    """Return what a record is, an `EntryKind`; empty where nobody can tell."""
    return str(details_of(record).get("kind", ""))


def places_of(details: Mapping[str, Any]) -> dict[tuple[str, int], Place]:
    """Return where partitions are read on, from the details of a START or WINDOW."""
    return _read(details.get("places", {}))


def settled_of(details: Mapping[str, Any]) -> dict[tuple[str, int], Place]:
    """Return up to where all is judged for good, from the details of a WINDOW."""
    return _read(details.get("settled", {}))


def ranges_of(details: Mapping[str, Any]) -> list[Range]:
    """Return what was read within a WINDOW."""
    return [Range(*each) for each in details.get("ranges", ())]


def _spelled(places: Places) -> dict[str, dict[str, list[int]]]:
    spelled: dict[str, dict[str, list[int]]] = {}
    for (topic, partition), place in places.items():
        spelled.setdefault(topic, {})[str(partition)] = list(place)
    return spelled


def _read(spelled: Mapping[str, Mapping[str, Iterable[int]]]) -> dict[tuple[str, int], Place]:
    return {
        (topic, int(partition)): Place(*place)
        for topic, partitions in spelled.items()
        for partition, place in partitions.items()
    }


def _record(
    entry: EntryKind,
    message: str,
    details: dict[str, Any],
    now_us: int,
    *,
    level: ValidationLevel = ValidationLevel.INFO,
    kind: ValidationType = ValidationType.DATA_INTEGRITY,
    identity: str = "",
    system_id: str = "auditor",
    packet_id: str = "",
) -> AuditRecord:
    """Return a record without its place in the chain."""
    text = json.dumps({"kind": entry, **details}, sort_keys=True, separators=(",", ":"))
    if len(text) > _MOST_DETAIL:
        raise ValueError(f"Expected details up to {_MOST_DETAIL} characters, was {len(text)}")
    return AuditRecord(
        0, "", identity[:128] or entry.value, kind, level, message[:4096], now_us,
        system_id[:128], packet_id, text, (),
    )  # fmt: skip
