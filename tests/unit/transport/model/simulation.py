"""A seeded world of two chained stages whose owners compete, crash, sleep and lose writes.

ingest.a --+--> stage "up" --> log.up --+
           |                           +--> stage "down" --> log.down --> observers
ingest.p --+                 ingest.b --+

ingest.p is the priority lane of the first stage; half of the worlds have one.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from pipeline.errors import ForeignRecord, PositionLost
from pipeline.transport.log import START, LogReader, Position
from tests.unit.transport.model.owner import Owner, Rules, Stage
from tests.unit.transport.model.world import Faults, Log, Marker, Memory, Raw, Record

__all__ = ["Segment", "World", "simulate"]

_STEPS = 7000
_MOST_STEPS_TO_END = 30_000
_RAW_A, _RAW_B = 70, 30
# Shares of what happens next: a disturbance, an observer, a producer, else an owner.
_DISTURB, _OBSERVE, _DELIVER = 0.06, 0.16, 0.45
_BURST = 0.03


@dataclass(slots=True)
class Segment:
    """What an observer accepted in one run: of offsets [start, end), those in `accepted`."""

    log: Log
    start: int
    end: int
    accepted: list[int] = field(default_factory=list)


class _Slot:
    """A place for an owner: runs it, lets it sleep or crash, and starts it anew."""

    def __init__(self, owner: Owner, seen: Counter[str]) -> None:
        self.owner = owner
        self._running: Iterator[None] | None = None
        self._seen = seen
        self.asleep = 0
        self.told_in: int | None = None
        self._next_assigned = False

    def step(self) -> None:
        """Let the owner take one step, unless it sleeps."""
        if self.told_in is not None:
            self.told_in -= 1
            if self.told_in <= 0:
                self.owner.assigned, self.told_in = self._next_assigned, None
        if self.asleep > 0:
            self.asleep -= 1
            return
        if self._running is None:
            self._running = self.owner.run()
        next(self._running)

    def tell(self, *, assigned: bool, steps: int) -> None:
        """Let the owner learn of its assignment after some steps."""
        self.told_in, self._next_assigned = steps, assigned

    def crash(self) -> None:
        """End the owner where it stands; what it handed over may still land."""
        self._seen[f"crash: {self.owner.doing}"] += 1
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]  # it is a generator
        self._running = None
        self.owner.abandon()
        self.asleep = 3


class World:
    """Everything there is, and the scheduler that picks what happens next."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.random = Random(seed)
        self.rules = rules
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self.faults = Faults.draw(self.random)
        self.ingest_a, self.ingest_b = Log("ingest.a"), Log("ingest.b")
        self.ingest_p = Log("ingest.p") if seed % 2 else None
        log_up, log_down = Log("log.up"), Log("log.down")
        lanes = [log for log in (self.ingest_a, self.ingest_p) if log is not None]
        self.up = Stage(log_up, lanes, frozenset())
        self.down = Stage(log_down, [log_up, self.ingest_b], frozenset({log_up.name}))
        self.stages = [self.up, self.down]
        self.slots = {stage.log.name: self._slots(stage) for stage in self.stages}
        self.segments: list[Segment] = []
        self._stored: list[Position] = []
        self._observers = [self._observe() for _ in range(2)]
        self._to_ingest = [self.ingest_a] * _RAW_A + [self.ingest_b] * _RAW_B
        self.random.shuffle(self._to_ingest)
        for stage in self.stages:
            self._rebalance(stage)

    def _slots(self, stage: Stage) -> list[_Slot]:
        owners = [
            Owner(stage, self.rules, self.random, self.seen)
            for _ in range(self.random.choice((2, 3, 4)))
        ]
        return [_Slot(owner, self.seen) for owner in owners]

    # -- the turbulent part --------------------------------------------------------------------

    def storm(self) -> None:
        """Let everything go wrong for a while."""
        for _ in range(_STEPS):
            self._step()

    def _step(self) -> None:
        draw, stage = self.random.random(), self.random.choice(self.stages)
        if draw < _DISTURB:
            self._disturb(stage)
        elif draw < _OBSERVE:
            next(self.random.choice(self._observers))
        elif draw < _DELIVER:
            self._deliver(stage)
        else:
            self._guarded(self.random.choice(self.slots[stage.log.name]))

    def _deliver(self, stage: Stage) -> None:
        if stage.producers:
            producer = self.random.choice(stage.producers)
            producer.step(self.faults)
            if producer.abandoned and producer.empty:
                stage.producers.remove(producer)

    def _guarded(self, slot: _Slot) -> None:
        try:
            slot.step()
        except ForeignRecord as error:
            self.failures.append(f"an owner met a foreign record: {error}")
            slot.crash()

    def _disturb(self, stage: Stage) -> None:
        draw, faults = self.random.random, self.faults
        slot = self._victim(stage)
        if draw() < _BURST:
            for _ in range(min(len(self._to_ingest), self.random.choice((1, 5, 25)))):
                self._ingest()
        if draw() < faults.crash:
            slot.crash()
        if draw() < faults.pause:
            slot.asleep = self.random.choice((10, 40, 120))
        if draw() < faults.rebalance:
            self._rebalance(stage)
        if draw() < faults.truncate:
            self._truncate()

    def _victim(self, stage: Stage) -> _Slot:
        """Prefer an owner that is at something, for that is where it hurts."""
        slots = self.slots[stage.log.name]
        awake = [slot for slot in slots if not slot.asleep]
        busy = [slot for slot in awake if slot.owner.doing != "unassigned"]
        working = [slot for slot in busy if slot.owner.doing == "in a round"]
        return self.random.choice(self.random.choice((working, busy)) or busy or slots)

    def _ingest(self) -> None:
        choose = self.random.choice
        key, priority, parts = (
            choose((0, 1, 2)),
            choose((1, 1, 1, 2, 3)),
            choose((0, 0, 1, 1, 2, 3)),
        )
        raw = Raw(key, priority, self.random.getrandbits(16), parts)
        log = self._to_ingest.pop()
        # Now and then somebody sends an urgent one to the other lane.
        if log is self.ingest_a and priority > 1 and choose((True, True, False)):
            log = self.ingest_p or log
        log.append(raw)

    def _rebalance(self, stage: Stage) -> None:
        """Assign the log to one owner; who learns of it when is anybody's guess."""
        chosen = self.random.choice(self.slots[stage.log.name])
        for slot in self.slots[stage.log.name]:
            slot.tell(assigned=slot is chosen, steps=self.random.choice((1, 10, 60, 200)))

    def _truncate(self) -> None:
        """Let retention drop what no take-over can need any more.

        A log goes up to its newest snapshot, whoever may be reading it from an older one. An input
        stays as long as anybody's position is before it: retention takes days, and by then all
        positions were renewed.
        """
        downs = self.down.snapshots.complete()
        ups = self.up.snapshots.complete()
        if not downs:
            return
        self.down.log.start = max(self.down.log.start, downs[-1][0].offset)
        memories = [memory for at, memory in downs if at.offset >= self.down.log.start]
        for slot in self.slots[self.down.log.name]:
            memories += slot.owner.memories
        if ups:
            start = min(self._needed(memory) for memory in memories)
            self.up.log.start = max(self.up.log.start, min(ups[-1][0].offset, start))
        self.seen["log that starts late"] += self.down.log.start > 0

    def _needed(self, memory: Memory) -> int:
        at = memory.positions.get(self.up.log.name)
        return at.position.offset if at else 0

    # -- observers -----------------------------------------------------------------------------

    def _observe(self) -> Iterator[None]:
        while True:
            try:
                at = self._starting_point()
                yield from self._follow(at, self.rules.reader(at))
                if self.rules.newcomer is not None:
                    at = Position(self.down.log.start, -1, -1)
                    yield from self._follow(at, self.rules.newcomer())
            except PositionLost:
                self.seen["observer overtaken by retention"] += 1
            except ForeignRecord as error:
                self.failures.append(f"an observer met a foreign record: {error}")
            yield

    def _starting_point(self) -> Position:
        points = [at for at, _ in self.down.snapshots.complete()] + self._stored[-5:]
        if self.down.log.start == 0:
            points.append(START)
        points = [at for at in points if at.offset >= self.down.log.start]
        return self.random.choice(points) if points else START

    def _follow(self, at: Position, reader: LogReader) -> Iterator[None]:
        log = self.down.log
        segment = Segment(log, at.offset, at.offset)
        self.segments.append(segment)
        while self.random.random() > 0.01:
            entry = log.read(segment.end)
            if isinstance(entry, Marker):
                reader.marker(segment.end)
            elif isinstance(entry, Record) and reader.accepts(
                segment.end, entry.epoch, entry.sequence
            ):
                segment.accepted.append(segment.end)
            segment.end += entry is not None
            if self.random.random() < 0.1 and self.rules.newcomer is None:
                self._stored.append(Position(segment.end, reader.epoch, reader.sequence))
            yield

    # -- the quiescent end ---------------------------------------------------------------------

    def settle(self) -> None:
        """Let one owner per stage work everything off, while late writes still land."""
        while self._to_ingest:
            self._ingest()
        self.faults = Faults.none()
        for stage in self.stages:
            self._leave_one(stage)
        for _ in range(_MOST_STEPS_TO_END):
            if self._settled():
                return
            self._step()
        self.failures.append("the last owners never came to an end")

    def _leave_one(self, stage: Stage) -> None:
        name = stage.log.name
        chosen = self.random.choice(self.slots[name])
        for slot in self.slots[name]:
            if slot is not chosen:
                slot.crash()
        chosen.asleep, chosen.told_in, chosen.owner.assigned = 0, None, True
        self.slots[name] = [chosen]

    def _settled(self) -> bool:
        return all(
            self.last_owner(stage).idle and all(each.empty for each in stage.producers)
            for stage in self.stages
        )

    def last_owner(self, stage: Stage) -> Owner:
        """Return the owner that worked off the rest."""
        return self.slots[stage.log.name][0].owner


def simulate(seed: int, rules: Rules) -> World:
    """Run a world to its quiescent end and return it."""
    world = World(seed, rules)
    world.storm()
    world.settle()
    return world
