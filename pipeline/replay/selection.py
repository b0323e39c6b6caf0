"""What is to be replayed: ranges of the stages' logs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import PoisonError, UsageError
from pipeline.packets.codec import decode, journal_head
from pipeline.packets.events import EmergencyEvent
from pipeline.packets.identity import unreadable_flow_id
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.replay.flow import FlowFinder
from pipeline.replay.reading import TopicReader
from pipeline.stages.routes import ROUTES

__all__ = ["STAGE_LOGS", "Bounds", "LogRange", "Selection", "of_emergency", "of_flow", "of_topic"]

STAGE_LOGS = {route.spec.log: stage for stage, route in ROUTES.items()}
"""The stage of each log that can be replayed, in the order of the stages."""

_EMERGENCIES = "cascade.emergency"
_MARGIN_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where to where; None: as far as there is something.

    Attributes:
        from_offset: First offset.
        to_offset: First offset that is not meant any more.
        from_us: Time, microseconds since the Unix epoch, UTC.
        to_us: First time that is not meant any more.
    """

    from_offset: int | None = None
    to_offset: int | None = None
    from_us: int | None = None
    to_us: int | None = None

    @property
    def by_offset(self) -> bool:
        """Whether an offset is named."""
        return self.from_offset is not None or self.to_offset is not None


class LogRange(msgspec.Struct, frozen=True):
    """A range of one partition of a stage's log: offsets [start, end)."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def stage(self) -> str:
        """The stage whose log it is."""
        return STAGE_LOGS[self.topic]

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] {self.start} to {self.end - 1}"


class Selection(msgspec.Struct, frozen=True):
    """What is to be replayed.

    Attributes:
        what: For people.
        ranges: By stage, then by partition.
        flows: Only records of these flows; None: of all.
        span_us: First and last time that it is about, microseconds since the Unix epoch, UTC;
            None: as long as its records take.
    """

    what: str
    ranges: tuple[LogRange, ...]
    flows: frozenset[str] | None = None
    span_us: tuple[int, int] | None = None

    @property
    def records(self) -> int:
        """Most records that there are to replay."""
        return sum(each.end - each.start for each in self.ranges)


def of_topic(
    reader: TopicReader, topic: str, partitions: Sequence[int], bounds: Bounds
) -> Selection:
    """Return a range of a stage's log; of an ingest topic, its flows through all four stages.

    Args:
        reader: Reads.
        topic: Without namespace.
        partitions: Its partitions; all where there is none.
        bounds: From where to where.

    Raises:
        UsageError: If the topic cannot be replayed, or bounds make no sense.
    """
    if topic not in STAGE_LOGS and topic not in INGEST_TOPICS:
        raise UsageError(
            f"Expected a topic of {', '.join((*INGEST_TOPICS, *STAGE_LOGS))}, was {topic!r}."
            " What the gateway wrote is what a venue answered; no code makes that again."
        )
    known = reader.partitions(topic)
    chosen = tuple(partitions) or known
    if unknown := sorted(set(chosen) - set(known)):
        raise UsageError(f"Expected a partition of {topic} from {list(known)}, was {unknown}")
    if bounds.by_offset and len(chosen) > 1:
        raise UsageError(
            f"Expected --partition with offsets, since {topic} has {len(known)}, was none"
        )
    ranges = [_range(reader, topic, each, bounds) for each in chosen]
    ranges = [each for each in ranges if each.start < each.end]
    if not ranges:
        raise UsageError(f"Expected records of {topic} in that range, was none")
    what = ", ".join(map(str, ranges))
    if topic not in INGEST_TOPICS:
        return Selection(what, tuple(ranges))
    return _of_market(reader, what, ranges)


def of_flow(finder: FlowFinder, name: str) -> Selection:
    """Return one flow's records in all stages' logs.

    Raises:
        UsageError: If no topic holds it.
    """
    flow = finder.find(name)
    places = [
        LogRange(each.entry.topic, each.entry.partition, each.entry.offset, each.entry.offset + 1)
        for each in flow.steps
        if each.entry.topic in STAGE_LOGS
    ]
    if not places:
        raise UsageError(f"Expected a stage's record of flow {flow.flow_id}, was none yet")
    return Selection(f"flow {flow.flow_id}", _joined(places), frozenset({flow.flow_id}))


def of_emergency(reader: TopicReader, event_id: str) -> Selection:
    """Return the range of all stages' logs during an emergency, a second before and after.

    Raises:
        UsageError: If there is no such emergency.
    """
    times = [
        event.updated_at or event.timestamp
        for event in _events(reader)
        if event.event_id == event_id
    ]
    if not times:
        raise UsageError(
            f"Expected emergency {event_id} in {_EMERGENCIES}, was none. `cascade emergency` lists"
            " those that are active."
        )
    span_us = min(times) - _MARGIN_US, max(times) + _MARGIN_US
    bounds = Bounds(from_us=span_us[0], to_us=span_us[1])
    ranges = [
        _range(reader, topic, partition, bounds)
        for topic in STAGE_LOGS
        for partition in reader.partitions(topic)
    ]
    ranges = [each for each in ranges if each.start < each.end]
    if not ranges:
        raise UsageError(f"Expected records during emergency {event_id}, was none")
    return Selection(f"emergency {event_id}", tuple(ranges), span_us=span_us)


def _events(reader: TopicReader) -> Iterator[EmergencyEvent]:
    for partition in reader.partitions(_EMERGENCIES):
        for entry in reader.read(_EMERGENCIES, partition, *reader.bounds(_EMERGENCIES, partition)):
            try:
                event = decode(entry.value)
            except PoisonError:
                continue
            if isinstance(event, EmergencyEvent):
                yield event


def _range(reader: TopicReader, topic: str, partition: int, bounds: Bounds) -> LogRange:
    low, high = reader.bounds(topic, partition)
    start, end = low, high
    if bounds.from_us is not None:
        start = reader.offset_at(topic, partition, bounds.from_us)
    if bounds.to_us is not None:
        end = reader.offset_at(topic, partition, bounds.to_us)
    if bounds.from_offset is not None:
        start = bounds.from_offset
    if bounds.to_offset is not None:
        end = bounds.to_offset
    if bounds.by_offset and not low <= start <= end <= high:
        raise UsageError(
            f"Expected offsets of {topic}[{partition}] from {low} to {high}, was {start} to {end}"
        )
    return LogRange(topic, partition, start, end)


def _of_market(reader: TopicReader, what: str, ranges: Sequence[LogRange]) -> Selection:
    """Return the ranges of the stages' logs that hold the flows of market data."""
    flows: set[str] = set()
    first_ms = -1
    for each in ranges:
        for entry in reader.read(each.topic, each.partition, each.start, each.end):
            flows.add(_flow_of_market(entry))
            first_ms = entry.timestamp_ms if first_ms < 0 else min(first_ms, entry.timestamp_ms)
    found = []
    for topic in STAGE_LOGS:
        left = set(flows)
        for partition in reader.partitions(topic):
            place = _holding(reader, topic, partition, first_ms * 1000, flows, left)
            found.extend([] if place is None else [place])
    if not found:
        raise UsageError(f"Expected a stage to have worked off {what}, was none yet")
    return Selection(what, tuple(found), frozenset(flows))


def _flow_of_market(entry: Any) -> str:
    try:
        envelope = getattr(decode(entry.value), "envelope", None)
    except PoisonError:
        envelope = None
    if envelope is None:
        return unreadable_flow_id(entry.topic, entry.partition, entry.offset)
    return str(envelope.flow_id)


def _holding(
    reader: TopicReader, topic: str, partition: int, since_us: int, flows: set[str], left: set[str]
) -> LogRange | None:
    """Return the range of a log partition that holds flows; takes those found out of `left`."""
    start = reader.offset_at(topic, partition, since_us)
    _, end = reader.bounds(topic, partition)
    first, last = -1, -1
    for entry in reader.read(topic, partition, start, end):
        if not left:
            break
        if journal_head(entry.value) is None:
            continue
        try:
            envelope = getattr(decode(entry.value), "envelope", None)
        except PoisonError:
            continue
        if envelope is not None and envelope.flow_id in flows:
            left.discard(envelope.flow_id)
            first, last = entry.offset if first < 0 else first, entry.offset
    return None if first < 0 else LogRange(topic, partition, first, last + 1)


def _joined(places: Sequence[LogRange]) -> tuple[LogRange, ...]:
    """Return one range for each partition; what lies between is no record of the flow."""
    joined: dict[tuple[str, int], LogRange] = {}
    for each in places:
        where = (each.topic, each.partition)
        known = joined.get(where, each)
        joined[where] = LogRange(
            each.topic, each.partition, min(known.start, each.start), max(known.end, each.end)
        )
    order = list(STAGE_LOGS)
    return tuple(
        sorted(joined.values(), key=lambda each: (order.index(each.topic), each.partition))
    )
