"""One flow's whole life: its records in all topics, found without reading them all.

The records of a flow name where they came from, so one is enough to find the others:

1. An anchor: the newest record that holds the flow's id, looked for backwards in the most
   downstream log first, which holds every flow that has ended. Bytes are compared, nothing else is
   decoded. A symbol and a time narrow it down.
2. Upwards, each journal names the offset of its input.
3. Downwards, the next log is read from the time of the record on, until its record comes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from msgspec import Struct

from pipeline.control.state import ControlView
from pipeline.errors import PoisonError, PositionLost, UsageError
from pipeline.packets.codec import decode
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.packets.models import Envelope, Journal, OrderEvent, Outcome, PortfolioUpdate
from pipeline.packets.vocabulary import FlowState, OrderEventKind, OutcomeKind
from pipeline.replay.control_history import ControlHistory
from pipeline.replay.dead_letters import Coordinates, letter_of
from pipeline.replay.logs import LOGS, accepted, start_before
from pipeline.replay.reading import Entry, TopicReader
from pipeline.settings import Settings
from pipeline.transport.partitioner import partition_of

__all__ = ["FILLS", "Flow", "FlowFinder", "Step", "flow_of"]

FILLS = "cascade.fills"
_RISK = "cascade.risk"
_LOGS = ("cascade.strategic", "cascade.tactical", _RISK, "cascade.execution")
_BY_SYMBOL = frozenset({*INGEST_TOPICS, "cascade.strategic", "cascade.tactical"})
_MENTIONS = ("cascade.alerts", "cascade.audit", "cascade.emergency")
_AFTERMATH_US = 60_000_000
_SUFFIX = re.compile(r"-(market|strategic|tactical|risk|execution|unreadable|\d{3})$")


def flow_of(name: str) -> str:
    """Return the flow id in a flow id, a packet id or a client order id.

    Raises:
        UsageError: If it is none of them.
    """
    flow = _SUFFIX.sub("", name.strip())
    if not flow:
        raise UsageError(f"Expected a flow id, packet id or client order id, was {name!r}")
    return flow


@dataclass(frozen=True, slots=True)
class Step:
    """One record of a flow.

    Attributes:
        entry: Where it stands, and when the broker appended it.
        record: The record.
        control: What was in force for whoever wrote it; None where it is no record of a log.
    """

    entry: Entry
    record: Struct
    control: ControlView | None = None

    @property
    def journal(self) -> Journal | None:
        """Its journal; None where it is no record of a log."""
        return getattr(self.record, "journal", None)

    @property
    def envelope(self) -> Envelope | None:
        """Its envelope; None where it has none."""
        return getattr(self.record, "envelope", None)


@dataclass(frozen=True)
class Flow:
    """What is known of a flow.

    Attributes:
        flow_id: Its id.
        steps: Its records by cause: market data, stages, orders, what risk made of them.
        dead_letters: Its records in dead-letter topics.
        mentions: Alerts, audit records and emergencies that name it.
        unknown: What could not be found or read, one sentence each.
    """

    flow_id: str
    steps: tuple[Step, ...]
    dead_letters: tuple[Step, ...] = ()
    mentions: tuple[Step, ...] = ()
    unknown: tuple[str, ...] = ()

    @cached_property
    def envelope(self) -> Envelope | None:
        """The newest envelope: identity, times, trace and, where it has ended, the outcome."""
        return next((step.envelope for step in reversed(self.steps) if step.envelope), None)

    @property
    def outcome(self) -> Outcome | None:
        """How the flow ended in execution's log; None while it has not."""
        last = next((each for each in self.steps if each.entry.topic == _LOGS[-1]), None)
        return last.envelope.outcome if last and last.envelope else None

    @property
    def order_state(self) -> FlowState | None:
        """The flow's state at the gateway; None where it never came there."""
        events = [each.record for each in self.steps if isinstance(each.record, OrderEvent)]
        return events[-1].flow_state if events else None


@dataclass
class _Found:
    """What has been found so far."""

    steps: list[Step] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class FlowFinder:
    """Finds flows, while the cascade runs or when it does not.

    Args:
        settings: Settings; whose control log it is depends on `control_authors`, too.
        reader: Reads.
        symbol: Of the flow, where known: only its partition is looked at.
        since_us: Not before this time, microseconds since the Unix epoch, UTC.
        until_us: Not after it.
    """

    def __init__(
        self,
        settings: Settings,
        reader: TopicReader,
        *,
        symbol: str | None = None,
        since_us: int = 0,
        until_us: int | None = None,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._symbol = symbol
        self._since_us = since_us
        self._until_us = until_us

    @cached_property
    def history(self) -> ControlHistory:
        """The control log."""
        return ControlHistory.read(self._settings)

    def find(self, name: str) -> Flow:
        """Return the flow of a flow id, packet id or client order id.

        Raises:
            UsageError: If no topic holds a record of it.
            BrokerUnavailable: If the broker does not answer.
        """
        flow = flow_of(name)
        anchor = self._anchor(flow)
        found = _Found()
        self._upwards(anchor, found)
        found.steps.reverse()
        self._add(anchor, found)
        self._downwards(flow, anchor, found)
        first = found.steps[0].entry.timestamp_ms * 1000
        last = max(step.entry.timestamp_ms for step in found.steps) * 1000
        return Flow(
            flow,
            tuple(found.steps),
            tuple(self._letters(found.steps)),
            tuple(self._mentions(flow, first, last + _AFTERMATH_US)),
            tuple(found.unknown),
        )

    # -- finding -------------------------------------------------------------------------------

    def _anchor(self, flow: str) -> Entry:
        wanted = flow.encode()
        for topic in (*reversed(_LOGS), *INGEST_TOPICS):
            for partition in self._partitions(topic):
                low, high = self._window(topic, partition)
                for entry in self._reader.backwards(topic, partition, low, high):
                    if wanted in (entry.value or b"") and self._is_packet(entry, flow):
                        return entry
        where = "" if self._symbol is None else f" in the partition of {self._symbol}"
        raise UsageError(
            f"Expected a record of flow {flow}{where}, was none in"
            f" {', '.join((*INGEST_TOPICS, *_LOGS))}. Check the id, CASCADE_NAMESPACE and the"
            " times; older records may be past their retention."
        )

    def _partitions(self, topic: str) -> tuple[int, ...]:
        partitions = self._reader.partitions(topic)
        if self._symbol is None or topic not in _BY_SYMBOL:
            return partitions
        return (partition_of(self._symbol.encode(), len(partitions)),)

    def _window(self, topic: str, partition: int) -> tuple[int, int]:
        low, high = self._reader.bounds(topic, partition)
        if self._since_us:
            low = self._reader.offset_at(topic, partition, self._since_us)
        if self._until_us is not None:
            high = self._reader.offset_at(topic, partition, self._until_us)
        return low, high

    def _is_packet(self, entry: Entry, flow: str) -> bool:
        """Say whether an entry is a packet of the flow that counts in its log."""
        record = _decoded(entry)
        envelope: Envelope | None = getattr(record, "envelope", None)
        if envelope is None or envelope.flow_id != flow:
            return False
        if entry.topic not in LOGS:
            return True
        start = start_before(self._reader, entry.topic, entry.partition, entry.offset)
        counting = accepted(self._reader, entry.topic, entry.partition, start, entry.offset + 1)
        return any(each.offset == entry.offset for each in counting)

    def _upwards(self, entry: Entry, found: _Found) -> None:
        """Add what the entry came from, nearest first."""
        journal: Journal | None = getattr(_decoded(entry), "journal", None)
        while journal is not None:
            where = (journal.input_topic, journal.input_partition, journal.input_offset)
            try:
                above = self._reader.one(*where)
            except PositionLost as lost:
                found.unknown.append(str(lost))
                return
            journal = self._add(above, found)

    def _downwards(self, flow: str, anchor: Entry, found: _Found) -> None:
        at = anchor
        for topic in _LOGS[_LOGS.index(anchor.topic) + 1 if anchor.topic in _LOGS else 0 :]:
            following = next(self._after(topic, flow, at), None)
            if following is None:
                return
            self._add(following, found)
            at = following
        self._to_the_fill(flow, at, found)

    def _to_the_fill(self, flow: str, plan: Entry, found: _Found) -> None:
        events, tail = [], len(found.steps)
        for entry in self._after(FILLS, flow, plan):
            self._add(entry, found)
            events.append(entry)
            if getattr(_decoded(entry), "flow_state", FlowState.OPEN) is not FlowState.OPEN:
                break
        owing = {
            (each.partition, each.offset)
            for each in events
            if getattr(_decoded(each), "kind", None) is not OrderEventKind.SUBMITTING
        }
        if not owing:
            return
        for entry in self._after(_RISK, flow, events[0]):
            record = _decoded(entry)
            if isinstance(record, PortfolioUpdate):
                self._add(entry, found)
                owing.discard((record.journal.input_partition, record.journal.input_offset))
            if not owing:
                break
        found.steps[tail:] = sorted(found.steps[tail:], key=_written)

    def _after(self, topic: str, flow: str, cause: Entry) -> Iterator[Entry]:
        """Yield the records of a flow that count in a log, from the time of their cause on."""
        wanted = flow.encode()
        for partition in self._partitions(topic):
            first = self._reader.offset_at(topic, partition, cause.timestamp_ms * 1000)
            _, end = self._reader.bounds(topic, partition)
            if first >= end:
                continue
            start = start_before(self._reader, topic, partition, first)
            for entry in accepted(self._reader, topic, partition, start, end):
                if entry.offset >= first and wanted in (entry.value or b""):
                    record = _decoded(entry)
                    envelope = getattr(record, "envelope", record)
                    if getattr(envelope, "flow_id", None) == flow:
                        yield entry

    # -- gathering -----------------------------------------------------------------------------

    def _add(self, entry: Entry, found: _Found) -> Journal | None:
        record = _decoded(entry)
        if record is None:
            found.unknown.append(f"Expected a packet, was none that can be read, at {entry}")
            return None
        journal: Journal | None = getattr(record, "journal", None)
        view = None
        if journal is not None:
            try:
                view = self.history.seen_by(journal)
            except PositionLost as lost:
                found.unknown.append(str(lost))
        found.steps.append(Step(entry, record, view))
        return journal

    def _letters(self, steps: list[Step]) -> Iterator[Step]:
        """Yield the dead letters of records that a step gave up."""
        for step in steps:
            journal = step.journal
            if journal is None or not _gave_up(step):
                continue
            topic, *place = journal.input_topic, journal.input_partition, journal.input_offset
            key = str(Coordinates(topic, *place)).encode()
            topic = f"{topic}.dead"
            for partition in self._reader.partitions(topic):
                # Letters are written before the record that says so.
                before_us = min(journal.now, step.entry.timestamp_ms * 1000) - _AFTERMATH_US
                first = self._reader.offset_at(topic, partition, before_us)
                _, end = self._reader.bounds(topic, partition)
                letters = self._reader.read(topic, partition, first, end)
                entry = next((each for each in letters if each.key == key), None)
                if entry is not None:
                    yield Step(entry, letter_of(entry.headers)[0])
                    break

    def _mentions(self, flow: str, since_us: int, until_us: int) -> Iterator[Step]:
        wanted = flow.encode()
        for topic in _MENTIONS:
            for partition in self._reader.partitions(topic):
                first = self._reader.offset_at(topic, partition, since_us)
                end = self._reader.offset_at(topic, partition, until_us)
                for entry in self._reader.read(topic, partition, first, end):
                    if wanted in (entry.value or b"") and (record := _decoded(entry)) is not None:
                        yield Step(entry, record)


def _written(step: Step) -> int:
    return step.journal.now if step.journal else step.entry.timestamp_ms * 1000


def _gave_up(step: Step) -> bool:
    """Say whether the writer of a record dead-lettered its input."""
    if isinstance(step.record, OrderEvent):
        return step.record.kind is OrderEventKind.DEAD_LETTERED
    outcome = step.envelope.outcome if step.envelope else None
    return (
        outcome is not None
        and outcome.kind is OutcomeKind.DEAD_LETTERED
        and f"cascade.{outcome.stage}" == step.entry.topic
    )


def _decoded(entry: Entry) -> Any:
    """Return the record of an entry; None where it cannot be read."""
    try:
        return decode(entry.value)
    except PoisonError:
        return None
