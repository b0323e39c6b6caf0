"""What an owner knows of its output log: the fold, its recovery, the ownership of a partition."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct

from pipeline.packets.models import Cursor, Journal
from pipeline.transport.log import InputPosition, LogReader, Position
from pipeline.transport.rounds import TopicAndPartition

__all__ = [
    "Fold",
    "LogSpec",
    "Ownership",
    "Recovered",
    "cursors_of",
    "fold_journal",
    "input_readers",
]


class Fold(Protocol):
    """A state that is nothing but the fold of a log's records."""

    def initial(self) -> Any:
        """Return the state before the first record."""
        ...

    def apply(self, state: Any, record: Any) -> None:
        """Fold one record into `state`."""
        ...

    def dump(self, state: Any) -> bytes:
        """Return `state` as bytes."""
        ...

    def load(self, data: bytes) -> Any:
        """Return the state that `data` is the dump of."""
        ...


def _always(record: Struct) -> bool:
    del record
    return True


@dataclass(frozen=True, slots=True)
class LogSpec:
    """Which topics a stage reads and writes; names without namespace.

    Attributes:
        stage: Name of the stage; its group is called so too.
        log: Topic of its output log.
        subscribed: Topic whose partitions the group shares out; partition n of it owns partition
            n of the log.
        joined: Topics that every owner reads all partitions of.
        logs: Those of the inputs that are output logs themselves.
        first: Whether it reads what comes from outside, record by record; what later stages get
            has been gathered by then.
        priority: Topic of the packets that overtake those of `subscribed`, if there is one; the
            owner of log partition n reads its partition n.
        finishes: Says whether a record is the last one of its input; where an input gives several,
            its position moves with the last.
    """

    stage: str
    log: str
    subscribed: str
    joined: tuple[str, ...] = ()
    logs: frozenset[str] = frozenset()
    first: bool = False
    priority: str | None = None
    finishes: Callable[[Struct], bool] = _always

    @property
    def snapshots(self) -> str:
        """Topic of the log's snapshots."""
        return f"{self.log}.snapshots"

    @property
    def group(self) -> str:
        """Consumer group."""
        return f"cascade.{self.stage}"

    @property
    def sources(self) -> tuple[str, ...]:
        """Topics that it reads."""
        lanes = (self.subscribed,) if self.priority is None else (self.subscribed, self.priority)
        return (*lanes, *self.joined)

    def inputs(self, partition: int, counts: Mapping[str, int]) -> list[TopicAndPartition]:
        """Return the input partitions of log partition `partition`, given partition counts.

        A cluster that has no priority topic yet has no count of it.
        """
        joined = [(topic, each) for topic in self.joined for each in range(counts[topic])]
        urgent = [(topic, partition) for topic in counts if topic == self.priority]
        return [(self.subscribed, partition), *urgent, *joined]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a take-over ends with: state and positions as of the marker."""

    partition: int
    epoch: int
    sequence: int
    state: Any
    positions: dict[TopicAndPartition, InputPosition]
    records: int


def fold_journal(
    positions: dict[TopicAndPartition, InputPosition], journal: Journal, *, finished: bool = True
) -> None:
    """Fold one record's journal into the input positions; `finished`: its input is worked off."""
    where = (journal.input_topic, journal.input_partition)
    resume = Position(journal.resume_offset, journal.resume_epoch, journal.resume_sequence)
    if (known := positions.get(where)) is None:
        known = positions[where] = InputPosition(resume, set())
    known.fold(journal.input_offset, resume, finished=finished)


def cursors_of(positions: Mapping[TopicAndPartition, InputPosition]) -> tuple[Cursor, ...]:
    """Return input positions as a snapshot stores them."""
    return tuple(
        Cursor(
            *where,
            at.position.offset,
            at.position.epoch,
            at.position.sequence,
            tuple(sorted(at.done)),
        )
        for where, at in sorted(positions.items())
    )


@dataclass(slots=True)
class Ownership:
    """The right to write one log partition, while it lasts.

    Attributes:
        partition: Log partition.
        epoch: Offset of this owner's marker.
        sequence: Log sequence of the last record written.
        state: The fold of all records so far, those still in flight included.
        positions: How far each input is worked off.
        readers: The reading rule over each input that is a log.
        read_back: Last own record seen in the log, as (log sequence, offset).
        unread: (log sequence, monotonic seconds) of what was written and not yet read back.
    """

    partition: int
    epoch: int
    sequence: int
    state: Any
    positions: dict[TopicAndPartition, InputPosition]
    readers: dict[TopicAndPartition, LogReader]
    read_back: tuple[int, int]
    unread: deque[tuple[int, float]] = field(default_factory=deque)
    records_since_snapshot: int = 0
    snapshot_at: float = field(default_factory=time.monotonic)

    def advance(self, fold: Fold, record: Struct) -> None:
        """Fold a record that is about to be written; its log sequence is the next one."""
        fold.apply(self.state, record)
        self.sequence += 1

    def written(self, count: int) -> None:
        """Note that `count` records were handed to the producer."""
        if count:
            self.records_since_snapshot += count
            self.unread.append((self.sequence, time.monotonic()))

    def oldest_unread_s(self) -> float:
        """Return the age of the oldest record not yet read back, seconds; 0 where there is none."""
        while self.unread and self.unread[0][0] <= self.read_back[0]:
            self.unread.popleft()
        return time.monotonic() - self.unread[0][1] if self.unread else 0.0


def input_readers(
    spec: LogSpec, positions: Mapping[TopicAndPartition, InputPosition]
) -> dict[TopicAndPartition, LogReader]:
    """Return a reading rule for each input that is a log, standing at its position."""
    return {
        where: LogReader(at.position) for where, at in positions.items() if where[0] in spec.logs
    }
