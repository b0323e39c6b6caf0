"""Which records of a log count, and what stands in it that nobody can have written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.packets.codec import decode, decode_as, is_marker, journal_head
from pipeline.packets.models import Journal, Marker

__all__ = [
    "Accepted",
    "Log",
    "LogReading",
    "Partition",
    "Void",
    "accepted_of",
    "accepted_records",
    "foreign_records",
]

Partition = Sequence[tuple[int, bytes | None]]
Log = Mapping[int, Partition]


class Accepted(NamedTuple):
    """A record that counts.

    Attributes:
        partition: Partition of its log.
        offset: Its offset.
        record: The record.
        journal: Where it stands and what it was made from.
    """

    partition: int
    offset: int
    record: Any
    journal: Journal


class Void(NamedTuple):
    """A record that does not count: of an old epoch, or behind a hole.

    Attributes:
        partition: Partition of its log.
        offset: Its offset.
        epoch: Epoch that it claims.
        newest: Epoch that was open.
    """

    partition: int
    offset: int
    epoch: int
    newest: int


class LogReading:
    """One log, followed by the reading rule; entries of a partition come in order of offset.

    A record counts if its epoch is the offset of the newest marker before it and its log sequence
    is the last counted + 1.

    Args:
        starts: (epoch, sequence) before the first entry of a partition, where its reading does not
            begin at the start of the log.

    Attributes:
        void: Records that do not count.
        foreign: Where something stands that no owner can have written.
    """

    def __init__(self, starts: Mapping[int, tuple[int, int]] | None = None) -> None:
        self._at = dict(starts or {})
        self._opened: dict[int, dict[int, str]] = {
            partition: {epoch: ""} for partition, (epoch, _) in self._at.items()
        }
        self.void: list[Void] = []
        self.foreign: list[str] = []

    def epoch(self, partition: int) -> int:
        """Return the newest epoch of a partition; -1 before any."""
        return self._at.get(partition, (-1, -1))[0]

    def markers(self, partition: int) -> int:
        """Return how many markers were read in a partition."""
        return sum(1 for owner in self._opened.get(partition, {}).values() if owner)

    def add(self, partition: int, offset: int, value: bytes | None) -> Accepted | None:
        """Take the next entry of a partition; return its record if it counts.

        Raises:
            MalformedPacket, InvalidPacket: If a record that counts cannot be read.
        """
        epoch, sequence = self._at.get(partition, (-1, -1))
        opened = self._opened.setdefault(partition, {})
        if is_marker(value):
            opened[offset] = decode_as(value, Marker).owner
            self._at[partition] = (offset, sequence)
            return None
        head = journal_head(value)
        if head is None or head.epoch not in opened:
            was = "no log record" if head is None else f"epoch {head.epoch}"
            self.foreign.append(
                f"[{partition}]@{offset}: expected an epoch opened before, was {was}"
            )
            return None
        if head.epoch != epoch or head.sequence != sequence + 1:
            self.void.append(Void(partition, offset, head.epoch, epoch))
            return None
        self._at[partition] = (epoch, head.sequence)
        record: Any = decode(value)
        self._check_owner(partition, offset, record.journal, opened[epoch])
        return Accepted(partition, offset, record, record.journal)

    def _check_owner(self, partition: int, offset: int, journal: Journal, owner: str) -> None:
        if owner and journal.owner != owner:
            self.foreign.append(
                f"[{partition}]@{offset}: expected a record of {owner}, who opened epoch"
                f" {journal.epoch}, was one of {journal.owner}"
            )


def accepted_records(log: Log) -> list[Accepted]:
    """Return the records of a log that count, partition by partition; see `LogReading`.

    Raises:
        MalformedPacket, InvalidPacket: If a record that counts cannot be read.
    """
    return [each for partition in sorted(log) for each in accepted_of(partition, log[partition])]


def accepted_of(
    partition: int, entries: Partition, *, epoch: int = -1, sequence: int = -1
) -> Iterator[Accepted]:
    """Yield the records of one partition that count; see `LogReading`.

    Args:
        partition: The partition.
        entries: What stands in it.
        epoch: Epoch before the first entry.
        sequence: Sequence of the last record that counted before the first entry.
    """
    reading = LogReading({partition: (epoch, sequence)} if epoch >= 0 else None)
    for offset, value in entries:
        if (found := reading.add(partition, offset, value)) is not None:
            yield found


def foreign_records(log: Log) -> list[str]:
    """Return where records stand that no owner can have written.

    Their epoch was never opened, or somebody else opened it than wrote them.
    """
    reading = LogReading()
    for partition, entries in sorted(log.items()):
        for offset, value in entries:
            reading.add(partition, offset, value)
    return reading.foreign
