"""Stage logs in ranges: from which snapshot on, and which of their records count."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import PoisonError, PositionLost
from pipeline.gateway.worker import GATEWAY_LOG
from pipeline.packets.codec import decode_as, is_marker, journal_head
from pipeline.packets.models import Snapshot
from pipeline.replay.reading import Entry, TopicReader
from pipeline.stages.routes import ROUTES
from pipeline.transport import snapshots
from pipeline.transport.journal import LogSpec
from pipeline.transport.log import START, LogReader, Position

__all__ = ["LOGS", "LogStart", "accepted", "snapshots_within", "start_before"]

LOGS: dict[str, LogSpec] = {
    spec.log: spec for spec in (*(route.spec for route in ROUTES.values()), GATEWAY_LOG)
}
"""The logs of the cascade by topic, in the order of the stages."""

_PEEK = 200
_LOOK_BACK = 64
_MS = 1000


@dataclass(frozen=True, slots=True)
class LogStart:
    """Where the reading of a log begins.

    Attributes:
        position: Next offset, with the reading rule's epoch and sequence before it.
        snapshot: The snapshot that it comes from; None where it is the start of the log.
        data: The state in it; None likewise.
    """

    position: Position
    snapshot: Snapshot | None = None
    data: bytes | None = None

    def __str__(self) -> str:
        if self.snapshot is None:
            return "the start of the log"
        return f"snapshot {self.snapshot.snapshot_id} at offset {self.position.offset - 1}"


def start_before(reader: TopicReader, topic: str, partition: int, offset: int) -> LogStart:
    """Return the nearest place before `offset` from which a log can be read by its rule.

    Args:
        reader: Reads.
        topic: The log.
        partition: Its partition.
        offset: First record that is wanted; the state before it is in the start, or made from it
            by the records in between.

    Raises:
        PositionLost: If the start of the log is gone and no snapshot is old enough.
    """
    low, high = reader.bounds(topic, partition)
    peeked = list(reader.read(topic, partition, max(low, offset), min(high, offset + _PEEK)))
    found = _nearest(reader, topic, partition, low, offset, peeked)
    if found is not None:
        return found
    if low == 0:
        return LogStart(START)
    raise PositionLost(
        f"Expected a snapshot of {topic}[{partition}] before offset {offset}, or the log from its"
        f" start, was a log that starts at {low}. Its retention has passed.",
        topic=topic,
        partition=partition,
        offset=offset,
    )


def accepted(
    reader: TopicReader, topic: str, partition: int, start: LogStart, end: int
) -> Iterator[Entry]:
    """Yield the records of a log that count, by the reading rule, from a start up to `end`."""
    rule = LogReader(start.position)
    for entry in reader.read(topic, partition, start.position.offset, end):
        if is_marker(entry.value):
            rule.marker(entry.offset)
        elif (head := journal_head(entry.value)) and rule.accepts(
            entry.offset, head.epoch, head.sequence
        ):
            yield entry


def snapshots_within(
    reader: TopicReader, place: tuple[str, int], first_ms: int, sequences: tuple[int, int]
) -> dict[int, bytes]:
    """Return the state in each snapshot of a log, by the sequence of its last record.

    Args:
        reader: Reads.
        place: The log and its partition.
        first_ms: When the first record was appended, milliseconds since the Unix epoch.
        sequences: First and last log sequence that are of interest.
    """
    topic, partition = place
    name = LOGS[topic].snapshots
    start = reader.offset_at(name, partition, first_ms * _MS)
    _, end = reader.bounds(name, partition)
    parts: dict[int, list[Snapshot]] = {}
    for entry in reader.read(name, partition, start, end):
        part = _part(entry)
        if part is None or part.log_sequence < sequences[0]:
            continue
        if part.log_sequence > sequences[1]:
            break
        parts.setdefault(part.log_sequence, []).append(part)
    whole = {sequence: snapshots.assemble(each) for sequence, each in parts.items()}
    return {sequence: found[1] for sequence, found in whole.items() if found is not None}


def _nearest(
    reader: TopicReader, topic: str, partition: int, low: int, offset: int, peeked: list[Entry]
) -> LogStart | None:
    heads = [head for entry in peeked if (head := journal_head(entry.value))]
    # A snapshot holds records in flight when it was taken: none of those wanted may be in it.
    sequence = min((head.sequence for head in heads), default=None)
    name = LOGS[topic].snapshots
    first, end = reader.bounds(name, partition)
    if peeked:  # later snapshots cannot be meant
        end = min(end, reader.offset_at(name, partition, (peeked[0].timestamp_ms + 1) * _MS))
    back = _LOOK_BACK
    while end > first:
        start = max(first, end - back)
        parts = [
            part
            for entry in reader.read(name, partition, start, end)
            if (part := _part(entry)) is not None
            and low <= part.log_offset + 1 <= offset
            and (sequence is None or part.log_sequence < sequence)
        ]
        if found := snapshots.assemble(parts):
            part, data = found
            at = Position(part.log_offset + 1, part.log_epoch, part.log_sequence)
            return LogStart(at, part, data)
        if start == first:
            return None
        back *= 2
    return None


def _part(entry: Entry) -> Snapshot | None:
    try:
        return decode_as(entry.value, Snapshot)
    except PoisonError:
        return None
