"""The judge of a finished world. It knows the whole logs and reads them by a rule of its own."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from random import Random

from pipeline.errors import ForeignRecord
from pipeline.transport.log import START, InputPosition, LogReader, Position
from tests.unit.transport.model.owner import Stage
from tests.unit.transport.model.simulation import World
from tests.unit.transport.model.world import Input, Log, Marker, Memory, Raw, Record, State

__all__ = ["accepted_offsets", "ignored", "violations"]

Reader = Callable[[Position], LogReader]


def accepted_offsets(log: Log) -> list[int]:
    """Return the offsets of the records that count, by the wording of the design."""
    markers = [offset for offset, entry in enumerate(log.entries) if isinstance(entry, Marker)]
    counted: list[int] = []
    for offset, entry in enumerate(log.entries):
        if not isinstance(entry, Record):
            continue
        in_force = max((marker for marker in markers if marker < offset), default=-1)
        if entry.epoch == in_force and entry.sequence == len(counted):
            counted.append(offset)
    return counted


def ignored(log: Log) -> tuple[int, int]:
    """Return how many records were written after their epoch, and how many behind a hole."""
    taken, in_force, late, behind = set(accepted_offsets(log)), -1, 0, 0
    for offset, entry in enumerate(log.entries):
        if isinstance(entry, Marker):
            in_force = offset
        elif isinstance(entry, Record) and offset not in taken:
            late += entry.epoch < in_force
            behind += entry.epoch == in_force
    return late, behind


def violations(world: World) -> list[tuple[str, str]]:
    """Return (invariant, what was found) for each invariant that does not hold."""
    found = [("goes on", failure) for failure in world.failures]
    for stage in world.stages:
        judge = _Judge(world, stage)
        for name, check in judge.checks().items():
            found += [(name, f"{stage.log.name}: {detail}") for detail in check()]
    return found


class _Judge:
    """Judges one stage.

    A weakened reading rule is judged by what it makes of the log itself: that all its readers agree
    on something is not enough, it must also be right.
    """

    def __init__(self, world: World, stage: Stage) -> None:
        self._world = world
        self._stage = stage
        self._log = stage.log
        self._weakened = world.rules.reader is not LogReader
        self._reader = world.rules.reader
        self._offsets = self._accepted(stage.log)
        self._records = [self._record(offset) for offset in self._offsets]
        self._inputs = {log.name: self._inputs_of(log) for log in stage.inputs}
        self._states = [memory.state for memory in self._folds()]

    def checks(self) -> dict[str, Callable[[], Iterator[str]]]:
        """Return the invariants by name."""
        return {
            "epochs": self._epochs,
            "readers agree": self._readers_agree,
            "each input once": self._each_input_once,
            "order": self._order,
            "decisions": self._decisions,
            "take-overs": self._take_overs,
            "last state": self._last_state,
            "snapshots": self._snapshots,
            "resume": self._resume,
        }

    def _accepted(self, log: Log) -> list[int]:
        if self._weakened:
            return self._read(log, START)
        return accepted_offsets(log)

    def _read(self, log: Log, at: Position) -> list[int]:
        reader = self._reader(at)
        counted = []
        for offset in range(at.offset, len(log.entries)):
            entry = log.entries[offset]
            if isinstance(entry, Marker):
                reader.marker(offset)
            elif isinstance(entry, Raw) or reader.accepts(offset, entry.epoch, entry.sequence):
                counted.append(offset)
        return counted

    def _record(self, offset: int) -> Record:
        entry = self._log.entries[offset]
        assert isinstance(entry, Record)
        return entry

    def _inputs_of(self, log: Log) -> dict[int, Input]:
        """Return what this stage is given by `log`, by offset."""
        journal = log.name in self._stage.journals
        given = {}
        for offset in self._accepted(log) if journal else range(len(log.entries)):
            entry = log.entries[offset]
            assert not isinstance(entry, Marker)
            given[offset] = Input.of(offset, entry)
        return given

    def _folds(self) -> Iterator[Memory]:
        """Yield the fold before each record, and the last one; it is one object, moving on."""
        memory = Memory()
        yield memory
        for record in self._records:
            memory.fold(record)
            yield memory

    def _state_before(self, offset: int) -> State:
        """Return the state that the log holds before `offset`, recomputed from its start."""
        return self._states[bisect_left(self._offsets, offset)]

    # -- invariants ----------------------------------------------------------------------------

    def _epochs(self) -> Iterator[str]:
        for offset, record in zip(self._offsets, self._records, strict=True):
            later = range(record.epoch + 1, offset)
            if any(isinstance(self._log.entries[at], Marker) for at in later):
                yield f"a record of the old epoch {record.epoch} was used at {offset}"

    def _readers_agree(self) -> Iterator[str]:
        newcomers = self._world.rules.newcomer is not None
        for segment in self._world.segments:
            if segment.log is self._log:
                # A newcomer may miss what comes before the first marker it meets.
                start = min(segment.accepted, default=segment.end) if newcomers else segment.start
                expected = [at for at in self._offsets if start <= at < segment.end]
                if segment.accepted != expected:
                    yield f"an observer from {segment.start} took {segment.accepted}"
        for at in self._some_positions():
            try:
                taken = self._read(self._log, at)
            except ForeignRecord as error:
                yield f"a reader from {at} met {error}"
                continue
            if taken != [offset for offset in self._offsets if offset >= at.offset]:
                yield f"a reader from {at} took {taken}"

    def _some_positions(self) -> list[Position]:
        """Return START, the snapshots' positions, and some that a reader could have stored."""
        reader, positions = self._reader(START), [START]
        for offset, entry in enumerate(self._log.entries):
            if isinstance(entry, Marker):
                reader.marker(offset)
            elif isinstance(entry, Record):
                reader.accepts(offset, entry.epoch, entry.sequence)
            positions.append(Position(offset + 1, reader.epoch, reader.sequence))
        some = Random(0).sample(positions, min(15, len(positions)))
        return [START, *some, *(at for at, _ in self._stage.snapshots.complete())]

    def _each_input_once(self) -> Iterator[str]:
        for log in self._stage.inputs:
            records = [each for each in self._records if each.source == log.name]
            for given in self._inputs[log.name].values():
                parts = [each.part for each in records if each.offset == given.offset]
                if parts != list(range(given.parts)):
                    yield f"{log.name}@{given.offset} needs {given.parts} records, was {parts}"
            named = {(each.offset, each.input_epoch, each.input_sequence) for each in records}
            known = {
                (each.offset, each.epoch, each.sequence) for each in self._inputs[log.name].values()
            }
            if not named <= known:
                yield f"the journal names inputs of {log.name} that are none: {named - known}"

    def _order(self) -> Iterator[str]:
        last: dict[tuple[str, int, int], int] = {}
        for record in self._records:
            which = (record.source, record.priority, record.key)
            if record.offset < last.get(which, -1):
                yield f"{record.source}@{record.offset} came after {last[which]}"
            last[which] = record.offset

    def _decisions(self) -> Iterator[str]:
        for record, memory in zip(self._records, self._folds(), strict=False):
            if record.decision != memory.decide(record.value, record.now):
                yield f"record {record.sequence} was decided on a state that is not the log's"

    def _take_overs(self) -> Iterator[str]:
        for each in self._stage.take_overs:
            if each.memory.state != self._state_before(each.epoch):
                yield f"the owner of epoch {each.epoch} began with another state than the log's"
            yield from self._resumes_wrongly(each.memory, f"the owner of epoch {each.epoch}")

    def _last_state(self) -> Iterator[str]:
        owner = self._world.last_owner(self._stage)
        if owner.memory.state != self._states[-1]:
            yield "the last owner holds another state than the log's"
        yield from self._resumes_wrongly(owner.memory, "the last owner")

    def _snapshots(self) -> Iterator[str]:
        for at, memory in self._stage.snapshots.complete():
            if memory.state != self._state_before(at.offset):
                yield f"the snapshot at {at} is not the fold there"
            yield from self._resumes_wrongly(memory, f"the snapshot at {at}")

    def _resume(self) -> Iterator[str]:
        for memory in self._folds():
            yield from self._resumes_wrongly(memory, "a restart")

    def _resumes_wrongly(self, memory: Memory, who: str) -> Iterator[str]:
        """Yield what `memory` would skip or repeat of the inputs, given the records it holds."""
        records = self._records[: memory.sequence + 1]
        for log in self._stage.inputs:
            known = memory.positions.get(log.name, InputPosition(START, set()))
            behind = {each.offset for each in records if each.source == log.name and each.last}
            try:
                ahead = self._read_input(log, known)
            except ForeignRecord as error:
                yield f"{who} after record {memory.sequence} meets in {log.name}: {error}"
                continue
            if ahead != [at for at in self._needing(log) if at not in behind]:
                yield f"{who} after record {memory.sequence} goes on in {log.name} with {ahead}"

    def _needing(self, log: Log) -> list[int]:
        return [offset for offset, given in self._inputs[log.name].items() if given.parts]

    def _read_input(self, log: Log, known: InputPosition) -> list[int]:
        """Return what a restart at `known` works off, but for inputs that need no record."""
        at, inputs = known.position, self._inputs[log.name]
        journal = log.name in self._stage.journals
        return [
            offset
            for offset in (self._read(log, at) if journal else range(at.offset, len(log.entries)))
            if offset not in known.done and (offset not in inputs or inputs[offset].parts)
        ]
