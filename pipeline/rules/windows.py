"""The newest records of the logs: which of them count, though the log is not read from its start.

A reader from the start knows the epoch in force and the last log sequence. A window does not, so it
infers them: before the first marker in the window one epoch was in force, and since epochs only
grow, it is the highest that any record there claims; its first record opens the sequence. Records
of lower epochs come from owners that were fenced, and do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeline.errors import PoisonError
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.oracle import Accepted, LogReading

__all__ = ["STAGE_LOGS", "LogWindow", "Logs", "PartitionWindow"]

STAGE_LOGS = (
    "cascade.strategic",
    "cascade.tactical",
    "cascade.risk",
    "cascade.execution",
    "cascade.fills",
)


@dataclass(frozen=True, slots=True)
class PartitionWindow:
    """The newest entries of one partition.

    Attributes:
        start: Offset of the first one; where there is none, where one would stand.
        whole: Whether the partition holds, or ever held, nothing before it.
        entries: (offset, value), in order.
    """

    start: int
    whole: bool
    entries: Sequence[tuple[int, bytes | None]]


class LogWindow:
    """The newest records of one topic; they are decoded when they are first asked for.

    Args:
        topic: Name without namespace.
        partitions: Its partitions.
        is_log: Whether it is an output log; other topics have no reading rule.
    """

    def __init__(
        self, topic: str, partitions: Mapping[int, PartitionWindow], *, is_log: bool = True
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self.is_log = is_log

    @property
    def whole(self) -> bool:
        """Whether all of the topic is in the window."""
        return all(each.whole for each in self.partitions.values())

    @property
    def first_offsets(self) -> Mapping[int, int]:
        """Offset of the first entry of each partition."""
        return {number: each.start for number, each in self.partitions.items()}

    @property
    def records(self) -> Sequence[Accepted]:
        """The records of a log that count, partition by partition, each in order."""
        return self._content.records

    @property
    def packets(self) -> Sequence[Any]:
        """The packets: records that count of a log, all that can be read of another topic."""
        return self._content.packets

    @property
    def unreadable(self) -> Sequence[str]:
        """Records that count and cannot be read, one a line."""
        return self._content.unreadable

    @property
    def foreign(self) -> Sequence[str]:
        """Entries of a log that no owner can have written, one a line."""
        return self._content.foreign

    @cached_property
    def _content(self) -> "_Content":
        content = _Content()
        for number, window in sorted(self.partitions.items()):
            (self._follow if self.is_log else self._decode)(number, window, content)
        if self.is_log:
            content.packets = [each.record for each in content.records]
        return content

    def _follow(self, number: int, window: PartitionWindow, content: "_Content") -> None:
        """Read a partition of a log by the reading rule."""
        reading = LogReading(_before(number, window))
        fenced = _fenced(number, window)
        for offset, value in window.entries:
            head = journal_head(value)
            if head is not None and head.epoch in fenced:
                continue
            try:
                record = reading.add(number, offset, value)
            except PoisonError as error:
                content.unreadable.append(f"{self.topic}[{number}]@{offset}: {error.message}")
                continue
            if record is not None:
                content.records.append(record)
        content.foreign += [f"{self.topic}{each}" for each in reading.foreign]

    def _decode(self, number: int, window: PartitionWindow, content: "_Content") -> None:
        for offset, value in window.entries:
            try:
                content.packets.append(decode(value))
            except PoisonError as error:
                content.unreadable.append(f"{self.topic}[{number}]@{offset}: {error.message}")


@dataclass(slots=True)
class _Content:
    """What was read of a window."""

    records: list[Accepted] = field(default_factory=list)
    packets: list[Any] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def _before(number: int, window: PartitionWindow) -> dict[int, tuple[int, int]] | None:
    """Return (epoch, sequence) before the first entry of a window; None at the start of a log."""
    if window.whole:
        return None
    heads = []
    for _, value in window.entries:
        if is_marker(value):
            break
        if (head := journal_head(value)) is not None and head.epoch < window.start:
            heads.append(head)
    if not heads:
        return _before_marker(number, window)
    epoch = max(head.epoch for head in heads)
    return {number: (epoch, next(h.sequence for h in heads if h.epoch == epoch) - 1)}


def _before_marker(number: int, window: PartitionWindow) -> dict[int, tuple[int, int]] | None:
    """Return the same for a window that opens with markers, from the first record behind them."""
    newest = -1
    for offset, value in window.entries:
        if is_marker(value):
            newest = offset
        elif (head := journal_head(value)) is not None and head.epoch == newest:
            return {number: (0, head.sequence - 1)}
    return None


def _fenced(number: int, window: PartitionWindow) -> frozenset[int]:
    """Return epochs that were opened before the window and are not in force in it."""
    if window.whole:
        return frozenset()
    in_force = (_before(number, window) or {}).get(number, (-1, -1))[0]
    heads = (journal_head(value) for _, value in window.entries)
    epochs = {head.epoch for head in heads if head is not None}
    return frozenset(each for each in epochs if each < window.start and each != in_force)


@dataclass(frozen=True)
class Logs:
    """The newest records of the ingest topics and of all logs.

    Downstream logs are read first, so that whatever a record was made from is in the windows above
    it, unless it is older than they reach.

    Attributes:
        topics: Windows by topic without namespace.
    """

    topics: Mapping[str, LogWindow]

    def of(self, topic: str) -> LogWindow:
        """Return the window of a topic; an empty one where nobody read it."""
        return self.topics.get(topic) or LogWindow(topic, {}, is_log=topic not in INGEST_TOPICS)

    @property
    def packets(self) -> Sequence[Any]:
        """All packets, in the order of the cascade."""
        return [each for topic in (*INGEST_TOPICS, *STAGE_LOGS) for each in self.of(topic).packets]
