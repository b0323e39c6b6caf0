"""One term of an auditor: the audited topics in, the audit log and its progress out.

The protocol stands in `pipeline.audit.auditor`; the steps here have its numbers.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from msgspec import Struct

from pipeline.audit.accounts import Tallies
from pipeline.audit.content import (
    Digest,
    Place,
    Places,
    Range,
    Window,
    finding_record,
    security_record,
    start_record,
    window_record,
)
from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.flow_audit import FlowAudit
from pipeline.audit.ordering import Entry
from pipeline.audit.security import security_event_of
from pipeline.audit.source import AuditSource, RawRecord
from pipeline.audit.writing import ChainWriter, Recovered
from pipeline.clock import Clock
from pipeline.control.audit_guard import TOPIC as PROGRESS
from pipeline.packets.events import AuditProgress, AuditRecord
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.registry import RuleSet
from pipeline.rules.windows import STAGE_LOGS
from pipeline.settings import Settings

__all__ = ["Figures", "Publish", "Term"]

_logger = logging.getLogger(__name__)

_FLOWS: Final = frozenset({*INGEST_TOPICS, *STAGE_LOGS})
_POLL_S = 0.2
# Records of one batch: they are chained together, and a window is no place for a flood.
_MOST_RECORDS = 2000


class Publish(Protocol):
    """Publishes a packet; must not wait long."""

    def __call__(self, topic: str, packet: Struct, *, key: bytes) -> object:
        """Publish `packet` to `topic`."""
        ...


@dataclass(slots=True)
class Figures:
    """What an auditor has done so far.

    Attributes:
        records: Raw records read and digested.
        findings: Findings.
        events: Security events.
        windows: Windows added.
        sequence: Newest record of the audit log; -1 before the first.
        lag_s: Seconds that it was behind when it last said so.
        active: Whether it has the office and a chain to add to.
    """

    records: int = 0
    findings: int = 0
    events: int = 0
    windows: int = 0
    sequence: int = -1
    lag_s: float = 0.0
    active: bool = False


@dataclass(slots=True)
class _Pending:
    """What was read since the last window."""

    digests: dict[tuple[str, int], tuple[int, Digest]] = field(default_factory=dict)
    records: list[AuditRecord] = field(default_factory=list)
    findings: int = 0


class Term:
    """The work of one term; used by one thread.

    Args:
        name: As what the auditor is told of.
        settings: Settings with a broker.
        writer: Adds to the audit log.
        source: Reads the audited topics.
        rules: Rules about packets.
        clock: Clock.
        publish: Publishes how far it has come.
        figures: What the auditor has done; counted on.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        writer: ChainWriter,
        source: AuditSource,
        *,
        rules: RuleSet,
        clock: Clock,
        publish: Publish,
        figures: Figures,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._settings = settings
        self._writer = writer
        self._source = source
        self._clock = clock
        self._publish = publish
        self._figures = figures
        self._monotonic = monotonic
        self._audit = FlowAudit(
            rules.of_packets, settings,
            patience_s=settings.audit_patience_s, open_limit_s=settings.audit_open_limit_s,
        )  # fmt: skip
        self._places: dict[tuple[str, int], Place] = {}
        self._read: dict[tuple[str, int], int] = {}
        self._told: set[str] = set()
        self._pending = _Pending()
        self._asked_us = 0
        self._target: Mapping[tuple[str, int], int] | None = None
        self._audited_until_us = 0
        self._due_s = 0.0

    # -- Steps 1 and 2 ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Recover, and open the term in the audit log."""
        recovered = self._writer.recover()
        self._told = set(recovered.told)
        first, _ = self._source.bounds()
        lost = self._lost_to_retention(recovered.places, first)
        self._places = {
            where: recovered.places[where]
            if where in recovered.places and where not in lost
            else Place(offset)
            for where, offset in first.items()
        }
        begin = self._from(recovered, first, lost)
        self._read = {where: place.offset for where, place in begin.items()}
        self._audit.begin({w: p for w, p in begin.items() if w[0] in _FLOWS})
        self._source.assign(begin)
        reason = "first" if recovered.head.sequence < 0 else "taken over"
        opening = [start_record(self._name, self._places, self._now_us(), reason)]
        for fault in recovered.faults:
            text = f"record {fault.sequence} {fault.kind}: {fault.text}"
            finding = Finding(
                FindingKind.CHAIN, "cascade.audit", 0, fault.sequence, fault.offset, text
            )
            if self._is_news(finding.identity):
                opening.append(finding_record(self._name, finding, self._now_us()))
        self._writer.append(opening)
        for where in lost:
            self._find(
                Finding(
                    FindingKind.MISSING,
                    where[0],
                    where[1],
                    -1,
                    recovered.places[where].offset,
                    f"expected {where[0]}[{where[1]}] from {recovered.places[where].offset}, was"
                    f" none before {first[where]}: retention took what nobody had audited",
                )
            )

    def _lost_to_retention(
        self, places: Places, first: Mapping[tuple[str, int], int]
    ) -> set[tuple[str, int]]:
        return {w for w, place in places.items() if w in first and place.offset < first[w]}

    def _from(
        self,
        recovered: Recovered,
        first: Mapping[tuple[str, int], int],
        lost: set[tuple[str, int]],
    ) -> dict[tuple[str, int], Place]:
        """Return from where to read: again what is under way, unless its start is gone."""
        settled = recovered.settled
        whole = not lost and all(
            where in settled and settled[where].offset >= first[where]
            for where in self._places
            if where[0] in _FLOWS
        )
        if not whole:
            return dict(self._places)
        return {
            where: settled[where] if where[0] in _FLOWS else place
            for where, place in self._places.items()
        }

    # -- Steps 3 and 4 ---------------------------------------------------------------------------

    def step(self) -> None:
        """Read what has come, and once in a while add to the audit log."""
        now_s = self._monotonic()
        if self._target is None and now_s >= self._due_s:
            self._asked_us = self._now_us()
            self._target = self._source.ends()
            self._due_s = now_s + self._settings.audit_window_s
            if not self._reached(self._target):
                self._source.resume()
        for each in self._source.read(_POLL_S):
            self._take(each)
        if self._target is not None and self._reached(self._target):
            self._settle(self._asked_us)
            self._target = None
            self._source.rest()
        elif now_s >= self._due_s or len(self._pending.records) > _MOST_RECORDS:
            self._flush()
            self._tell()
            self._due_s = now_s + self._settings.audit_window_s

    def end(self) -> None:
        """Add what was read, before the office goes to another."""
        self._flush()

    def _reached(self, target: Mapping[tuple[str, int], int]) -> bool:
        return all(self._read[where] >= end for where, end in target.items())

    def _settle(self, read_until_us: int) -> None:
        for finding in self._audit.advance(read_until_us, self._now_us()):
            self._find(finding)
        self._flush()
        self._audited_until_us = read_until_us
        self._tell()

    def _take(self, each: RawRecord) -> None:
        where = (each.topic, each.partition)
        self._read[where] = each.offset + 1
        fresh = each.offset >= self._places[where].offset
        if fresh:
            self._digest(where, each)
        if each.topic not in _FLOWS:
            self._note_security(each)
            return
        entry = Entry(each.topic, each.partition, each.offset, each.timestamp_ms, each.value)
        for finding in self._audit.take(entry, self._now_us(), fresh=fresh):
            self._find(finding)

    def _digest(self, where: tuple[str, int], each: RawRecord) -> None:
        known = self._pending.digests.get(where)
        if known is None:
            known = self._pending.digests[where] = (self._places[where].offset, Digest())
        known[1].add(each.offset, each.key, each.value, each.headers)
        self._figures.records += 1

    def _note_security(self, each: RawRecord) -> None:
        found = security_event_of(each.topic, each.partition, each.offset, each.value, each.headers)
        if isinstance(found, Finding):
            self._find(found)
        elif found is not None and self._is_news(found.event_id):
            place = f"{each.topic}:{each.partition}:{each.offset}"
            record = security_record(self._name, found, place, self._now_us())
            self._pending.records.append(record)
            self._figures.events += 1

    def _find(self, finding: Finding) -> None:
        if not self._is_news(finding.identity):
            return
        _logger.warning("audit_finding kind=%s %s", finding.kind, finding.text)
        self._pending.records.append(finding_record(self._name, finding, self._now_us()))
        self._pending.findings += 1
        self._figures.findings += 1

    def _is_news(self, identity: str) -> bool:
        if identity in self._told:
            return False
        self._told.add(identity)
        return True

    def _flush(self) -> None:
        """Add findings, events and the window; nothing where nothing was read or found."""
        pending, self._pending = self._pending, _Pending()
        if not (pending.digests or pending.records):
            return
        places = dict(self._places)
        for where in pending.digests:
            known = self._audit.places.get(where)
            places[where] = known or Place(self._read[where])
        ranges = [
            Range(topic, partition, first, self._read[topic, partition], digest.count,
                  digest.sha256)
            for (topic, partition), (first, digest) in sorted(pending.digests.items())
        ]  # fmt: skip
        tallies = {
            **self._audit.tallies.as_dict(),
            "under_way": self._audit.under_way,
            "open_flows": self._audit.open_flows,
        }
        settled = {**places, **self._audit.settled()}
        window = Window(ranges, places, settled, tallies, pending.findings)
        record = window_record(self._name, window, self._now_us())
        head = self._writer.append([*pending.records, record])
        self._places = places
        self._audit.tallies = Tallies()
        self._figures.windows += 1
        self._figures.sequence = head.sequence

    def _tell(self) -> None:
        now_us = self._now_us()
        since_us = self._audited_until_us or self._asked_us
        lag_s = max(0.0, (now_us - since_us) / 1e6)
        figures, head = self._figures, self._writer.head
        figures.lag_s = lag_s
        if self._audited_until_us == 0:
            return  # nothing was ever reached: nobody can say how far behind it is
        progress = AuditProgress(
            self._name, now_us, self._audited_until_us, lag_s, head.sequence,
            head.sha256 or "", figures.records, figures.findings,
        )  # fmt: skip
        self._publish(PROGRESS, progress, key=b"auditor")

    def _now_us(self) -> int:
        return self._clock.now_us()
