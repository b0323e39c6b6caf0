"""The engine of a stage: works off rounds, one record in the log for each input.

Per round and owned partition:

1. Take the inputs that count, decode them, seal what needs no decision (`pipeline.stages.intake`).
   The first stage sheds what can no longer make its deadline (`pipeline.stages.shedding`).
2. Ask the stage for drafts; a record that fails is retried in place, then dead-lettered.
3. Encode each record and check its size, then fold it into the state.
4. Write the dead letters of the round and wait for them, so that none can be missing.
5. Hand the records to the producer. Nobody waits for the broker: what is lost is found by reading
   the log back, and ends the ownership.
"""

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from pipeline.control.state import ControlView
from pipeline.errors import OwnershipLost, spelled
from pipeline.keys.signing import Headers
from pipeline.packets.lanes import is_urgent
from pipeline.packets.models import Envelope
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.policies.breaker import Breaker
from pipeline.settings import Settings
from pipeline.stages.contract import Context, Draft, Input, Note, StageLogic, seal
from pipeline.stages.dead_letters import dead_letter
from pipeline.stages.fates import Fate
from pipeline.stages.intake import Intake
from pipeline.stages.overload import Throughput
from pipeline.stages.plans import PlanSigner
from pipeline.stages.records import RecordWriter
from pipeline.stages.routes import Route
from pipeline.stages.shedding import runs, shed, stretches
from pipeline.stages.tally import Tally
from pipeline.transport.credit import Credit
from pipeline.transport.host import LogHost
from pipeline.transport.journal import Ownership
from pipeline.transport.log import RoundCursor
from pipeline.transport.rounds import Round, TopicAndPartition

__all__ = ["StageEngine"]

_logger = logging.getLogger(__name__)
_MOST_BACKOFF_S = 0.05
# A packet in a run takes a third of this, its flow id and numbers as long as they can be; a symbol
# of 128 characters takes another third.
_RUN_PACKET_BYTES = 1024

Item = Draft | Note | None


@dataclass(slots=True)
class _Batch:
    """The records of one round for one partition, until they are written."""

    ownership: Ownership
    cursors: dict[TopicAndPartition, RoundCursor]
    started: int
    control: ControlView
    records: list[tuple[bytes | None, bytes]] = field(default_factory=list)
    headers: dict[int, Headers] = field(default_factory=dict)
    dead: list[tuple[str, bytes | None, bytes | None, list[Any]]] = field(default_factory=list)
    failure: Exception | None = None
    retries: int = 0


class StageEngine:
    """Works off the rounds of one stage's worker.

    Args:
        route: Place of the stage.
        logic: Its decisions.
        host: Owner of its logs.
        control: Says what is in force; asked once a round.
        settings: Settings.
        jitter: Randomness of the pauses between retries.
        throughput: What the pipeline carries; where there is one, this stage sheds by it.
        signer: Signs the order plans among the records; None where nothing is signed.
        credit: Is told what went on; None where nothing is held back.

    Attributes:
        breaker: Of the stage's policy.
        tally: What was worked off.
    """

    def __init__(
        self,
        route: Route,
        logic: StageLogic[Any],
        host: LogHost,
        control: Any,
        settings: Settings,
        jitter: random.Random | None = None,
        throughput: Throughput | None = None,
        signer: PlanSigner | None = None,
        credit: Credit | None = None,
    ) -> None:
        self._route = route
        self._logic = logic
        self._host = host
        self._control = control
        self._settings = settings
        self._intake = Intake(route, settings)
        self._writer = RecordWriter(
            route, host.owner, host.build, settings.account, settings.record_max_bytes
        )
        self._jitter = jitter or random.Random()
        # By the event clock nothing is late, so that a run can be repeated.
        self._throughput = throughput if settings.clock == "wall" else None
        self._signer = signer
        self._credit = credit
        self._most_in_run = max(1, settings.record_max_bytes // _RUN_PACKET_BYTES)
        self.breaker = Breaker(*settings.breaker(route.stage))
        self.tally = Tally()

    async def work_off(self, taken: Round) -> None:
        """Work a round off; an ownership that ends meanwhile ends the work, not the worker."""
        if taken.generation != self._host.generation:
            return
        try:
            for ownership in list(self._host.owned.values()):
                await self._work_partition(ownership, taken)
        except OwnershipLost as lost:
            _logger.info("round_dropped stage=%s why=%s", self._route.stage, lost)
        except Exception as error:
            # The state may be half a round ahead of the log: drop it and read the log again.
            _logger.exception("round_failed stage=%s", self._route.stage)
            self._host.lose(f"a round failed: {error!r}")

    async def _work_partition(self, ownership: Ownership, taken: Round) -> None:
        now = self._host.clock.now_us()
        inputs, cursors = self._intake.take(ownership, taken, now)
        ahead = _urgent(inputs)
        # What is urgent does not wait until the others are worked off beside it.
        for part in (inputs[:ahead], inputs[ahead:]):
            if part:
                await self._work_part(ownership, part, cursors, now)

    async def _work_part(
        self,
        ownership: Ownership,
        inputs: Sequence[Input],
        cursors: dict[TopicAndPartition, RoundCursor],
        now: int,
    ) -> None:
        began_s = time.perf_counter()
        batch = _Batch(ownership, cursors, now, self._control.view())
        short = in_runs = False
        if self._throughput is not None and (forecast := self._throughput.forecast(now)):
            inputs, short, in_runs = shed(inputs, forecast, self._route.stage)
        for stretch, late in stretches(inputs, in_runs=in_runs):
            if late:
                self._in_runs(batch, stretch)
            else:
                await self._one_by_one(batch, stretch)
        await self._write(batch)
        spent_s = time.perf_counter() - began_s
        self.tally.note(len(batch.records), batch.retries, len(batch.dead), spent_s)
        if self._credit is not None:
            self._credit.let_in(now, len(batch.records))
        if self._throughput is not None:
            decided = sum(1 for each in inputs if each.fate is None)
            marked = len(batch.records) - decided
            self._throughput.let_in(now, decided, marked, shed=short)

    async def _one_by_one(self, batch: _Batch, remaining: Sequence[Input]) -> None:
        while remaining:
            done = self._bulk(batch, remaining)
            remaining = remaining[done:]
            if remaining:  # the policy failed: find out on which input
                await self._single(batch, remaining[0])
                remaining = remaining[1:]

    def _in_runs(self, batch: _Batch, inputs: Sequence[Input]) -> None:
        """Record inputs that are too late; neighbours that end alike share a record."""
        try:
            drafts = list(self._items(batch, inputs))
        except Exception as error:  # noqa: BLE001  # a policy may fail in any way
            self.breaker.failed()
            _logger.warning("policy_failed stage=%s why=%r", self._route.stage, error)
            drafts = [Draft(outcome=each.fate) for each in inputs]
        for each, draft, members in runs(inputs, drafts, self._most_in_run):
            self._add(batch, each, draft, 0, members)

    # -- deciding ------------------------------------------------------------------------------

    def _context(self, batch: _Batch) -> Context:
        return Context(batch.control, batch.ownership.sequence)

    def _bulk(self, batch: _Batch, inputs: Sequence[Input]) -> int:
        """Work inputs off until the policy fails; return how many were worked off."""
        undecided = any(each.fate is None for each in inputs)
        if undecided and not self.breaker.allows():
            for each in inputs:
                self._add(batch, each, Draft(outcome=each.fate or self._held()), 0)
            return len(inputs)
        done = 0
        try:
            for item in self._items(batch, inputs):
                self._add(batch, inputs[done], item, 0)
                done += 1
        except (OwnershipLost, _Bug):
            raise
        except Exception as error:  # noqa: BLE001  # a policy may fail in any way
            self.breaker.failed()
            batch.failure = error
            _logger.warning(
                "policy_failed stage=%s flow_id=%s why=%r",
                self._route.stage, _flow_of(inputs[min(done, len(inputs) - 1)]), error,
            )  # fmt: skip
            return done
        if undecided:
            self.breaker.succeeded()
        return done

    def _items(self, batch: _Batch, inputs: Sequence[Input]) -> Iterator[Item]:
        """Yield one item per input, checked to be as many."""
        items = self._logic.decide(batch.ownership.state, inputs, self._context(batch))
        return iter(zip_strict(items, inputs))

    def _held(self) -> Any:
        return seal(OutcomeKind.HELD, self._route.stage, Fate.BREAKER_OPEN)

    async def _single(self, batch: _Batch, each: Input) -> None:
        """Retry one input in place, with backoff and jitter, within its budget."""
        if each.fate is not None:
            self._add(batch, each, Draft(outcome=each.fate), 0)
            return
        limit = self._settings.stages.of(self._route.stage).retries
        error, retries = batch.failure, 0
        for attempt in range(1, limit + 1):
            if not self._in_budget(batch, each) or not self.breaker.allows():
                break
            pause_s = self._settings.backoff_base_ms / 1000 * 2 ** (attempt - 1)
            await asyncio.sleep(min(_MOST_BACKOFF_S, pause_s) * self._jitter.uniform(0.5, 1.0))
            retries = attempt
            try:
                item = next(iter(self._items(batch, [each])))
            except Exception as failure:  # noqa: BLE001  # a policy may fail in any way
                error = failure
                self.breaker.failed()
                continue
            self.breaker.succeeded()
            batch.retries += attempt
            self._add(batch, each, item, attempt)
            return
        detail = f"after {retries} of {limit} retries: {spelled(error)}"
        fate = seal(OutcomeKind.DEAD_LETTERED, self._route.stage, Fate.POLICY_FAILED, detail=detail)
        batch.retries += retries
        self._add(batch, each, Draft(outcome=fate), retries)

    def _in_budget(self, batch: _Batch, each: Input) -> bool:
        if self._settings.clock == "event":
            return True
        spent_us = self._host.clock.now_us() - batch.started
        budget_us = self._settings.scaled_budget_ms(self._route.stage) * 1000
        envelope = getattr(each.packet, "envelope", None)
        deadline = envelope.deadline if envelope is not None else batch.started + budget_us
        return spent_us < budget_us and batch.started + spent_us < deadline

    # -- recording -----------------------------------------------------------------------------

    def _add(
        self, batch: _Batch, each: Input, item: Item, retries: int, before: Sequence[int] = ()
    ) -> None:
        """Turn an item into a record: encode, check, then fold it into the state.

        Args:
            batch: The records so far.
            each: The input.
            item: What the stage makes of it.
            retries: How often it was tried again.
            before: Offsets of the inputs before it that the record stands for as well. They were
                next in line, so where to resume after the record is behind all of them.
        """
        ownership = batch.ownership
        where = (each.topic, each.partition)
        for offset in before:
            batch.cursors[where].finish(offset)
        position = batch.cursors[where].finish(each.offset)
        if item is not None:
            record, value = self._record(batch, each, item, retries, position)
            try:
                ownership.advance(self._logic, record)
            except Exception as error:
                # The state may be half changed: no retry may see it.
                raise _Bug(
                    f"Expected {self._route.stage} to fold its record, was: {error!r}"
                ) from error
            if self._signer and (headers := self._signer.headers(record, value)):
                batch.headers[len(batch.records)] = headers
            batch.records.append((_key(record, each), value))
            self._note_dead(batch, each, record)
        ownership.positions[where].fold(each.offset, position)

    def _record(
        self, batch: _Batch, each: Input, item: Draft | Note, retries: int, position: Any
    ) -> tuple[Struct, bytes]:
        ownership = batch.ownership
        journal = self._writer.journal(
            each, ownership.sequence + 1, ownership.epoch, position, batch.control
        )
        finished = max(self._host.clock.now_us(), batch.started)
        started = batch.started
        if self._settings.clock == "event":
            started = finished = each.now
        return self._writer.written(each, item, journal, retries, started, finished)

    def _note_dead(self, batch: _Batch, each: Input, record: Any) -> None:
        envelope: Envelope | None = getattr(record, "envelope", None)
        if envelope is None:
            return
        outcome = envelope.outcome
        if (
            outcome is not None
            and outcome.kind is OutcomeKind.DEAD_LETTERED
            and outcome.stage == self._route.stage
        ):
            letter = dead_letter(each, envelope, outcome, self._route.spec.group)
            batch.dead.append(letter)

    async def _write(self, batch: _Batch) -> None:
        if batch.dead:
            by_topic: dict[str, list[Any]] = {}
            for topic, *rest in batch.dead:
                by_topic.setdefault(topic, []).append(tuple(rest))
            for topic, letters in by_topic.items():
                await self._host.produce_confirmed(topic, letters)
        if batch.records:
            self._host.write(batch.ownership, batch.records, batch.headers)


class _Bug(Exception):
    """A stage that breaks its contract; no retry mends that."""


def zip_strict(items: Iterator[Item], inputs: Sequence[Input]) -> Iterator[Item]:
    """Yield the items of a stage, checked to be one per input."""
    count = 0
    for item in items:
        count += 1
        if count > len(inputs):
            raise _Bug(f"Expected {len(inputs)} drafts, was more")
        yield item
    if count != len(inputs):
        raise _Bug(f"Expected {len(inputs)} drafts, was {count}")


def _urgent(inputs: Sequence[Input]) -> int:
    """Return how many inputs there are up to the last urgent packet; none where there is none."""
    found = 0
    for index, each in enumerate(inputs):
        envelope: Envelope | None = getattr(each.packet, "envelope", None)
        if envelope is not None and is_urgent(envelope.priority):
            found = index + 1
        elif envelope is not None or each.packet is None:
            break  # in order of priority: what is before is more urgent still
    return found


def _flow_of(each: Input) -> str:
    envelope = getattr(each.packet, "envelope", None)
    return "" if envelope is None else str(envelope.flow_id)


def _key(record: Any, each: Input) -> bytes | None:
    """Return the record's key: the symbol of a packet, the account of a portfolio update."""
    envelope = getattr(record, "envelope", None)
    if envelope is not None:
        return str(envelope.symbol).encode()
    account = getattr(record, "account", None)
    return each.key if account is None else str(account).encode()
