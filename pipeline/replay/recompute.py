"""Recomputing the records of a log: each from its own input, at its own time, on history's state.

A stage is a fold, and its log says of each record what it was made from: the input, the clock, the
control epoch, and by its place the state. So each record can be made again by the stage's own code.
The state always follows the recorded records, never the recomputed ones: a record that comes out
differently does not make those after it differ.

Rounds need not be cut as they were, since decisions do not depend on it. Three facts are taken from
the record, because they lie outside log and code: how often a policy was tried, that the engine's
breaker was open, and that the first stage shed a packet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec import Struct

from pipeline.control.state import ControlView
from pipeline.errors import PositionLost, spelled
from pipeline.packets.models import Envelope, Journal
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay.logs import LogStart
from pipeline.replay.reading import Entry
from pipeline.settings import Settings
from pipeline.stages.contract import Context, Draft, Input, Note, StageLogic, seal
from pipeline.stages.fates import Fate
from pipeline.stages.fencing import FencedLogic
from pipeline.stages.intake import Intake
from pipeline.stages.records import RecordWriter
from pipeline.stages.routes import Route

__all__ = ["NOTHING", "Made", "Recomputer", "Recorded", "Variant"]

_NO_RULE = (-1, -1)
_NOT_OURS = "history"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record of history, with what it is to be made from again.

    Attributes:
        entry: The record as it stands in the log.
        record: The record, decoded.
        source: Its input.
        view: What was in force.
    """

    entry: Entry
    record: Any
    source: Entry
    view: ControlView

    @property
    def journal(self) -> Journal:
        """Its journal."""
        journal: Journal = self.record.journal
        return journal

    @property
    def envelope(self) -> Envelope | None:
        """Its envelope; None for a portfolio update."""
        return getattr(self.record, "envelope", None)

    @property
    def flow_id(self) -> str:
        """Its flow."""
        envelope = self.envelope
        return envelope.flow_id if envelope is not None else str(self.record.flow_id)

    @property
    def symbol(self) -> str:
        """Its instrument."""
        envelope = self.envelope
        return envelope.symbol if envelope is not None else str(self.record.symbol)


class Made(NamedTuple):
    """What came of a recomputation.

    Attributes:
        record: The record; None where the stage needs none for the input.
        value: Its bytes; None likewise.
    """

    record: Struct | None
    value: bytes | None


NOTHING = Made(None, None)


class Variant:
    """A stage's decisions, with a state of their own.

    Args:
        name: What to call it.
        logic: The decisions.
    """

    def __init__(self, name: str, logic: StageLogic[Any]) -> None:
        self.name = name
        self._logic = logic
        self._fenced = FencedLogic(logic)
        self._state: Any = None

    def begin(self, start: LogStart) -> None:
        """Take the state of a snapshot, or the first one.

        Raises:
            PositionLost: If the snapshot is none of these decisions' own.
        """
        logic = self._logic
        self._state = logic.initial() if start.data is None else logic.load(start.data)

    def apply(self, record: Any) -> None:
        """Fold a recorded record."""
        self._logic.apply(self._state, record)

    def dump(self) -> bytes:
        """Return the state as bytes."""
        return self._logic.dump(self._state)

    def is_at(self, data: bytes) -> bool:
        """Say whether the state is the one in a snapshot, whichever version wrote that."""
        mine = self.dump()
        if mine == data:
            return True
        try:
            return self._logic.dump(self._logic.load(data)) == mine
        except PositionLost:
            return False

    def items(
        self, inputs: Sequence[Input], records: Sequence[Recorded], limit: int
    ) -> Iterator[Draft | Note | None]:
        """Yield what the stage makes of each input; `apply` must run between two items.

        Args:
            inputs: Consecutive inputs, under one control view.
            records: Their records.
            limit: Retries that the stage is allowed.
        """
        done = 0
        while done < len(inputs):
            rest = inputs[done:]
            with suppress(Exception):  # a policy may fail in any way; below it is seen on which
                items = self._fenced.decide(self._state, rest, _context(records[done]))
                for item, _ in zip(items, rest, strict=True):
                    yield item
                    done += 1
            if done < len(inputs):
                yield self._alone(inputs[done], records[done], limit)
                done += 1

    def _alone(self, each: Input, record: Recorded, limit: int) -> Draft | Note | None:
        if each.fate is not None:
            return Draft(outcome=each.fate)
        try:
            return next(iter(self._fenced.decide(self._state, [each], _context(record))))
        except Exception as failure:  # noqa: BLE001  # a policy may fail in any way
            detail = f"after {_retries(each, record)} of {limit} retries: {spelled(failure)}"
            stage = self._logic.stage
            fate = seal(OutcomeKind.DEAD_LETTERED, stage, Fate.POLICY_FAILED, detail=detail)
            return Draft(outcome=fate)


class Recomputer:
    """Makes the records of one stage again.

    Args:
        route: Place of the stage.
        settings: Settings.
        variants: Decisions to make them by; one that stands there twice has one state.
        on_folded: Told of each record folded, by log sequence, with the first variant.
    """

    def __init__(
        self,
        route: Route,
        settings: Settings,
        variants: Sequence[Variant],
        on_folded: Callable[[int, Variant], None] = lambda _sequence, _variant: None,
    ) -> None:
        self._on_folded = on_folded
        self.variants = tuple(variants)
        self._distinct = tuple(dict.fromkeys(variants))
        self._route = route
        self._intake = Intake(route, settings)
        self._writer = RecordWriter(
            route, _NOT_OURS, _NOT_OURS, settings.account, settings.record_max_bytes
        )
        self._retries = settings.stages.of(route.stage).retries

    def begin(self, start: LogStart) -> None:
        """Take the state of a snapshot, or the first one; see `Variant.begin`."""
        for variant in self._distinct:
            variant.begin(start)

    def fold(self, record: Any) -> None:
        """Fold a record, once for each state."""
        for variant in self._distinct:
            variant.apply(record)
        self._on_folded(record.journal.log_sequence, self.variants[0])

    def remake(
        self, records: Sequence[Recorded], changed: Mapping[int, Entry]
    ) -> Iterator[tuple[Made, ...]]:
        """Yield, for each of consecutive records, what each variant makes of it; folds them all.

        Args:
            records: The records, in the order of the log.
            changed: Other inputs for the second variant, by index of the record.
        """
        for start, end in _stretches(records, self._route.stage):
            stretch = records[start:end]
            inputs = self._inputs(
                stretch, {i - start: changed[i] for i in range(start, end) if i in changed}
            )
            # A variant that is the first one, with the same inputs, need not decide again.
            pairs = list(zip(self.variants, inputs, strict=True))
            ways = {(variant, id(given)): (variant, given) for variant, given in pairs}
            items = [self._items(variant, given, stretch) for variant, given in ways.values()]
            for index, (each, *made) in enumerate(zip(stretch, *items, strict=True)):
                results = {
                    way: self._made(given[index], item, each)
                    for (way, (_, given)), item in zip(ways.items(), made, strict=True)
                }
                yield tuple(results[variant, id(given)] for variant, given in pairs)
                self.fold(each.record)

    def once(self, record: Recorded) -> Made:
        """Return what the first variant makes of one record now, on the state that it has."""
        given = self.input(record, record.source)
        item = next(self._items(self.variants[0], [given], [record]))
        return self._made(given, item, record)

    def _inputs(
        self, stretch: Sequence[Recorded], changed: Mapping[int, Entry]
    ) -> list[list[Input]]:
        """Return the inputs of each variant."""
        mine = [self.input(each, each.source) for each in stretch]
        theirs = mine
        if changed:
            theirs = [
                self.input(each, changed[index]) if index in changed else mine[index]
                for index, each in enumerate(stretch)
            ]
        return [mine, theirs, *[mine] * len(self.variants)][: len(self.variants)]

    def _items(
        self, variant: Variant, inputs: Sequence[Input], stretch: Sequence[Recorded]
    ) -> Iterator[Draft | Note | None]:
        if _as_recorded(stretch[0], self._route.stage):
            return (Draft(outcome=each.record.envelope.outcome) for each in stretch)
        return variant.items(inputs, stretch, self._retries)

    def input(self, each: Recorded, source: Entry) -> Input:
        """Return the input of a record as the stage had it, read from `source`."""
        journal, envelope = each.journal, each.envelope
        received = envelope.trace[-1].received if envelope and envelope.trace else journal.now
        return self._intake.read(
            (source.topic, source.partition), source.offset, source.timestamp_ms, source.key,
            source.value, journal.input_epoch, journal.input_sequence, _NO_RULE, received,
            journal.now,
        )  # fmt: skip

    def _made(self, each: Input, item: Draft | Note | None, record: Recorded) -> Made:
        if item is None:
            return NOTHING
        started = finished = record.journal.now
        envelope = record.envelope
        if envelope is not None and envelope.trace:
            started, finished = envelope.trace[-1].started, envelope.trace[-1].finished
        journal = record.journal
        retries = _retries(each, record)
        return Made(*self._writer.written(each, item, journal, retries, started, finished))


def _context(record: Recorded) -> Context:
    return Context(record.view, record.journal.log_sequence - 1)


def _retries(each: Input, record: Recorded) -> int:
    """Return how often the stage tried again, as the record tells."""
    above: Envelope | None = getattr(each.packet, "envelope", None)
    below = record.envelope
    if below is None or above is None:
        return 0
    return max(0, below.retry_count - above.retry_count)


def _as_recorded(record: Recorded, stage: str) -> bool:
    """Say whether the engine sealed a record by what no log knows: its breaker, or its pace."""
    outcome = record.envelope.outcome if record.envelope else None
    if outcome is None or outcome.stage != stage:
        return False
    if outcome.reasons == (Fate.BREAKER_OPEN,):
        return not outcome.detail  # one that was forced open by a command says so
    return outcome.reasons == (Fate.OVERLOAD,) and outcome.kind is OutcomeKind.SHED


def _stretches(records: Sequence[Recorded], stage: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of runs of records that can be decided at once."""
    start = 0
    for index in range(1, len(records) + 1):
        if index == len(records) or _apart(records[index - 1], records[index], stage):
            yield start, index
            start = index


def _apart(first: Recorded, second: Recorded, stage: str) -> bool:
    return (
        first.view is not second.view
        or first.journal.log_sequence + 1 != second.journal.log_sequence
        or _as_recorded(first, stage) != _as_recorded(second, stage)
    )
