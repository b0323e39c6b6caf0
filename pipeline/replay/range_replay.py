"""The replay of one range of a log: read, made again, compared, explained."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import PositionLost
from pipeline.packets.codec import decode
from pipeline.replay.compare import Agreement, agreement, cause_of, changes, summary
from pipeline.replay.control_history import ControlHistory
from pipeline.replay.logs import LogStart, accepted, snapshots_within, start_before
from pipeline.replay.progress import Changed, Checkpoint, Finding
from pipeline.replay.reading import Entry, TopicReader
from pipeline.replay.recompute import Made, Recomputer, Recorded, Variant
from pipeline.replay.sandbox import Sandbox
from pipeline.replay.selection import LogRange
from pipeline.replay.variants import Changes, builtin
from pipeline.settings import Settings, build_hash
from pipeline.stages.routes import ROUTES
from pipeline.transport.log import START

__all__ = ["RangeReplay"]

_CHUNK = 2000
"""Most records between two looks at the time."""


class RangeReplay:
    """The replay of one range; `advance` carries it on.

    Args:
        settings: Settings as the stage's workers have them.
        place: The range.
        checkpoint: Where it begins; what is found and how far it is goes there.
        changed: What a what-if changes.
        history: The control log.
        inputs: Reads inputs.
        sandbox: Where records go; None: nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        place: LogRange,
        checkpoint: Checkpoint,
        changed: Changes,
        history: ControlHistory,
        inputs: TopicReader,
        sandbox: Sandbox | None,
    ) -> None:
        self._settings = settings
        self._place = place
        self._checkpoint = checkpoint
        self._tally = checkpoint.tally
        self._changes = changed
        self._history = history
        self._inputs = inputs
        self._sandbox = sandbox
        self._from = checkpoint.next_offset(place)
        self._build = build_hash(settings, place.stage)
        self._recomputer = Recomputer(
            ROUTES[place.stage], settings, self._variants(), self._check_state
        )
        self._states: dict[int, bytes] = {}
        self._logs: TopicReader | None = None
        self._entries: Iterator[Entry] = iter(())
        self._peeked: tuple[Entry, Any] | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._logs is not None:
            self._logs.__exit__(None, None, None)
            self._logs = None
            self._entries, self._peeked = iter(()), None

    def next_now(self) -> int | None:
        """Return when the next record was decided; None where there is none left."""
        found = self._peek()
        return None if found is None else int(found[1].journal.now)

    def advance(self, until_us: int | None) -> bool:
        """Replay up to 2000 records decided before `until_us`; return whether all is done."""
        chunk: list[tuple[Entry, Any]] = []
        while len(chunk) < _CHUNK and (found := self._peek()) is not None:
            if until_us is not None and found[1].journal.now >= until_us:
                break
            chunk.append(found)
            self._peeked = None
        if chunk:
            self._expect_states(chunk)
            self._replay(chunk)
        done = self._peek() is None
        if done:
            self._checkpoint.move(self._place, self._place.end)
        elif chunk:
            self._checkpoint.move(self._place, chunk[-1][0].offset + 1)
        return done

    # -- reading -------------------------------------------------------------------------------

    def _peek(self) -> tuple[Entry, Any] | None:
        if self._peeked is None:
            if self._logs is None:
                self._begin()
            entry = next(self._entries, None)
            self._peeked = None if entry is None else (entry, decode(entry.value))
        return self._peeked

    def _begin(self) -> None:
        """Take the nearest state, and fold up to the first record that is wanted."""
        place = self._place
        self._logs = reader = TopicReader(self._settings, "replay-log")
        start = start_before(reader, place.topic, place.partition, self._from)
        try:
            self._recomputer.begin(start)
        except PositionLost:
            # A change may need a state that no snapshot holds; the whole log has it.
            low, _ = reader.bounds(place.topic, place.partition)
            if low > 0:
                raise
            start = LogStart(START)
            self._recomputer.begin(start)
        self._entries = self._after_folding(
            accepted(reader, place.topic, place.partition, start, place.end)
        )

    def _after_folding(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if entry.offset < self._from:
                self._recomputer.fold(decode(entry.value))
            else:
                yield entry

    def _expect_states(self, chunk: Sequence[tuple[Entry, Any]]) -> None:
        """Look up the snapshots that were taken at records of the chunk."""
        place = (self._place.topic, self._place.partition)
        (first, record), (_, last) = chunk[0], chunk[-1]
        sequences = (record.journal.log_sequence, last.journal.log_sequence)
        self._states = snapshots_within(self._inputs, place, first.timestamp_ms, sequences)

    def _check_state(self, sequence: int, now: Variant) -> None:
        """Compare the state with the snapshot that was taken of it, where there is one."""
        wanted = self._states.pop(sequence, None)
        if wanted is None:
            return
        if now.is_at(wanted):
            self._tally.states_checked += 1
        else:
            place = f"{self._place.topic}[{self._place.partition}]"
            self._tally.states_missed.append(f"{place} after record {sequence}")

    # -- comparing -----------------------------------------------------------------------------

    def _variants(self) -> list[Variant]:
        """Return the decisions of now, those with all changes, and with each change alone."""
        stage, settings = self._place.stage, self._settings
        now = Variant("now", builtin(stage, settings))
        if not self._changes:
            return [now]
        if stage not in self._changes.stages:
            return [now, now]  # only inputs may differ
        singles = self._changes.single(stage, settings).items()
        return [
            now,
            Variant("changed", self._changes.logic(stage, settings)),
            *(Variant(name, logic) for name, logic in singles),
        ]

    def _replay(self, chunk: Sequence[tuple[Entry, Any]]) -> None:
        sources = self._sources([record for _, record in chunk])
        flows = self._checkpoint.selection.flows
        stretch: list[Recorded] = []
        for entry, record in chunk:
            source = sources.get(_input_of(record))
            if source is None or (flows is not None and _flow_of(record) not in flows):
                self._compare(stretch)
                stretch = []
                if source is None and (flows is None or _flow_of(record) in flows):
                    self._tally.of(self._place.stage).gone += 1
                self._recomputer.fold(record)
                continue
            view = self._history.seen_by(record.journal)
            stretch.append(Recorded(entry, record, source, view))
        self._compare(stretch)

    def _sources(self, records: Sequence[Any]) -> dict[tuple[str, int, int], Entry]:
        """Return the inputs of records by place, as far as they are still there."""
        flows = self._checkpoint.selection.flows
        wanted: dict[tuple[str, int], set[int]] = {}
        for record in records:
            if flows is None or _flow_of(record) in flows:
                topic, partition, offset = _input_of(record)
                wanted.setdefault((topic, partition), set()).add(offset)
        found = {}
        for (topic, partition), offsets in wanted.items():
            low, _ = self._inputs.bounds(topic, partition)
            start = max(low, min(offsets))
            for entry in self._inputs.read(topic, partition, start, max(offsets) + 1):
                if entry.offset in offsets:
                    found[topic, partition, entry.offset] = entry
        return found

    def _compare(self, stretch: Sequence[Recorded]) -> None:
        if not stretch:
            return
        changed = self._changed_inputs(stretch)
        remade = self._recomputer.remake(stretch, changed)
        for index, (recorded, made) in enumerate(zip(stretch, remade, strict=True)):
            self._tally.span(recorded.journal.now)
            now = agreement(recorded, made[0])
            counts = self._tally.of(self._place.stage)
            setattr(counts, now.value, getattr(counts, now.value) + 1)
            if now is Agreement.DIFFERENT:
                self._diverged(recorded, made[0])
            outcome, result = made[0], now
            if len(made) > 1:
                outcome, result = made[1], agreement(recorded, made[1])
                if result is Agreement.DIFFERENT:
                    self._differed(recorded, made, now, changed=index in changed)
            if self._sandbox is not None:
                self._sandbox.add(recorded, outcome, result)

    def _changed_inputs(self, stretch: Sequence[Recorded]) -> dict[int, Entry]:
        changed = self._checkpoint.changed
        if not changed:
            return {}
        return {
            index: recorded.source._replace(value=found.value)
            for index, recorded in enumerate(stretch)
            if (found := changed.get(_name(recorded.source))) is not None
        }

    def _diverged(self, recorded: Recorded, made: Made) -> None:
        given = self._recomputer.input(recorded, recorded.source)
        again = [self._recomputer.once(recorded) for _ in range(2)]
        cause, detail = cause_of(recorded, given, made, again, self._build)
        self._tally.diverged(self._finding(recorded, made, cause.value, detail))

    def _differed(
        self, recorded: Recorded, made: Sequence[Made], now: Agreement, *, changed: bool
    ) -> None:
        counts = self._tally.of(self._place.stage)
        counts.changed += 1
        explained = self._explained(recorded, made, changed=changed)
        if now is Agreement.DIFFERENT or not explained:
            counts.unexplained += 1
            explained = ""
        self._tally.differed(self._finding(recorded, made[1], "change", explained))
        if (value := made[1].value) is not None:
            self._checkpoint.changed[_name(recorded.entry)] = Changed(value, explained)

    def _explained(self, recorded: Recorded, made: Sequence[Made], *, changed: bool) -> str:
        """Return which changes give this difference."""
        stage = self._place.stage
        upstream = []
        if changed:
            why = self._checkpoint.changed[_name(recorded.source)].why
            upstream = [f"{why or 'not known'}, by its input {recorded.source}"]
        mine = self._changes.names(stage)
        if len(made) > len(("now", "changed")):
            alone = [
                variant.name
                for variant, each in zip(self._recomputer.variants[2:], made[2:], strict=True)
                if agreement(recorded, each) is Agreement.DIFFERENT
            ]
            together = [] if changed else [f"only together: {', '.join(mine)}"]
            mine = alone or together
        return "; ".join([*upstream, *mine])

    def _finding(self, recorded: Recorded, made: Made, cause: str, detail: str) -> Finding:
        entry = recorded.entry
        return Finding(
            entry.topic,
            entry.partition,
            entry.offset,
            self._place.stage,
            recorded.flow_id,
            recorded.symbol,
            recorded.journal.now,
            summary(recorded.record),
            summary(made.record),
            tuple(changes(recorded, made)),
            cause,
            detail,
        )


def _name(entry: Entry) -> str:
    return f"{entry.topic}:{entry.partition}:{entry.offset}"


def _input_of(record: Any) -> tuple[str, int, int]:
    journal = record.journal
    return journal.input_topic, journal.input_partition, journal.input_offset


def _flow_of(record: Any) -> str:
    envelope = getattr(record, "envelope", None)
    return str(envelope.flow_id if envelope is not None else record.flow_id)
