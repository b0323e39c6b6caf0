"""The judge of a finished world of two lanes; it reads the whole logs by a rule of its own."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from random import Random

from pipeline.transport.log import START, LogReader, Position
from tests.unit.transport.model.lane_owner import (
    LANES,
    MOST_PRIORITY_ROUNDS,
    NORMAL,
    PRIORITY,
    SUPERSEDED,
    LaneInput,
    LaneMarker,
    LaneMemory,
    LaneRaw,
    LaneRecord,
    LaneRules,
    LaneStage,
    note_marker,
)
from tests.unit.transport.model.lane_world import LaneWorld
from tests.unit.transport.model.world import Log

__all__ = ["lane_accepted", "lane_violations"]

_RULES = LaneRules()


def lane_accepted(log: Log) -> list[int]:
    """Return the offsets of the records that count, by the wording of the design.

    A record counts if its epoch is the highest that a marker before it opened, and its log sequence
    the last counted + 1. A marker of the priority log opens its own offset, one of the normal log
    the epoch that it names.
    """
    counted: list[int] = []
    in_force = -1
    for offset, entry in enumerate(log.entries):
        if isinstance(entry, LaneMarker):
            in_force = max(in_force, offset if entry.epoch < 0 else entry.epoch)
            continue
        assert isinstance(entry, LaneRecord)
        if entry.epoch == in_force and entry.sequence == len(counted):
            counted.append(offset)
    return counted


def lane_violations(world: LaneWorld) -> list[tuple[str, str]]:
    """Return (invariant, what was found) for each invariant that does not hold."""
    found = [("goes on", failure) for failure in world.failures]
    for stage in world.stages:
        for name, check in _Judge(world, stage).checks().items():
            found += [(name, f"{stage.name}: {detail}") for detail in check()]
    return found


class _Judge:
    """Judges one stage."""

    def __init__(self, world: LaneWorld, stage: LaneStage) -> None:
        self._world = world
        self._stage = stage
        self._offsets = {lane: lane_accepted(stage.logs[lane]) for lane in LANES}
        merged = [
            (lane, offset, entry)
            for lane in LANES
            for offset in self._offsets[lane]
            if isinstance(entry := stage.logs[lane].entries[offset], LaneRecord)
        ]
        self._merged = sorted(merged, key=lambda each: each[2].stage_sequence)

    def checks(self) -> dict[str, Callable[[], Iterator[str]]]:
        """Return the invariants by name."""
        return {
            "one sequence": self._one_sequence,
            "readers agree": self._readers_agree,
            "each input once": self._each_input_once,
            "decisions": self._decisions,
            "windows": self._windows,
            "newest wins": self._newest_wins,
            "take-overs": self._take_overs,
            "last state": self._last_state,
            "turns": self._turns,
        }

    def _fold(self, before: Mapping[str, float]) -> LaneMemory:
        """Return the fold of what stands in each lane before an offset."""
        memory = LaneMemory()
        for lane, offset, record in self._merged:
            if offset < before[lane]:
                memory.fold(lane, record, _RULES)
        return memory

    def _one_sequence(self) -> Iterator[str]:
        sequences = [record.stage_sequence for _, _, record in self._merged]
        if sequences != list(range(len(sequences))):
            twice = [each for each, count in Counter(sequences).items() if count > 1]
            missing = sorted(set(range(max(sequences))) - set(sequences))
            yield f"both logs together have {twice} twice and lack {missing}"

    def _readers_agree(self) -> Iterator[str]:
        """Check that readers that stored any position find what counts from there on."""
        for lane in LANES:
            log = self._stage.logs[lane]
            reader, positions = self._reader(lane, START), [START]
            for offset in range(len(log.entries)):
                self._read_one(reader, log, offset)
                positions.append(Position(offset + 1, reader.epoch, reader.sequence))
            for at in [START, *Random(0).sample(positions, min(10, len(positions)))]:
                reader = self._reader(lane, at)
                taken = [
                    offset
                    for offset in range(at.offset, len(log.entries))
                    if self._read_one(reader, log, offset)
                ]
                if taken != [each for each in self._offsets[lane] if each >= at.offset]:
                    yield f"a reader of {lane} from {at} took {taken}"

    def _reader(self, lane: str, at: Position) -> LogReader:
        return self._world.rules.normal_reader(at) if lane == NORMAL else LogReader(at)

    @staticmethod
    def _read_one(reader: LogReader, log: Log, offset: int) -> bool:
        entry = log.entries[offset]
        if isinstance(entry, LaneMarker):
            note_marker(reader, offset, entry)
            return False
        assert isinstance(entry, LaneRecord)
        # Weakened rules may make a record look foreign; then no reader gets past it.
        return entry.epoch <= reader.epoch and reader.accepts(offset, entry.epoch, entry.sequence)

    def _each_input_once(self) -> Iterator[str]:
        for lane, log in self._stage.inputs.items():
            wanted = lane_accepted(log) if self._stage.journals else range(len(log.entries))
            made = Counter(r.offset for where, _, r in self._merged if where == lane)
            if made != Counter(wanted):
                yield f"{log.name}: {made - Counter(wanted)} and lacks {Counter(wanted) - made}"

    def _decisions(self) -> Iterator[str]:
        memory = LaneMemory()
        for lane, _, record in self._merged:
            if record.decision != memory.decide(record, record.value, record.now, _RULES):
                yield f"record {record.stage_sequence} was decided on a state that is not the logs'"
            memory.fold(lane, record, _RULES)

    def _windows(self) -> Iterator[str]:
        """Check that windows are what the normal lane alone makes of them, in its order."""
        alone = LaneMemory()
        log = self._stage.inputs[NORMAL]
        for offset in lane_accepted(log) if self._stage.journals else range(len(log.entries)):
            entry = log.entries[offset]
            assert isinstance(entry, LaneRaw | LaneRecord)
            given = LaneInput.of(log.name, NORMAL, offset, entry)
            alone.window = (alone.window * 33 + given.number * 7 + given.key) % 2_147_483_647
        if self._world.last_owner(self._stage).memory.window != alone.window:
            yield "the last owner's windows are not those of the normal lane"

    def _newest_wins(self) -> Iterator[str]:
        newest: dict[int, int] = {}
        for _, _, record in self._merged:
            if record.decision == SUPERSEDED:
                continue
            if record.number <= newest.get(record.key, -1):
                yield f"number {record.number} of {record.key} was decided after a newer one"
            newest[record.key] = max(record.number, newest.get(record.key, -1))

    def _take_overs(self) -> Iterator[str]:
        for each in self._stage.take_overs:
            before = {PRIORITY: each.epoch, NORMAL: each.normal_offset}
            if each.state != self._fold(before).state:
                yield f"the owner of epoch {each.epoch} began with another state than the logs'"

    def _last_state(self) -> Iterator[str]:
        if (
            self._world.last_owner(self._stage).memory.state
            != self._fold(dict.fromkeys(LANES, math.inf)).state
        ):
            yield "the last owner holds another state than the logs'"

    def _turns(self) -> Iterator[str]:
        if self._stage.most_priority_rounds > MOST_PRIORITY_ROUNDS:
            yield f"{self._stage.most_priority_rounds} priority rounds, while the other lane waited"
