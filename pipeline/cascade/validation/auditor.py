"""The auditor: every packet of every log is asked about, in a consumer group of its own.

The newest records that a comprehensive validation looks at are samples; this reads all that count,
and goes on where the group's last reader stopped. Several auditors share the partitions, each with
totals and findings of its own. Whatever was read and not committed when one died is asked about
again by the next: a packet is asked about at least once.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

from msgspec import Struct

from pipeline.packets.events import ValidationLevel, ValidationType
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import ValidationResult, ValidationRule, system_of
from pipeline.rules.registry import RuleSet
from pipeline.rules.running import RuleOutcome, Status, ask_about
from pipeline.rules.windows import STAGE_LOGS
from pipeline.settings import Settings
from pipeline.watch.group import Entry, GroupReader, Start, TakeEntries

__all__ = [
    "DECODABLE",
    "GROUP",
    "AuditTotals",
    "Auditor",
    "EntrySource",
    "RuleTotals",
    "kafka_entries",
]

GROUP: Final = "cascade.auditor"
"""Consumer group of all auditors of a namespace."""


class _Decodable(ValidationRule):
    """Looks at bytes before they are a packet, so it is told what came of decoding them."""

    rule_id = "data.decodable"
    rule_name = "Records are packets that can be read, of an owner of their log"
    validation_type = ValidationType.DATA_INTEGRITY
    level = ValidationLevel.CRITICAL
    remediation = ("Find out who wrote it; in the path it is dead-lettered.",)


DECODABLE: Final = _Decodable()


class EntrySource(Protocol):
    """Where the entries of the logs come from; may be started again once it is closed."""

    @property
    def connected(self) -> bool:
        """Whether records are being read."""
        ...

    def start(self, take: TakeEntries) -> None:
        """Begin, without waiting for anything."""
        ...

    def close(self) -> None:
        """End it; nothing is handed over any more when this returns."""
        ...


def kafka_entries(connect: Callable[[], Settings], start: Start = "earliest") -> GroupReader:
    """Return what reads the ingest topic and all logs in the auditors' group.

    Args:
        connect: Returns settings with a broker, or raises `BrokerUnavailable`.
        start: Where to begin where no auditor has been yet.
    """
    return GroupReader(
        connect, (*INGEST_TOPICS, *STAGE_LOGS), name="auditor", plain=INGEST_TOPICS, group=GROUP,
        start=start,
    )  # fmt: skip


@dataclass(slots=True)
class RuleTotals:
    """What came of asking one rule.

    Attributes:
        checked: Packets that it looked at.
        passed: Of these, such as it found nothing about.
        failed: The others; a rule that raised counts as failed.
    """

    checked: int = 0
    passed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class AuditTotals:
    """What an auditor has done so far.

    Attributes:
        packets: Records asked about, those that cannot be read among them.
        failed: Of these, such as a rule failed about.
        topics: Records asked about, by topic.
        rules: What came of each rule that looked at something, by rule id.
        connected: Whether records are being read now.
    """

    packets: int
    failed: int
    topics: dict[str, int]
    rules: dict[str, RuleTotals]
    connected: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the totals as plain values, for JSON."""
        return asdict(self)


class Auditor:
    """Asks all packet rules about all that a source hands over, on the source's thread.

    Args:
        rules: Rules, which may change while it runs.
        source: Where entries come from.
        settings: Returns the settings that the cascade is to run under.
        tell: Called with the outcomes of each packet that a rule failed about, and the time.
        now_us: Clock, microseconds since the Unix epoch, UTC.
        share: Most of one core that it takes, above 0 up to 1: it falls behind rather than keep
            the packets' path from running.
        history: How many findings are kept, the newest.
    """

    def __init__(
        self,
        rules: RuleSet,
        source: EntrySource,
        *,
        settings: Callable[[], Settings],
        tell: Callable[[Sequence[RuleOutcome], int], None],
        now_us: Callable[[], int],
        share: float = 0.5,
        history: int = 1000,
    ) -> None:
        self._rules = rules
        self._source = source
        self._settings = settings
        self._tell = tell
        self._now_us = now_us
        self._rest = 1.0 / share - 1.0
        self._lock = threading.Lock()
        self._findings: deque[ValidationResult] = deque(maxlen=history)
        self._topics: Counter[str] = Counter()
        self._totals: dict[str, RuleTotals] = {}
        self._failed = 0
        self._stopping = threading.Event()
        self._running = False

    @property
    def totals(self) -> AuditTotals:
        """What it has done so far."""
        with self._lock:
            return AuditTotals(
                self._topics.total(),
                self._failed,
                dict(self._topics),
                {name: replace(each) for name, each in sorted(self._totals.items())},
                self._source.connected,
            )

    @property
    def findings(self) -> Sequence[ValidationResult]:
        """The newest findings, oldest first; `details` has topic, partition, offset, flow_id."""
        with self._lock:
            return tuple(self._findings)

    def start(self) -> None:
        """Begin, or go on, without waiting for anything; nothing if it runs."""
        if not self._running:
            self._running = True
            self._stopping.clear()
            self._source.start(self._take)

    def stop(self) -> None:
        """End it once what is at hand is asked about; totals and findings stay."""
        if self._running:
            self._running = False
            self._stopping.set()
            self._source.close()

    def _take(self, entries: Sequence[Entry]) -> None:
        began_s = time.thread_time()
        rules = self._rules.of_packets()
        context = ValidationContext(self._settings(), self._now_us())
        for entry in entries:
            self._note(entry, self._asked(entry, rules, context), context.now_us)
        self._stopping.wait((time.thread_time() - began_s) * self._rest)

    def _asked(
        self, entry: Entry, rules: Sequence[ValidationRule], context: ValidationContext
    ) -> list[RuleOutcome]:
        if entry.packet is None:
            finding = replace(DECODABLE.finding(entry.why), timestamp=context.now_us)
            outcomes = [RuleOutcome(DECODABLE, Status.FAILED, 1, [finding], 1)]
        else:
            read = RuleOutcome(DECODABLE, Status.PASSED, 1)
            outcomes = [read, *(ask_about(each, [entry.packet], context) for each in rules)]
        return [_placed(each, entry) if each.findings else each for each in outcomes]

    def _note(self, entry: Entry, outcomes: Sequence[RuleOutcome], now_us: int) -> None:
        failing = [each for each in outcomes if each.status in (Status.FAILED, Status.ERROR)]
        with self._lock:
            self._topics[entry.topic] += 1
            self._failed += bool(failing)
            for each in outcomes:
                if each.status is not Status.NO_DATA:
                    totals = self._totals.setdefault(each.rule.rule_id, RuleTotals())
                    totals.checked += 1
                    totals.passed += each.status is Status.PASSED
                    totals.failed += each.status is not Status.PASSED
            for each in failing:
                self._findings.extend(each.findings)
        if failing:
            self._tell(failing, now_us)


def _placed(outcome: RuleOutcome, entry: Entry) -> RuleOutcome:
    """Return an outcome whose findings say which record of which flow they are about."""
    envelope = getattr(entry.packet, "envelope", None)
    flow, packet = _flow_of(entry.packet), getattr(envelope, "packet_id", "")
    place = {"topic": entry.topic, "partition": entry.partition, "offset": entry.offset}
    about = f"audit-{entry.topic}-{entry.partition}-{entry.offset}-{outcome.rule.rule_id}"
    findings = [
        replace(
            each,
            validation_id=f"{about}-{number}",
            system_id=each.system_id or system_of(entry.packet),
            packet_id=each.packet_id or packet,
            details={**each.details, **place, "flow_id": flow},
        )
        for number, each in enumerate(outcome.findings)
    ]
    return replace(outcome, findings=findings)


def _flow_of(packet: Struct | None) -> str:
    """Return the flow that a packet belongs to; empty where there is none."""
    where = getattr(packet, "envelope", packet)
    return str(getattr(where, "flow_id", ""))
