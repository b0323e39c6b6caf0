"""What happened during a stretch of time, from all topics, in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.errors import PoisonError
from pipeline.packets.codec import decode
from pipeline.packets.events import Alert, ControlCommand, EmergencyEvent
from pipeline.packets.models import ExecutionPlan, OrderEvent
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.replay.control_history import ControlHistory
from pipeline.replay.dead_letters import dead_topics, letter_of
from pipeline.replay.logs import accepted, start_before
from pipeline.replay.reading import Entry, TopicReader
from pipeline.settings import Settings
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = ["EventKind", "Timeline", "TimelineEvent", "timeline"]

_PLANS, _FILLS = "cascade.execution", "cascade.fills"
_US = 1000


class EventKind(StrEnum):
    """What kind of thing happened."""

    CONTROL = "control"
    EMERGENCY = "emergency"
    ALERT = "alert"
    ORDER = "order"
    DEAD_LETTER = "dead letter"


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened.

    Attributes:
        at_us: When, microseconds since the Unix epoch, UTC.
        kind: What kind of thing.
        text: What exactly.
    """

    at_us: int
    kind: EventKind
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of time.

    Attributes:
        first_us: Its first moment, microseconds since the Unix epoch, UTC.
        last_us: Its last one.
        events: What happened beside packets, in order.
        ends: Flows that ended, in the order of execution's log.
        before: What was in force when it began.
    """

    first_us: int
    last_us: int
    events: tuple[TimelineEvent, ...]
    ends: tuple[FlowEnd, ...]
    before: str


def timeline(settings: Settings, reader: TopicReader, first_us: int, last_us: int) -> Timeline:
    """Return what happened from `first_us` through `last_us`.

    Raises:
        PipelineError: If topics cannot be read.
    """
    history = ControlHistory.read(settings)
    events = [
        *_commands(history, first_us, last_us),
        *_events(reader, "cascade.emergency", first_us, last_us, _emergency),
        *_events(reader, "cascade.alerts", first_us, last_us, _alert),
        *_orders(reader, first_us, last_us),
        *_dead_letters(reader, first_us, last_us),
    ]
    events.sort(key=lambda each: each.at_us)
    return Timeline(
        first_us,
        last_us,
        tuple(events),
        tuple(_ends(reader, first_us, last_us)),
        _in_force(history, first_us),
    )


def _in_force(history: ControlHistory, at_us: int) -> str:
    epochs = [each.epoch for each in history.entries if each.appended_at < at_us]
    counted = [each for each in epochs if each not in history.refused]
    view = history.at(counted[-1] if counted else -1)
    reason = f", {view.reason}" if view.reason else ""
    return f"{view.trading_state} at epoch {view.epoch}{reason}"


def _commands(history: ControlHistory, first_us: int, last_us: int) -> Iterator[TimelineEvent]:
    for entry in history.entries:
        if first_us <= entry.appended_at <= last_us:
            text = _command(entry.command, entry.epoch)
            if refusal := history.refused.get(entry.epoch):
                text += f"; does not count: {refusal}"
            yield TimelineEvent(entry.appended_at, EventKind.CONTROL, text)


def _command(command: ControlCommand | None, epoch: int) -> str:
    if command is None:
        return f"epoch {epoch}: unreadable, which halts"
    scope = "" if command.scope == "*" else f" {command.scope}"
    lifts = f", lifts epoch {command.lifts_epoch}" if command.lifts_epoch >= 0 else ""
    return f"epoch {epoch}: {command.kind}{scope} by {command.author}{lifts}: {command.reason}"


def _emergency(record: Any) -> str | None:
    if not isinstance(record, EmergencyEvent):
        return None
    note = f"; {record.note}" if record.note else ""
    return (
        f"{record.course}: {record.emergency_level} {record.emergency_type} of"
        f" {', '.join(record.affected_systems)}, {record.description}{note} ({record.event_id})"
    )


def _alert(record: Any) -> str | None:
    return f"{record.level}: {record.message}" if isinstance(record, Alert) else None


def _events(
    reader: TopicReader,
    topic: str,
    first_us: int,
    last_us: int,
    text_of: Callable[[Any], str | None],
) -> Iterator[TimelineEvent]:
    kind = EventKind.EMERGENCY if topic == "cascade.emergency" else EventKind.ALERT
    for entry in _between(reader, topic, first_us, last_us):
        try:
            text = text_of(decode(entry.value))
        except PoisonError:
            continue
        if text is not None:
            yield TimelineEvent(entry.timestamp_ms * _US, kind, text)


def _between(reader: TopicReader, topic: str, first_us: int, last_us: int) -> Iterator[Entry]:
    for partition in reader.partitions(topic):
        start = reader.offset_at(topic, partition, first_us)
        yield from reader.read(topic, partition, start, reader.offset_at(topic, partition, last_us))


def _log_between(reader: TopicReader, topic: str, first_us: int, last_us: int) -> Iterator[Entry]:
    for partition in reader.partitions(topic):
        start = reader.offset_at(topic, partition, first_us)
        end = reader.offset_at(topic, partition, last_us)
        if start < end:
            place = start_before(reader, topic, partition, start)
            for entry in accepted(reader, topic, partition, place, end):
                if entry.offset >= start:
                    yield entry


def _ends(reader: TopicReader, first_us: int, last_us: int) -> Iterator[FlowEnd]:
    for entry in _log_between(reader, _PLANS, first_us, last_us):
        record = decode(entry.value)
        if isinstance(record, ExecutionPlan):
            yield FlowEnd.of(record, entry.timestamp_ms)


def _orders(reader: TopicReader, first_us: int, last_us: int) -> Iterator[TimelineEvent]:
    for entry in _log_between(reader, _FILLS, first_us, last_us):
        record = decode(entry.value)
        if isinstance(record, OrderEvent):
            seen = FillSeen.of(record, entry.timestamp_ms)
            yield TimelineEvent(record.journal.now, EventKind.ORDER, _order(seen, record))


def _order(seen: FillSeen, record: OrderEvent) -> str:
    name = seen.client_order_id or f"flow {seen.flow_id}"
    if seen.kind is OrderEventKind.SUBMITTING:
        return f"{name}: announced, {seen.side} {seen.quantity:g} {seen.symbol}"
    filled = f", {seen.side} {seen.filled:g} {seen.symbol} at {seen.price:g}" if seen.filled else ""
    why = f" ({', '.join(record.reasons)})" if record.reasons else ""
    end = f"; flow {record.flow_state}" if seen.final else ""
    return f"{name}: {seen.kind}{filled}{why}{end}"


def _dead_letters(reader: TopicReader, first_us: int, last_us: int) -> Iterator[TimelineEvent]:
    for topic in dead_topics():
        for entry in _between(reader, topic, first_us, last_us):
            try:
                letter, _ = letter_of(entry.headers)
            except PoisonError:
                continue
            place = f"{letter.topic}:{letter.partition}:{letter.offset}"
            text = f"{place} given up by {letter.stage}: {letter.error_class}, {letter.message}"
            yield TimelineEvent(entry.timestamp_ms * _US, EventKind.DEAD_LETTER, text)
