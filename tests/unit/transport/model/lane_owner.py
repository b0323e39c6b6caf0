"""An owner of a stage's two lanes in the model: a priority log and a normal log, one sequence.

The wording of the design:

1. Take-over marks the priority log first and is decided there: its marker's offset is the epoch.
   Then it marks the normal log with the same epoch and reads that to the marker.
2. Recovery merges both by stage sequence.
3. Into the priority lane a stage waits for the acks of what it wrote before; back to the normal
   lane it reads its own priority log through its last record there.
4. Only the normal lane changes bar windows.
5. Priority drains first; after 8 priority rounds one normal round runs.
6. A packet older than the newest decided for its symbol ends as expired (superseded).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from pipeline.errors import OwnershipLost
from pipeline.transport.log import (
    START,
    InputPosition,
    LogReader,
    Position,
    RoundCursor,
    by_priority,
)
from tests.unit.transport.model.world import Entry, Log, Marker, Producer, Raw, Record

__all__ = [
    "LANES",
    "NORMAL",
    "PRIORITY",
    "SUPERSEDED",
    "LaneInput",
    "LaneMarker",
    "LaneMemory",
    "LaneOwner",
    "LaneRaw",
    "LaneReader",
    "LaneRecord",
    "LaneRules",
    "LaneStage",
    "LaneTakeOver",
]

PRIORITY: Final = "priority"
NORMAL: Final = "normal"
LANES: Final = (PRIORITY, NORMAL)
SUPERSEDED: Final = -1
MOST_PRIORITY_ROUNDS: Final = 8
_PRIME: Final = 2_147_483_647
_MOST_UNREAD: Final = 60
_PATIENCE: Final = 40


@dataclass(frozen=True, slots=True)
class LaneMarker(Marker):
    """Opens an epoch; in the normal log it names the epoch, which is an offset of the other log."""

    epoch: int = -1


@dataclass(frozen=True, slots=True)
class LaneRaw(Raw):
    """A record of an ingest topic: packet `number` of its key, counted over both lanes."""

    number: int = 0


@dataclass(frozen=True, slots=True)
class LaneRecord(Record):
    """A record of one lane; `sequence` is the log's own, `stage_sequence` runs over both lanes."""

    stage_sequence: int = 0
    number: int = 0


class LaneReader(LogReader):
    """The reading rule of the normal log: a marker opens the epoch that it names, never an older.

    A marker of an owner that was overtaken before it wrote it may come late.
    """

    def opened(self, epoch: int) -> None:
        """Note a marker that names `epoch`."""
        self.epoch = max(self.epoch, epoch)


@dataclass(frozen=True, slots=True)
class LaneRules:
    """The protocol, and ways to weaken it."""

    normal_reader: Callable[[Position], LaneReader] = LaneReader
    mark_normal: bool = True
    wait_for_acks: bool = True
    read_back_priority: bool = True
    merge: bool = True
    windows_of_normal_only: bool = True
    supersede: bool = True
    normal_gets_turns: bool = True


@dataclass(frozen=True, slots=True)
class LaneInput:
    """What a stage makes of an entry of one of its inputs."""

    source: str
    lane: str
    offset: int
    epoch: int
    sequence: int
    key: int
    number: int
    priority: int
    value: int

    @classmethod
    def of(cls, source: str, lane: str, offset: int, entry: LaneRaw | LaneRecord) -> "LaneInput":
        """Return the entry at `offset`."""
        if isinstance(entry, LaneRaw):
            epoch, sequence, value = -1, -1, entry.payload
        else:
            epoch, sequence, value = entry.epoch, entry.sequence, entry.decision
        return cls(
            source, lane, offset, epoch, sequence, entry.key, entry.number, entry.priority, value
        )


LaneState = tuple[int, tuple[int, int], int, int, dict[int, int]]


@dataclass(slots=True)
class LaneMemory:
    """What an owner folds from both logs.

    `window` depends on the normal lane alone, `digest` on all; `newest` is the newest number that
    was decided of each key.
    """

    stage_sequence: int = -1
    sequences: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LANES, -1))
    window: int = 1
    digest: int = 1
    newest: dict[int, int] = field(default_factory=dict)
    positions: dict[str, InputPosition] = field(default_factory=dict)

    def decide(self, given: LaneInput | LaneRecord, value: int, now: int, rules: LaneRules) -> int:
        """Return the decision on an input, which no other history gives."""
        if rules.supersede and given.number <= self.newest.get(given.key, -1):
            return SUPERSEDED
        return (self.digest * 31 + self.window * 7 + self.stage_sequence + value + now) % _PRIME

    def fold(self, lane: str, record: LaneRecord, rules: LaneRules) -> None:
        """Fold a record of a lane."""
        self.stage_sequence = record.stage_sequence
        self.sequences[lane] = record.sequence
        if lane == NORMAL or not rules.windows_of_normal_only:
            self.window = (self.window * 33 + record.number * 7 + record.key) % _PRIME
        self.digest = (self.digest * 33 + record.decision + record.value) % _PRIME
        if record.decision != SUPERSEDED:
            self.newest[record.key] = max(record.number, self.newest.get(record.key, -1))
        known = self.positions.setdefault(record.source, InputPosition(START, set()))
        known.fold(record.offset, record.resume)

    @property
    def state(self) -> LaneState:
        """All but the positions."""
        sequences = (self.sequences[PRIORITY], self.sequences[NORMAL])
        return self.stage_sequence, sequences, self.window, self.digest, dict(self.newest)


@dataclass(frozen=True, slots=True)
class LaneTakeOver:
    """What an owner believed when it had taken over, and where its markers stand."""

    epoch: int
    normal_offset: int
    state: LaneState


class LaneStage:
    """Two logs, the inputs of each lane, and what the stage's owners share.

    Args:
        name: Name of the stage.
        inputs: The input of each lane: an ingest topic, or the lane's log of another stage.
        journals: Whether the inputs are logs.
    """

    def __init__(self, name: str, inputs: dict[str, Log], *, journals: bool) -> None:
        self.name = name
        self.logs = {lane: Log(f"{name}.{lane}") for lane in LANES}
        self.inputs = inputs
        self.journals = journals
        self.take_overs: list[LaneTakeOver] = []
        self.producers: list[Producer] = []
        self.most_priority_rounds = 0


class _Feed:
    """One lane's input as an owner reads it."""

    def __init__(self, lane: str, log: Log, known: InputPosition, reader: LogReader | None) -> None:
        self._lane = lane
        self._log = log
        self._known = known
        self._reader = reader
        self._offset = known.position.offset

    @property
    def exhausted(self) -> bool:
        """Whether everything in the input was cut."""
        return self._offset == len(self._log.entries)

    def cut(self, limit: int) -> tuple[list[LaneInput], RoundCursor]:
        """Return up to `limit` inputs that are not done, and the cursor over them."""
        items: list[LaneInput] = []
        priors: list[tuple[int, int]] = []
        while len(items) < limit and (entry := self._log.read(self._offset)) is not None:
            prior, offset = self._rule(), self._offset
            self._offset += 1
            if self._counts(offset, entry) and offset not in self._known.done:
                assert isinstance(entry, LaneRaw | LaneRecord)
                items.append(LaneInput.of(self._log.name, self._lane, offset, entry))
                priors.append(prior)
        end = Position(self._offset, *self._rule())
        if not items:
            self._known.move(end)
        return items, RoundCursor([item.offset for item in items], priors, end)

    def _rule(self) -> tuple[int, int]:
        return (self._reader.epoch, self._reader.sequence) if self._reader else (-1, -1)

    def _counts(self, offset: int, entry: Entry) -> bool:
        if self._reader is None:
            return True
        if isinstance(entry, LaneMarker):
            note_marker(self._reader, offset, entry)
            return False
        assert isinstance(entry, LaneRecord)
        return self._reader.accepts(offset, entry.epoch, entry.sequence)


def note_marker(reader: LogReader, offset: int, marker: LaneMarker) -> None:
    """Tell a reader of a marker."""
    if isinstance(reader, LaneReader):
        reader.opened(marker.epoch)
    else:
        reader.marker(offset)


class LaneOwner:
    """Competes for a stage's two logs; takes over, works rounds, drops, again and again."""

    def __init__(
        self, stage: LaneStage, rules: LaneRules, random: Random, seen: Counter[str]
    ) -> None:
        self._stage = stage
        self._rules = rules
        self._random = random
        self._seen = seen
        self._token = -1
        self._readers: dict[str, LogReader] = {}
        self._tails = dict.fromkeys(LANES, 0)
        self._producers: dict[str, Producer] = {}
        self._feeds: dict[str, _Feed] = {}
        self._first = dict.fromkeys(LANES, 0)
        self._last_lane = PRIORITY
        self._unread = 0
        self._priority_rounds = 0
        self.memory = LaneMemory()
        self.epoch = -1
        self.assigned = False
        self.doing = "start"

    @property
    def idle(self) -> bool:
        """Whether it owns the logs, everything is worked off, and all of it was read back."""
        return (
            self.doing == "between rounds"
            and all(feed.exhausted for feed in self._feeds.values())
            and all(
                self._tails[lane] == len(self._stage.logs[lane].entries)
                and self._readers[lane].sequence == self.memory.sequences[lane]
                for lane in LANES
            )
        )

    def run(self) -> Iterator[None]:
        """Live until crashed, that is, closed."""
        while True:
            self.doing = "unassigned"
            while not self.assigned:
                yield
            try:
                yield from self._take_over()
                yield from self._work()
            except OwnershipLost as lost:
                self._seen[f"lost: {lost.message}"] += 1
            self.abandon()
            self.doing = "jitter"
            for _ in range(self._random.randint(1, 10)):
                yield

    def abandon(self) -> None:
        """Let go of the producers."""
        for producer in self._producers.values():
            producer.abandon()
        self._producers = {}

    # -- taking over ---------------------------------------------------------------------------

    def _take_over(self) -> Iterator[None]:
        self.doing = "taking over"
        self._token = self._random.getrandbits(64)
        self._readers = {PRIORITY: LogReader(START), NORMAL: self._rules.normal_reader(START)}
        self._tails = dict.fromkeys(LANES, 0)
        found: list[tuple[str, LaneRecord]] = []
        self._mark(PRIORITY, -1)
        yield from self._read_to_marker(PRIORITY, found)
        self.epoch = self._tails[PRIORITY] - 1
        self.doing = "between the two markers"
        yield
        if self._rules.mark_normal:
            self._mark(NORMAL, self.epoch)
            yield from self._read_to_marker(NORMAL, found)
        else:
            self._begin(NORMAL)
            self._read_to_end(found)
        if self._rules.merge:
            found.sort(key=lambda each: each[1].stage_sequence)
        self.memory = LaneMemory()
        for lane, record in found:
            self.memory.fold(lane, record, self._rules)
        self._last_lane = PRIORITY
        self._first = {lane: last + 1 for lane, last in self.memory.sequences.items()}
        at = LaneTakeOver(self.epoch, self._tails[NORMAL] - 1, self.memory.state)
        self._stage.take_overs.append(at)
        self._seen["take-over"] += 1
        self.doing = "taken over"
        yield

    def _begin(self, lane: str) -> Producer:
        producer = Producer(self._stage.logs[lane], self._random, self._seen)
        self._producers[lane] = producer
        self._stage.producers.append(producer)
        return producer

    def _mark(self, lane: str, epoch: int) -> None:
        self._begin(lane).send(LaneMarker(self._token, epoch))

    def _read_to_marker(self, lane: str, found: list[tuple[str, LaneRecord]]) -> Iterator[None]:
        patience = self._random.randint(10, 80)
        while patience:
            entry = self._stage.logs[lane].read(self._tails[lane])
            if entry is None:
                patience -= 1
                yield
                continue
            self._recover(lane, entry, found)
            if isinstance(entry, LaneMarker) and entry.token == self._token:
                return
            if self._random.random() < 0.1:
                yield
        raise OwnershipLost("no marker came")

    def _read_to_end(self, found: list[tuple[str, LaneRecord]]) -> None:
        """Weakened: read the normal log to what is its end now, without a marker."""
        while (entry := self._stage.logs[NORMAL].read(self._tails[NORMAL])) is not None:
            self._recover(NORMAL, entry, found)
        reader = self._readers[NORMAL]
        assert isinstance(reader, LaneReader)
        reader.opened(self.epoch)

    def _recover(self, lane: str, entry: Entry, found: list[tuple[str, LaneRecord]]) -> None:
        offset = self._tails[lane]
        self._tails[lane] += 1
        reader = self._readers[lane]
        if isinstance(entry, LaneMarker):
            if lane == NORMAL and entry.epoch > self.epoch:
                raise OwnershipLost("overtaken between the two markers")
            note_marker(reader, offset, entry)
            return
        assert isinstance(entry, LaneRecord)
        if reader.accepts(offset, entry.epoch, entry.sequence):
            found.append((lane, entry))

    # -- owning --------------------------------------------------------------------------------

    def _work(self) -> Iterator[None]:
        self._unread = self._priority_rounds = 0
        self._feeds = {lane: self._feed(lane) for lane in LANES}
        while True:
            self.doing = "between rounds"
            yield
            if not self.assigned:
                raise OwnershipLost("no longer assigned")
            self._watch()
            yield from self._round(self._next_lane())

    def _feed(self, lane: str) -> _Feed:
        log = self._stage.inputs[lane]
        known = self.memory.positions.setdefault(log.name, InputPosition(START, set()))
        reader: LogReader | None = None
        if self._stage.journals:
            normal = lane == NORMAL
            reader = (self._rules.normal_reader if normal else LogReader)(known.position)
        return _Feed(lane, log, known, reader)

    def _next_lane(self) -> str:
        """Return the lane whose round is next: priority first, the other after 8 rounds."""
        urgent, rest = (not self._feeds[lane].exhausted for lane in LANES)
        full = self._priority_rounds >= MOST_PRIORITY_ROUNDS and self._rules.normal_gets_turns
        if urgent and not (rest and full):
            self._priority_rounds += rest
            most = max(self._stage.most_priority_rounds, self._priority_rounds)
            self._stage.most_priority_rounds = most
            return PRIORITY
        self._priority_rounds = 0
        return NORMAL

    def _watch(self) -> None:
        """Read both own logs along for a while; any doubt ends the ownership."""
        if any(producer.failed for producer in self._producers.values()):
            raise OwnershipLost("a delivery failed")
        behind = any(self._readers[x].sequence < self.memory.sequences[x] for x in LANES)
        self._unread = self._unread + 1 if behind else 0
        if self._unread > _MOST_UNREAD:
            raise OwnershipLost("a record was not read back for long")
        for lane in LANES:
            for _ in range(self._random.randint(0, 12)):
                entry = self._stage.logs[lane].read(self._tails[lane])
                if entry is None:
                    break
                self._follow(lane, entry)

    def _follow(self, lane: str, entry: Entry) -> None:
        offset = self._tails[lane]
        self._tails[lane] += 1
        if isinstance(entry, LaneMarker):
            if lane == PRIORITY or entry.epoch > self.epoch:
                raise OwnershipLost("a marker after the own one")
            return
        assert isinstance(entry, LaneRecord)
        reader = self._readers[lane]
        if entry.epoch > reader.epoch:
            raise OwnershipLost("a record of a newer epoch")
        if reader.accepts(offset, entry.epoch, entry.sequence):
            self._unread = 0
        elif entry.epoch == self.epoch:
            raise OwnershipLost("a hole")

    def _round(self, lane: str) -> Iterator[None]:
        self.doing = "in a round"
        items, cursor = self._feeds[lane].cut(self._random.choice((1, 3, 8)))
        for index in by_priority(item.priority for item in items):
            yield from self._change_to(lane)
            self._write(items[index], cursor)
            if self._random.random() < 0.5:
                yield
            if self._random.random() < 0.1:
                self._watch()

    def _change_to(self, lane: str) -> Iterator[None]:
        """Wait for what the design says before the first record in the other lane."""
        if lane == self._last_lane:
            return
        rules = self._rules
        if lane == PRIORITY and rules.wait_for_acks:
            yield from self._wait(self._all_acknowledged, "no acks before the priority lane")
        elif lane == NORMAL and rules.read_back_priority:
            yield from self._wait(self._priority_read_back, "no read-back before the normal lane")
        self._last_lane = lane
        self._seen[f"changed to {lane}"] += 1

    def _wait(self, condition: Callable[[], bool], why: str) -> Iterator[None]:
        for _ in range(_PATIENCE):
            if condition():
                return
            self.doing = "changing lanes"
            yield
            self._watch()
        raise OwnershipLost(why)

    def _all_acknowledged(self) -> bool:
        written = range(self._first[NORMAL], self.memory.sequences[NORMAL] + 1)
        return all(each in self._producers[NORMAL].acknowledged for each in written)

    def _priority_read_back(self) -> bool:
        return self._readers[PRIORITY].sequence >= self.memory.sequences[PRIORITY]

    def _write(self, given: LaneInput, cursor: RoundCursor) -> None:
        now = self._random.getrandbits(30)
        record = LaneRecord(
            self.epoch, self.memory.sequences[given.lane] + 1, given.source, given.offset,
            given.epoch, given.sequence, cursor.finish(given.offset), 0, 1, given.key,
            given.priority, given.value, now,
            self.memory.decide(given, given.value, now, self._rules),
            self.memory.stage_sequence + 1, given.number,
        )  # fmt: skip
        self._producers[given.lane].send(record)
        self.memory.fold(given.lane, record, self._rules)
