"""A seeded world of two chained stages with two lanes each, whose owners compete and crash.

ingest.priority --> up.priority --> down.priority
ingest.normal ----> up.normal ----> down.normal
"""

from collections import Counter
from collections.abc import Iterator
from random import Random

from pipeline.errors import ForeignRecord
from tests.unit.transport.model.lane_owner import (
    LANES,
    NORMAL,
    PRIORITY,
    LaneOwner,
    LaneRaw,
    LaneRules,
    LaneStage,
)
from tests.unit.transport.model.world import Faults, Log

__all__ = ["LaneWorld", "simulate_lanes"]

_STEPS = 5000
_MOST_STEPS_TO_END = 30_000
_PACKETS = 90
_KEYS = 3
_DISTURB, _DELIVER = 0.03, 0.38
_BURST = 0.2


class _Slot:
    """A place for an owner: runs it, lets it sleep or crash, and starts it anew."""

    def __init__(self, owner: LaneOwner, seen: Counter[str]) -> None:
        self.owner = owner
        self.asleep = 0
        self._running: Iterator[None] | None = None
        self._seen = seen
        self._told: tuple[int, bool] | None = None

    def step(self) -> None:
        """Let the owner take one step, unless it sleeps."""
        if self._told is not None:
            steps, assigned = self._told
            self._told = (steps - 1, assigned) if steps > 0 else None
            if steps <= 0:
                self.owner.assigned = assigned
        if self.asleep > 0:
            self.asleep -= 1
            return
        if self._running is None:
            self._running = self.owner.run()
        next(self._running)

    def tell(self, *, assigned: bool, steps: int) -> None:
        """Let the owner learn of its assignment after some steps."""
        self._told = (steps, assigned)

    def crash(self) -> None:
        """End the owner where it stands; what it handed over may still land."""
        self._seen[f"crash: {self.owner.doing}"] += 1
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]  # it is a generator
        self._running = None
        self.owner.abandon()
        self.asleep = 3


class LaneWorld:
    """Everything there is, and the scheduler that picks what happens next."""

    def __init__(self, seed: int, rules: LaneRules) -> None:
        self.random = Random(seed)
        self.rules = rules
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self.faults = Faults.draw(self.random)
        # Acks tell what stands in a log only of a producer that keeps its order, as an idempotent
        # one with one request in flight does.
        self.faults.reorder = 0.0
        self.ingest = {lane: Log(f"ingest.{lane}") for lane in LANES}
        up = LaneStage("up", self.ingest, journals=False)
        self.stages = [up, LaneStage("down", up.logs, journals=True)]
        self.slots = {stage.name: self._slots(stage) for stage in self.stages}
        self._left = _PACKETS
        self._numbers: Counter[int] = Counter()
        self._urgent_share = self.random.choice((0.1, 0.3, 0.6))
        for stage in self.stages:
            self._rebalance(stage)

    def _slots(self, stage: LaneStage) -> list[_Slot]:
        count = self.random.choice((2, 3, 4))
        owners = [LaneOwner(stage, self.rules, self.random, self.seen) for _ in range(count)]
        return [_Slot(owner, self.seen) for owner in owners]

    def storm(self) -> None:
        """Let everything go wrong for a while."""
        for _ in range(_STEPS):
            self._step()

    def settle(self) -> None:
        """Let one owner per stage work everything off, while late writes still land."""
        while self._left:
            self._ingest()
        self.faults = Faults.none()
        for stage in self.stages:
            self._leave_one(stage)
        for _ in range(_MOST_STEPS_TO_END):
            if self._settled():
                return
            self._step()
        self.failures.append("the last owners never came to an end")

    def last_owner(self, stage: LaneStage) -> LaneOwner:
        """Return the owner that worked off the rest."""
        return self.slots[stage.name][0].owner

    def _step(self) -> None:
        draw, stage = self.random.random(), self.random.choice(self.stages)
        if draw < _DISTURB:
            self._disturb(stage)
        elif draw < _DELIVER:
            self._deliver(stage)
        else:
            slot = self.random.choice(self.slots[stage.name])
            try:
                slot.step()
            except ForeignRecord as error:
                self.failures.append(f"an owner met a foreign record: {error}")
                slot.crash()

    def _deliver(self, stage: LaneStage) -> None:
        if stage.producers:
            producer = self.random.choice(stage.producers)
            producer.step(self.faults)
            if producer.abandoned and producer.empty:
                stage.producers.remove(producer)

    def _disturb(self, stage: LaneStage) -> None:
        draw, faults = self.random.random, self.faults
        slot = self._victim(stage)
        if draw() < _BURST:
            for _ in range(min(self._left, self.random.choice((1, 5, 25)))):
                self._ingest()
        if draw() < faults.crash:
            slot.crash()
        if draw() < faults.pause:
            slot.asleep = self.random.choice((10, 40, 120))
        if draw() < faults.rebalance:
            self._rebalance(stage)

    def _victim(self, stage: LaneStage) -> _Slot:
        """Prefer an owner that is at something, for that is where it hurts."""
        slots = self.slots[stage.name]
        busy = [s for s in slots if not s.asleep and s.owner.doing != "unassigned"]
        return self.random.choice(busy or slots)

    def _ingest(self) -> None:
        """Append the next packet of a key to one of the lanes."""
        self._left -= 1
        key = self.random.randrange(_KEYS)
        urgent = self.random.random() < self._urgent_share
        priority = self.random.choice((2, 3)) if urgent else 1
        raw = LaneRaw(key, priority, self.random.getrandbits(16), 1, self._numbers[key])
        self._numbers[key] += 1
        self.ingest[PRIORITY if urgent else NORMAL].append(raw)

    def _rebalance(self, stage: LaneStage) -> None:
        chosen = self.random.choice(self.slots[stage.name])
        for slot in self.slots[stage.name]:
            slot.tell(assigned=slot is chosen, steps=self.random.choice((1, 10, 60, 200)))

    def _leave_one(self, stage: LaneStage) -> None:
        chosen = self.random.choice(self.slots[stage.name])
        for slot in self.slots[stage.name]:
            if slot is not chosen:
                slot.crash()
        chosen.asleep = 0
        chosen.tell(assigned=True, steps=0)
        self.slots[stage.name] = [chosen]

    def _settled(self) -> bool:
        return all(
            self.last_owner(stage).idle and all(each.empty for each in stage.producers)
            for stage in self.stages
        )


def simulate_lanes(seed: int, rules: LaneRules) -> LaneWorld:
    """Run a world to its quiescent end and return it."""
    world = LaneWorld(seed, rules)
    world.storm()
    world.settle()
    return world
