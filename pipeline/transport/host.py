"""The host of a worker's logs: who owns what now, and what happens when that ends.

A worker holds all its log partitions together. Any doubt about one (a foreign marker, a failed
delivery, a record that is not read back in time) ends all: states, queued rounds and producer are
dropped, and while the group still assigns the partitions they are taken over again after a jittered
pause. One path serves start, rebalance and recovery.
"""

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.access import denial
from pipeline.clock import Clock
from pipeline.control.pulse import JOINING, OWNER, STANDBY, TAKING_OVER
from pipeline.errors import (
    BrokerUnavailable,
    OwnershipLost,
    PipelineError,
)
from pipeline.keys.signing import Headers
from pipeline.settings import Settings, build_hash
from pipeline.transport import snapshots
from pipeline.transport.admission import check_rights
from pipeline.transport.clients import log_producer
from pipeline.transport.journal import (
    Fold,
    LogSpec,
    Ownership,
    Recovered,
    cursors_of,
    input_readers,
)
from pipeline.transport.log import Position
from pipeline.transport.pump import InputPump
from pipeline.transport.rounds import Room, RoundQueue, TopicAndPartition
from pipeline.transport.tail import LogTail, TailEvents

__all__ = ["NO_HEADERS", "LogHost"]

_logger = logging.getLogger(__name__)
_TICK_S = 0.05
_COMMIT_S = 1.0
_REVOKE_FLUSH_S = 2.0
# A quiet log needs a young snapshot too, or retention would take the only way into it: a quarter of
# the 168 hours that topics.yaml keeps both.
_RENEW_S = 42 * 3600.0
# The broker's limit decides, not the client's: a dead letter is larger than its original.
_SIDE_MAX_BYTES = 16_000_000
NO_HEADERS: Mapping[int, Headers] = {}
"""The headers of records that have none."""


def _nobody_asked(error: BaseException) -> None:
    _logger.error("fatal before the start: %s", error)


class LogHost:
    """Owns the output-log partitions that the group assigns to this worker.

    Args:
        settings: Settings.
        spec: Topics of the stage.
        fold: Its state.
        clock: Clock.
        prompt: Whether read-back is waited for before effects outside Kafka.
        jitter: Randomness of the pauses before taking over again.

    Attributes:
        admission: Asked on a thread before the group is joined; what it raises ends the worker,
            unless it says that the broker is not to be had just now.
        room: Says how many of the normal lane may go on; see `RoundQueue`.
    """

    _pump_class: type[InputPump] = InputPump

    def __init__(
        self,
        settings: Settings,
        spec: LogSpec,
        fold: Fold,
        clock: Clock,
        *,
        prompt: bool = False,
        jitter: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.spec = spec
        self.clock = clock
        self.fold = fold
        self.owner = f"{socket.gethostname()}-{random.SystemRandom().getrandbits(32):08x}"
        self.build = build_hash(settings, spec.stage)
        self.owned: dict[int, Ownership] = {}
        self.generation = 0
        self.take_overs = 0
        self.admission: Callable[[], None] = partial(check_rights, settings, spec)
        self.room: Room | None = None
        self._prompt = prompt
        self._jitter = jitter or random.Random()
        self._owning: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._lost_because = ""
        self._joined = False
        self._waiting: list[tuple[Ownership, int, asyncio.Future[None]]] = []
        self._pending_snapshots: dict[int, tuple[Position, tuple[Any, ...], bytes]] = {}
        self._on_fatal: Callable[[BaseException], None] = _nobody_asked
        self._ticking: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None
        self._side: Producer | None = None
        self._ready: Producer | None = None
        self._stopping = False
        self.producer: Producer | None = None

    # -- life of the worker --------------------------------------------------------------------

    async def start(
        self,
        *,
        on_assigned: Callable[[Sequence[TopicAndPartition]], None],
        on_revoked: Callable[[Sequence[TopicAndPartition]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """Start the threads. The callbacks for (re)assignment run on the pump's thread."""
        self._make_pump(on_assigned, on_revoked, on_fatal)
        events = TailEvents(
            read_back=self._noted_read_back, lost=self._noted_lost, failed=self._failed
        )
        self.tail = LogTail(
            self.settings, self.spec, self.fold, self.clock, self.owner, self.build, events,
            prompt=self._prompt,
        )  # fmt: skip
        # It takes a producer up to half a second to get its id, which no take-over should wait for.
        self._ready = self._log_producer()
        self.tail.start()
        self.pump.start()
        self._ticking = self.loop.create_task(self._tick())

    def _make_pump(
        self,
        on_assigned: Callable[[Sequence[TopicAndPartition]], None],
        on_revoked: Callable[[Sequence[TopicAndPartition]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._on_fatal = on_fatal
        self.rounds = self._new_rounds()
        self.pump = self._pump_class(
            self.settings, self.spec.group, self.rounds, self.clock,
            # What comes from another stage has been gathered.
            gather_s=self.settings.gather_s if self.spec.first else 0.0,
            priority=self.spec.priority and self.settings.topic(self.spec.priority),
            on_assigned=on_assigned, on_revoked=on_revoked, on_failed=self._failed,
        )  # fmt: skip

    def _new_rounds(self) -> RoundQueue:
        return RoundQueue(self.loop, self.settings.round_max_records, self.room)

    def _failed(self, error: BaseException) -> None:
        """Hand an error that ends the worker from a thread to the loop."""
        self.loop.call_soon_threadsafe(self._on_fatal, error)

    async def stop(self) -> None:
        """Give everything back and end the threads."""
        if self._ticking is None:
            return
        self._stopping = True
        self._ticking.cancel()
        if self._joining is not None:
            self._joining.cancel()
        await self.revoked()
        self.pump.stop()
        self.tail.stop()
        await asyncio.to_thread(self.pump.join, 10.0)
        await asyncio.to_thread(self.tail.join, 10.0)

    def subscribe(self) -> None:
        """Join the group once the topics are seen to be there.

        A group of a topic that does not exist assigns nothing and says nothing.
        """
        self._joining = self.loop.create_task(self._join())

    async def _join(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.admission)
                await asyncio.wrap_future(self.tail.check_layout())
            except BrokerUnavailable as error:
                _logger.warning("broker_unavailable stage=%s why=%s", self.spec.stage, error)
                await asyncio.sleep(self._jitter.uniform(0.5, 1.0))
            except PipelineError as error:
                self._on_fatal(error)
                return
            else:
                self.pump.subscribe([self.settings.topic(self.spec.subscribed)])
                return

    # -- ownership -----------------------------------------------------------------------------

    def polling(self) -> bool:
        """Say whether the inputs are polled, or are about to be."""
        pump = getattr(self, "pump", None)
        return pump is None or pump.is_alive()

    @property
    def standing(self) -> str:
        """How the worker stands in its group; see `pipeline.control.pulse`."""
        if self.owned:
            return OWNER
        if self._owning is not None:
            return TAKING_OVER
        return STANDBY if self._joined else JOINING

    async def assigned(self, partitions: Iterable[int]) -> None:
        """Start owning the log partitions of an assignment, until `revoked`."""
        await self.revoked()
        self._joined = True
        wanted = sorted(partitions)
        if wanted:
            self._owning = asyncio.create_task(self._own(wanted))

    async def revoked(self) -> None:
        """Stop owning: what was decided is handed to the broker for a moment, then dropped."""
        if self._owning is not None:
            self._owning.cancel()
            await asyncio.gather(self._owning, return_exceptions=True)
            self._owning = None
        if self.producer is not None:
            await asyncio.to_thread(self.producer.flush, _REVOKE_FLUSH_S)
        self._drop()

    def lose(self, why: str) -> None:
        """End the ownership because of `why`; it is taken over again while still assigned."""
        if not self._lost.is_set():
            self._lost_because = why
            self._lost.set()
            self.owned = {}  # nothing is written any more, whatever runs before `_drop`

    async def _own(self, partitions: list[int]) -> None:
        while True:
            try:
                await self._take_over(partitions)
                await self._lost.wait()
                why = self._lost_because
                _logger.warning("ownership_lost stage=%s why=%s", self.spec.stage, why)
            except (OwnershipLost, BrokerUnavailable, KafkaException, BufferError) as error:
                _logger.warning("take_over_failed stage=%s why=%s", self.spec.stage, error)
            except PipelineError as error:
                self._on_fatal(error)
                return
            self._drop()
            await asyncio.sleep(self._jitter.uniform(0.05, 0.5))

    async def _take_over(self, partitions: list[int]) -> None:
        self._lost.clear()
        producer = self.producer = self._ready or self._log_producer()
        self._ready = None
        recovered = await asyncio.wrap_future(self.tail.take_over(partitions, producer))
        await asyncio.to_thread(self._side_producer)
        self.generation += 1
        self.rounds.clear(self.generation)
        self.owned = {each.partition: self._ownership(each) for each in recovered}
        self.take_overs += 1
        self.pump.read(self.resume_offsets(), self.generation)
        _logger.info(
            "took_over stage=%s partitions=%s epochs=%s folded=%d",
            self.spec.stage,
            partitions,
            [each.epoch for each in recovered],
            sum(each.records for each in recovered),
        )

    def _drop(self) -> None:
        self.owned = {}
        self.generation += 1
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(OwnershipLost(f"Expected to own {self.spec.log}, was lost"))
        self._waiting.clear()
        self._pending_snapshots.clear()
        self.rounds.clear(self.generation)
        self.pump.read({}, self.generation)
        self.tail.release()
        if self.producer is not None:
            # In-flight requests may still land; they carry an epoch that the next marker ends.
            self.producer.purge(in_queue=True, in_flight=True, blocking=False)
            self.producer.poll(0)
            self.producer = None
        self._ready = None if self._stopping else self._ready or self._log_producer()

    def _log_producer(self) -> Producer:
        return log_producer(self.settings, f"cascade.{self.spec.stage}.log")

    def _ownership(self, found: Recovered) -> Ownership:
        return Ownership(
            found.partition, found.epoch, found.sequence, found.state, found.positions,
            input_readers(self.spec, found.positions), (found.sequence, found.epoch),
            # One snapshot after each take-over, so that even a log of markers only gets one.
            records_since_snapshot=found.records + 1,
        )  # fmt: skip

    def resume_offsets(self) -> dict[TopicAndPartition, int]:
        """Return where each (real topic, partition) is worked off from, its next offset."""
        offsets: dict[TopicAndPartition, int] = {}
        for ownership in self.owned.values():
            for (topic, partition), at in ownership.positions.items():
                where = (self.settings.topic(topic), partition)
                offsets[where] = min(at.position.offset, offsets.get(where, at.position.offset))
        return offsets

    # -- writing -------------------------------------------------------------------------------

    def write(
        self,
        ownership: Ownership,
        records: Sequence[tuple[bytes | None, bytes]],
        headers: Mapping[int, Headers] = NO_HEADERS,
    ) -> None:
        """Hand (key, value) pairs of the log to the producer.

        Their log sequences end at `ownership.sequence`.

        Args:
            ownership: The ownership that they were made under.
            records: The pairs.
            headers: Headers of some of them, by index.

        Raises:
            OwnershipLost: If this ownership has ended, or the producer's queue is full.
        """
        if self.owned.get(ownership.partition) is not ownership or self.producer is None:
            raise OwnershipLost(f"Expected to own {self.spec.log}[{ownership.partition}]")
        if self._hand_over(self.producer, ownership.partition, records, headers) != len(records):
            self.lose("the producer's queue is full")
            raise OwnershipLost("Expected room in the producer's queue, was full")
        ownership.written(len(records))

    def _hand_over(
        self,
        producer: Producer,
        partition: int,
        records: Sequence[tuple[bytes | None, bytes]],
        headers: Mapping[int, Headers],
    ) -> int:
        """Hand records to a producer, and return how many it took."""
        topic = self.settings.topic(self.spec.log)
        if not headers:
            messages = [{"key": key, "value": value} for key, value in records]
            return producer.produce_batch(
                topic, messages, partition=partition, on_delivery=self._delivered
            )
        taken = 0
        with contextlib.suppress(BufferError):
            for key, value in records:  # a batch takes no headers
                producer.produce(
                    topic, value, key, partition=partition, on_delivery=self._delivered,
                    headers=headers.get(taken),
                )  # fmt: skip
                taken += 1
        return taken

    async def produce_confirmed(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None, list[Any]]]
    ) -> None:
        """Write (key, value, headers) to another topic and wait until all are acknowledged.

        Raises:
            OwnershipLost: If the broker did not take them in time.
        """
        confirmed = await asyncio.to_thread(self._produce_confirmed, topic, records)
        if not confirmed:
            self.lose(f"{topic} took no records")
            raise OwnershipLost(f"Expected {topic} to take records, was no acknowledgement")

    def _produce_confirmed(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None, list[Any]]]
    ) -> bool:
        side = self._side_producer()
        failures: list[KafkaError] = []
        waiting = len(records)

        def delivered(error: KafkaError | None, _: Message) -> None:
            nonlocal waiting
            waiting -= 1
            if error is not None:
                failures.append(error)

        for key, value, headers in records:
            side.produce(
                self.settings.topic(topic), value, key, headers=headers, on_delivery=delivered
            )
        side.flush(self.settings.unacked_limit_s)
        return waiting == 0 and not failures

    def _side_producer(self) -> Producer:
        """Return the producer of other topics.

        One of its own, since the log's tells only of failures; made at the first take-over, so
        that the first dead letter holds up nobody.
        """
        if self._side is None:
            properties = self.settings.client(
                client_id=self.settings.group(f"cascade.{self.spec.stage}.side"),
                acks="all", enable_idempotence=True, linger_ms=0,
                message_max_bytes=_SIDE_MAX_BYTES,
                message_timeout_ms=int(self.settings.unacked_limit_s * 1000),
            )  # fmt: skip
            self._side = Producer(properties, logger=_logger)
            with contextlib.suppress(KafkaException):  # only to have met the broker before
                self._side.list_topics(timeout=_REVOKE_FLUSH_S)
        return self._side

    async def read_back(self, ownership: Ownership, sequence: int) -> None:
        """Wait until the log was read back through `sequence` without a foreign marker.

        Raises:
            OwnershipLost: If the ownership ended before.
        """
        if self.owned.get(ownership.partition) is not ownership:
            raise OwnershipLost(f"Expected to own {self.spec.log}[{ownership.partition}]")
        if ownership.read_back[0] >= sequence:
            return
        future: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append((ownership, sequence, future))
        await future

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is None or error.code() == KafkaError._PURGE_QUEUE:  # noqa: SLF001  # spelled so
            return
        self.lose(f"a delivery failed: {error.str()}")
        topic = self.settings.topic(self.spec.log)
        if refusal := denial(error, "WRITE", topic, self.settings.principal):
            self._on_fatal(refusal)  # no take-over mends that

    # -- what the tail tells -------------------------------------------------------------------

    def _noted_read_back(self, partition: int, sequence: int, offset: int) -> None:
        self.loop.call_soon_threadsafe(self._on_read_back, partition, sequence, offset)

    def _on_read_back(self, partition: int, sequence: int, offset: int) -> None:
        ownership = self.owned.get(partition)
        if ownership is None or sequence <= ownership.read_back[0]:
            return
        ownership.read_back = (sequence, offset)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each[0] is ownership and each[1] <= sequence:
                if not each[2].done():
                    each[2].set_result(None)
            else:
                self._waiting.append(each)

    def _noted_lost(self, partition: int, why: str) -> None:
        self.loop.call_soon_threadsafe(self.lose, f"{self.spec.log}[{partition}]: {why}")

    # -- in the background ---------------------------------------------------------------------

    async def _tick(self) -> None:
        committed = self.loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            if self.producer is not None:
                self.producer.poll(0)
            self._watch_age()
            self._snapshot()
            if self.loop.time() - committed > _COMMIT_S:
                committed = self.loop.time()
                self._commit()

    def _watch_age(self) -> None:
        limit = self.settings.unacked_limit_s
        for ownership in self.owned.values():
            if ownership.oldest_unread_s() > limit:
                self.lose(f"a record of {self.spec.log} was not read back within {limit} s")

    def _commit(self) -> None:
        if positions := self.resume_offsets():
            self.pump.commit(positions)

    def _snapshot(self) -> None:
        """Take snapshots that are due, and write those whose position was read back."""
        now = self.loop.time()
        for partition, ownership in self.owned.items():
            pending = self._pending_snapshots.get(partition)
            if pending is None:
                age = now - ownership.snapshot_at
                due = (
                    ownership.records_since_snapshot >= self.settings.snapshot_records
                    or age >= self.settings.snapshot_interval_s
                )
                if due and (ownership.records_since_snapshot or age >= _RENEW_S):
                    self._take_snapshot(partition, ownership)
                    ownership.snapshot_at = now
            elif ownership.read_back[0] >= pending[0].sequence:
                self._write_snapshot(partition, *pending)

    def _take_snapshot(self, partition: int, ownership: Ownership) -> None:
        # Records between the last one read back and this position have lower sequences than the
        # reading rule expects next, so reading may start there.
        at = Position(ownership.read_back[1], ownership.epoch, ownership.sequence)
        data = self.fold.dump(ownership.state)
        self._pending_snapshots[partition] = (at, cursors_of(ownership.positions), data)
        ownership.records_since_snapshot = 0

    def _write_snapshot(
        self, partition: int, at: Position, cursors: tuple[Any, ...], data: bytes
    ) -> None:
        del self._pending_snapshots[partition]
        if self.producer is None:
            return
        parts = snapshots.chunks(self.spec.stage, partition, at, cursors, data, self.clock.now_us())
        topic = self.settings.topic(self.spec.snapshots)
        for part in parts:
            self.producer.produce(topic, part, partition=partition, on_delivery=self._delivered)
