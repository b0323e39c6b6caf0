"""One output-log partition, record by record: what is missing, twice, out of order, late, foreign.

The log's own numbers tell: a record that counts continues the sequence. What comes behind a hole
waits, for the hole has three explanations, and only what comes next says which:

- a marker, whose owner goes on at the hole: a producer lost a batch, and what came behind it
  never counted (`pipeline.transport.log`);
- the record itself, later: it was overtaken on the way;
- nothing, for as long as `patience_s`: it is missing, or it is the one nearby that nobody can read.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.audit.content import Place
from pipeline.audit.findings import Finding, FindingKind
from pipeline.errors import PoisonError
from pipeline.packets.codec import decode, decode_as, is_marker, journal_head
from pipeline.packets.events import ValidationType
from pipeline.packets.models import Journal, Marker

__all__ = ["Counted", "Entry", "LogOrder", "Lost"]

_REMEMBERED: Final = 5000
# No batch is as large; a number further ahead is no number of this log.
_FURTHEST: Final = 100_000
_DELAYED_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """A raw record: where it stands, when the broker appended it, what it holds."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Counted:
    """A record that counts, in order of its log.

    Attributes:
        entry: As it stands in Kafka.
        record: What it holds.
        sound: Whether nothing was found about it so far.
    """

    entry: Entry
    record: Any
    sound: bool = True

    @property
    def journal(self) -> Journal:
        """Its journal."""
        journal: Journal = self.record.journal
        return journal

    @property
    def key(self) -> tuple[str, int, int, int]:
        """Topic, partition, epoch, sequence: what names it for good; of no log, its offset."""
        journal = getattr(self.record, "journal", None)
        if journal is None:
            return self.entry.topic, self.entry.partition, -1, self.entry.offset
        return self.entry.topic, self.entry.partition, journal.epoch, journal.log_sequence

    def finding(self, kind: FindingKind, text: str) -> Finding:
        """Return what is wrong with its part in a flow."""
        topic, partition, _, sequence = self.key
        envelope = getattr(self.record, "envelope", None)
        flow = envelope.flow_id if envelope is not None else getattr(self.record, "flow_id", "")
        packet = "" if envelope is None else envelope.packet_id
        return Finding(
            kind, topic, partition, sequence, self.entry.offset,
            f"{topic}[{partition}]@{self.entry.offset}: {text}", flow, packet,
            validation_type=ValidationType.FLOW_CONTINUITY,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lost:
    """A record that counts and that nobody can read: what was made of it is not its fault."""

    topic: str
    partition: int
    epoch: int
    sequence: int


@dataclass(slots=True)
class _Held:
    """What waits behind a hole, by sequence."""

    records: dict[int, tuple[Entry, int]] = field(default_factory=dict)
    since_ms: int = 0


class LogOrder:
    """Follows one partition of an output log.

    Args:
        topic: Topic without namespace.
        partition: Partition.
        place: Where it begins: epoch and sequence before the first entry. Without them, in the
            middle of a log, the first record is taken as it comes.
        patience_s: How long a hole may stay open.
    """

    def __init__(self, topic: str, partition: int, place: Place, patience_s: float) -> None:
        self._topic = topic
        self._partition = partition
        self._epoch = place.epoch
        self._sequence = place.sequence
        self._certain = place.offset == 0 or place.sequence >= 0
        self._patience_ms = int(patience_s * 1000)
        self._owners: dict[int, str] = {}
        self._held = _Held()
        self._unreadable: list[tuple[Entry, str]] = []
        # What counted, by sequence: (epoch, hash of the bytes), to know it again.
        self._known: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._floor = place.sequence
        self._next = place.offset

    # -- what it knows ---------------------------------------------------------------------------

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest entry was appended that is not judged yet; None where all are."""
        waiting = [each.timestamp_ms for each, _ in self._unreadable]
        if self._held.records:
            waiting.append(self._held.since_ms)
        return min(waiting, default=None)

    @property
    def place(self) -> Place:
        """The rule's state after the newest record that counts."""
        return Place(self._next, self._epoch, self._sequence)

    @property
    def floor(self) -> int:
        """Sequence before the first record that it was to count."""
        return self._floor

    # -- what comes ------------------------------------------------------------------------------

    def take(self, entry: Entry) -> Iterator[Counted | Lost | Finding]:
        """Take the next entry; yield what counts now, what is lost, and what is wrong."""
        self._next = entry.offset + 1
        if is_marker(entry.value):
            self._mark(entry)
            return
        head = journal_head(entry.value)
        if head is None or not self._plausible(head.epoch, head.sequence):
            was = "no record of a log" if head is None else f"epoch {head.epoch}, {head.sequence}"
            self._unreadable.append((entry, f"expected a record of the log, was {was}"))
            return
        if not self._certain:
            self._certain, self._epoch = True, max(self._epoch, head.epoch)
            self._sequence = self._floor = head.sequence - 1
        if head.epoch < self._epoch:
            return  # of an owner that was taken over
        if head.sequence <= self._sequence:
            yield from self._again(entry, head.epoch, head.sequence)
        elif head.sequence == self._sequence + 1:
            yield from self._count(entry, head.epoch, head.sequence)
            yield from self._drain()
        elif head.sequence in self._held.records:
            yield from self._again(entry, head.epoch, head.sequence)
        else:
            if not self._held.records:
                self._held.since_ms = entry.timestamp_ms
            self._held.records[head.sequence] = (entry, head.epoch)

    def advance(self, read_until_ms: int) -> Iterator[Counted | Lost | Finding]:
        """Say that all appended before `read_until_ms` was taken; yield what that settles."""
        while self._held.records and read_until_ms - self._held.since_ms > self._patience_ms:
            yield from self._give_up_hole()
            yield from self._drain()
        old = [
            each for each in self._unreadable
            if read_until_ms - each[0].timestamp_ms > 2 * self._patience_ms
        ]  # fmt: skip
        for entry, why in old:  # no hole that it could fill
            self._unreadable.remove((entry, why))
            yield self._finding(FindingKind.FOREIGN, -1, entry.offset, why)

    def _plausible(self, epoch: int, sequence: int) -> bool:
        if not self._certain:
            return True
        return 0 <= epoch <= self._epoch and sequence - self._sequence <= _FURTHEST

    def _mark(self, entry: Entry) -> None:
        self._epoch = entry.offset
        try:
            self._owners[entry.offset] = decode_as(entry.value, Marker).owner
        except PoisonError:
            self._owners.pop(entry.offset, None)
        # What came behind a hole belongs to an older epoch now: its owner lost a batch.
        self._held.records.clear()

    def _again(self, entry: Entry, epoch: int, sequence: int) -> Iterator[Finding]:
        """Judge a record whose number is taken."""
        held = self._held.records.get(sequence)
        known = (held[1], hash(held[0].value)) if held else self._known.get(sequence)
        if sequence <= self._floor:
            return  # read before
        if known is None or known[0] != epoch:
            if known is None:
                yield self._finding(
                    FindingKind.REORDERED, sequence, entry.offset,
                    f"expected it long before record {self._sequence}", entry,
                )  # fmt: skip
            return
        if known[1] == hash(entry.value):
            text = "expected one record of that number, was the same one again"
            yield self._finding(FindingKind.DUPLICATED, sequence, entry.offset, text, entry)
        else:
            text = "expected one record of that number, was another one with it"
            yield self._finding(FindingKind.CORRUPTED, sequence, entry.offset, text, entry)

    def _drain(self) -> Iterator[Counted | Lost | Finding]:
        """Count what waited for the record that has just counted."""
        held = self._held
        while (following := held.records.pop(self._sequence + 1, None)) is not None:
            yield from self._count(following[0], following[1], self._sequence + 1)
        if held.records:
            held.since_ms = min(entry.timestamp_ms for entry, _ in held.records.values())

    def _count(self, entry: Entry, epoch: int, sequence: int) -> Iterator[Counted | Lost | Finding]:
        # What waits behind was appended before: this one was overtaken.
        overtaken = self._overtaking(entry, sequence)
        self._sequence = sequence
        self._known[sequence] = (epoch, hash(entry.value))
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        try:
            record: Any = decode(entry.value)
        except PoisonError as error:
            yield self._finding(FindingKind.CORRUPTED, sequence, entry.offset, error.message)
            yield Lost(self._topic, self._partition, epoch, sequence)
            return
        if overtaken is not None:
            yield self._late(entry, sequence, overtaken.timestamp_ms)
        owner = self._owners.get(epoch)
        sound = owner is None or record.journal.owner == owner
        if not sound:
            text = f"expected a record of {owner}, was one of {record.journal.owner}"
            yield self._finding(FindingKind.FOREIGN, sequence, entry.offset, text, entry)
        yield Counted(entry, record, sound)

    def _overtaking(self, entry: Entry, sequence: int) -> Entry | None:
        """Return a record that was to come after this one and was appended before it."""
        following = self._held.records.get(sequence + 1)
        if following is not None:
            return following[0] if following[0].offset < entry.offset else None
        later = (each for each, _ in self._held.records.values() if each.offset < entry.offset)
        return min(later, key=lambda each: each.offset, default=None)

    def _late(self, entry: Entry, sequence: int, since_ms: int) -> Finding:
        late_ms = entry.timestamp_ms - since_ms
        kind = FindingKind.DELAYED if late_ms > _DELAYED_MS else FindingKind.REORDERED
        text = f"expected it before its successor, was {late_ms} ms after it"
        return self._finding(kind, sequence, entry.offset, text, entry)

    def _give_up_hole(self) -> Iterator[Lost | Finding]:
        """Name what is missing between the last record that counts and the next that waits."""
        first = min(self._held.records)
        behind, epoch = self._held.records[first]
        between = [each for each in self._unreadable if each[0].offset < behind.offset]
        for sequence in range(self._sequence + 1, first):
            if between:
                entry, why = between.pop(0)
                self._unreadable.remove((entry, why))
                yield self._finding(FindingKind.CORRUPTED, sequence, entry.offset, why)
            else:
                text = f"expected a record, was {first} after {self._sequence}"
                yield self._finding(FindingKind.MISSING, sequence, behind.offset, text)
            yield Lost(self._topic, self._partition, epoch, sequence)
        self._sequence = first - 1

    def _finding(
        self, kind: FindingKind, sequence: int, offset: int, text: str, entry: Entry | None = None
    ) -> Finding:
        flow, packet = _names(entry)
        return Finding(
            kind, self._topic, self._partition, sequence, offset,
            f"{self._topic}[{self._partition}]@{offset}: {text}", flow, packet,
            validation_type=ValidationType.DATA_INTEGRITY,
        )  # fmt: skip


def _names(entry: Entry | None) -> tuple[str, str]:
    """Return flow and packet of an entry, where it can be read."""
    if entry is None:
        return "", ""
    try:
        record: Any = decode(entry.value)
    except PoisonError:
        return "", ""
    envelope = getattr(record, "envelope", None)
    if envelope is not None:
        return envelope.flow_id, envelope.packet_id
    return getattr(record, "flow_id", ""), ""
