"""An owner of a log in the model, as a generator.

Each `yield` is a point where the world goes on, and where the owner may sleep for long or crash.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from pipeline.errors import OwnershipLost, PositionLost
from pipeline.transport.log import (
    START,
    InputPosition,
    LogReader,
    Position,
    RoundCursor,
    by_priority,
)
from tests.unit.transport.model.world import (
    Input,
    Log,
    Marker,
    Memory,
    Producer,
    Raw,
    Record,
    Snapshots,
)

__all__ = ["Owner", "Rules", "Stage", "TakeOver"]

_RAW: Final = (-1, -1)
_MOST_UNREAD: Final = 60


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol, and ways to weaken it."""

    reader: Callable[[Position], LogReader] = LogReader
    read_until_token: bool = True
    fresh_token: bool = True
    read_back_before_snapshot: bool = True
    resume_by_cursor: bool = True
    keep_done: bool = True
    all_positions: bool = True
    newcomer: Callable[[], LogReader] | None = None


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What an owner believed when it had taken over."""

    epoch: int
    memory: Memory


class Stage:
    """A log, its inputs and what its owners share.

    Args:
        log: The output log.
        inputs: Each either an ingest topic or another stage's log.
        journals: Names of those inputs that are logs.
    """

    def __init__(self, log: Log, inputs: list[Log], journals: frozenset[str]) -> None:
        self.log = log
        self.inputs = inputs
        self.journals = journals
        self.snapshots = Snapshots()
        self.take_overs: list[TakeOver] = []
        self.owners: list[Owner] = []
        self.producers: list[Producer] = []


@dataclass(frozen=True, slots=True)
class _Item:
    source: str
    input: Input


class _Feed:
    """One input as an owner reads it."""

    def __init__(self, log: Log, known: InputPosition, reader: LogReader | None) -> None:
        self._log = log
        self._known = known
        self._reader = reader
        self._offset = known.position.offset

    def cut(self, limit: int) -> tuple[list[_Item], RoundCursor]:
        """Return up to `limit` inputs that are not done, and the cursor over them.

        Where there are none, the position moves on past what needs no record.
        """
        items: list[_Item] = []
        priors: list[tuple[int, int]] = []
        while len(items) < limit and (entry := self._log.read(self._offset)) is not None:
            prior, offset = self._rule(), self._offset
            self._offset += 1
            if self._counts(offset, entry) and offset not in self._known.done:
                assert not isinstance(entry, Marker)
                items.append(_Item(self._log.name, Input.of(offset, entry)))
                priors.append(prior)
        end = Position(self._offset, *self._rule())
        if not items:
            self._known.move(end)
        return items, RoundCursor([item.input.offset for item in items], priors, end)

    @property
    def exhausted(self) -> bool:
        """Whether everything in the input was cut."""
        return self._offset == len(self._log.entries)

    def _rule(self) -> tuple[int, int]:
        return (self._reader.epoch, self._reader.sequence) if self._reader else _RAW

    def _counts(self, offset: int, entry: Marker | Raw | Record) -> bool:
        if isinstance(entry, Raw):
            return True
        assert self._reader is not None
        if isinstance(entry, Marker):
            self._reader.marker(offset)
            return False
        return self._reader.accepts(offset, entry.epoch, entry.sequence)


class Owner:
    """Competes for a stage's log; takes over, works rounds, snapshots, drops, again and again."""

    def __init__(self, stage: Stage, rules: Rules, random: Random, seen: Counter[str]) -> None:
        self._stage = stage
        self._rules = rules
        self._random = random
        self._seen = seen
        self._identity = self._token = -1
        self._reader = rules.reader(START)
        self._tail = 0
        self._read_back: dict[int, int] = {}
        self._unread = 0
        self._feeds: list[_Feed] = []
        self._producer: Producer | None = None
        self._pending: Memory | None = None
        self.memory = Memory()
        self.epoch = -1
        self.assigned = False
        self.doing = "start"

    @property
    def idle(self) -> bool:
        """Whether it owns the log, everything is worked off, and all of it was read back."""
        return (
            self.doing == "between rounds"
            and self._tail == len(self._stage.log.entries)
            and self._reader.sequence == self.memory.sequence
            and all(feed.exhausted for feed in self._feeds)
        )

    @property
    def memories(self) -> list[Memory]:
        """All that it knows and may still write a snapshot of."""
        return [self.memory] if self._pending is None else [self.memory, self._pending]

    def run(self) -> Iterator[None]:
        """Live until crashed, that is, closed."""
        self._identity = self._random.getrandbits(64)
        while True:
            self.doing = "unassigned"
            while not self.assigned:
                yield
            try:
                yield from self._take_over()
                yield from self._work()
            except OwnershipLost as lost:
                self._seen[f"lost: {lost.message}"] += 1
            except PositionLost:
                self._seen["lost: retention overtook a sleeper"] += 1
            self.abandon()
            self.doing = "jitter"
            for _ in range(self._random.randint(1, 10)):
                yield

    def abandon(self) -> None:
        """Let go of the producer."""
        if self._producer is not None:
            self._producer.abandon()
            self._producer = None

    # -- taking over ---------------------------------------------------------------------------

    def _take_over(self) -> Iterator[None]:
        self.doing = "taking over"
        snapshot_first = self._random.random() < 0.5  # both orders must do
        end = len(self._stage.log.entries)
        if not snapshot_first:
            self._write_marker()
            yield
        position, self.memory = self._starting_point()
        yield
        if snapshot_first:
            self._write_marker()
        self._reader, self._tail = self._rules.reader(position), position.offset
        if self._rules.read_until_token:
            yield from self._read_until_token()
        else:
            yield from self._read_until(end)
        if not self._rules.all_positions:
            self.memory.positions = dict(list(self.memory.positions.items())[:1])
        self._read_back = {self.memory.sequence: self.epoch}
        self.doing = "taken over"
        self._stage.take_overs.append(TakeOver(self.epoch, self.memory.copy()))
        self._seen["take-over"] += 1
        yield

    def _write_marker(self) -> None:
        self._token = self._random.getrandbits(64) if self._rules.fresh_token else self._identity
        self._producer = Producer(self._stage.log, self._random, self._seen)
        self._stage.producers.append(self._producer)
        self._producer.send(Marker(self._token))

    def _starting_point(self) -> tuple[Position, Memory]:
        start = self._stage.log.start
        found = [each for each in self._stage.snapshots.complete() if each[0].offset >= start]
        if start == 0:
            found.insert(0, (START, Memory()))
        if not found:
            raise PositionLost("Expected a snapshot, was none")
        # The newest is only the quickest: one that is not seen in time must do no harm.
        newest = self._random.random() < 0.7
        position, memory = found[-1] if newest else self._random.choice(found)
        self._seen["recovery from a snapshot"] += position != START
        return position, memory

    def _read_until_token(self) -> Iterator[None]:
        patience = self._random.randint(10, 80)
        while patience:
            entry = self._stage.log.read(self._tail)
            if entry is None:
                patience -= 1
                yield
                continue
            self._recover(entry)
            self._tail += 1
            if isinstance(entry, Marker) and entry.token == self._token:
                self.epoch = self._tail - 1
                return
            if self._random.random() < 0.1:
                yield
        raise OwnershipLost("no marker came")

    def _read_until(self, end: int) -> Iterator[None]:
        """Weakened: fold to what is the end of the log now, wherever the marker lands."""
        assert self._producer is not None
        while self._tail < end:
            entry = self._stage.log.read(self._tail)
            assert entry is not None
            self._recover(entry)
            self._tail += 1
        for _ in range(self._random.randint(10, 80)):
            if -1 in self._producer.acknowledged:
                self.epoch = self._tail = self._producer.acknowledged[-1]
                self._tail += 1
                self._reader.marker(self.epoch)
                return
            yield
        raise OwnershipLost("no marker came")

    def _recover(self, entry: Marker | Raw | Record) -> None:
        assert not isinstance(entry, Raw)
        if isinstance(entry, Marker):
            self._reader.marker(self._tail)
        elif self._reader.accepts(self._tail, entry.epoch, entry.sequence):
            self.memory.fold(entry)

    # -- owning --------------------------------------------------------------------------------

    def _work(self) -> Iterator[None]:
        self._pending, self._unread = None, 0
        self._feeds = [self._feed(log) for log in self._stage.inputs]
        while True:
            self.doing = "between rounds"
            yield
            if not self.assigned:
                raise OwnershipLost("no longer assigned")
            self._watch()
            yield from self._round()
            yield from self._snapshot()

    def _feed(self, log: Log) -> _Feed:
        known = self.memory.positions.setdefault(log.name, InputPosition(START, set()))
        journal = log.name in self._stage.journals
        return _Feed(log, known, self._rules.reader(known.position) if journal else None)

    def _watch(self) -> None:
        """Read the own log along for a while; any doubt ends the ownership."""
        assert self._producer is not None
        if self._producer.failed:
            raise OwnershipLost("a delivery failed")
        self._unread = self._unread + 1 if self._reader.sequence < self.memory.sequence else 0
        if self._unread > _MOST_UNREAD:
            raise OwnershipLost("a record was not read back for long")
        for _ in range(self._random.randint(0, 12)):
            entry = self._stage.log.read(self._tail)
            if entry is None:
                return
            self._follow(entry)
            self._tail += 1

    def _follow(self, entry: Marker | Raw | Record) -> None:
        assert not isinstance(entry, Raw)
        if isinstance(entry, Marker):
            raise OwnershipLost("a marker after the own one")
        if self._reader.accepts(self._tail, entry.epoch, entry.sequence):
            self._read_back[entry.sequence] = self._tail
            self._unread = 0
        elif entry.epoch == self.epoch:
            raise OwnershipLost("a hole")

    def _round(self) -> Iterator[None]:
        self.doing = "in a round"
        items: list[_Item] = []
        cursors: dict[str, RoundCursor] = {}
        for feed, log in zip(self._feeds, self._stage.inputs, strict=True):
            cut, cursors[log.name] = feed.cut(self._random.choice((0, 1, 3, 8)))
            items += cut
        for index in by_priority(item.input.priority for item in items):
            yield from self._work_off(items[index], cursors[items[index].source])

    def _work_off(self, item: _Item, cursor: RoundCursor) -> Iterator[None]:
        known, offset = self.memory.positions[item.source], item.input.offset
        for part in range(self.memory.next_part(item.source, offset), item.input.parts):
            if self._random.random() < 0.7:
                yield
            if self._random.random() < 0.1:
                self._watch()
            last = part == item.input.parts - 1
            resume = self._resume(item, cursor) if last else known.position
            self._write(item, part, resume)
            if self._pending is None and self._random.random() < 0.05:
                self._pending = self.memory.copy()
        if item.input.parts == 0:
            known.fold(offset, self._resume(item, cursor))
        if not self._rules.keep_done:
            known.done.clear()

    def _resume(self, item: _Item, cursor: RoundCursor) -> Position:
        resume = cursor.finish(item.input.offset)
        if self._rules.resume_by_cursor:
            return resume
        return Position(item.input.offset + 1, item.input.epoch, item.input.sequence)

    def _write(self, item: _Item, part: int, resume: Position) -> None:
        assert self._producer is not None
        given, now = item.input, self._random.getrandbits(30)
        decision = self.memory.decide(given.value, now)
        record = Record(
            self.epoch, self.memory.sequence + 1, item.source, given.offset, given.epoch,
            given.sequence, resume, part, given.parts, given.key, given.priority, given.value, now,
            decision,
        )  # fmt: skip
        self._producer.send(record)
        self.memory.fold(record)

    # -- snapshots -----------------------------------------------------------------------------

    def _snapshot(self) -> Iterator[None]:
        if self._pending is None:
            if self._random.random() < 0.3:
                self._pending = self.memory.copy()
            return
        if (offset := self._standing(self._pending.sequence)) is None:
            return
        position = Position(offset + 1, self.epoch, self._pending.sequence)
        chunks = Snapshots.split(self._random.getrandbits(64), position, self._pending)
        self.doing = "writing a snapshot"
        for chunk in chunks:
            self._stage.snapshots.append(chunk)
            yield
        self._pending = None

    def _standing(self, sequence: int) -> int | None:
        """Return the offset of the record that a snapshot ends with, once it is known to stand."""
        if self._rules.read_back_before_snapshot:
            return self._read_back.get(sequence)
        assert self._producer is not None
        return self._producer.acknowledged.get(sequence, self._read_back.get(sequence))
