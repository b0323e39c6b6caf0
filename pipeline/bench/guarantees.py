"""Hosts without the log protocol, to show what it costs: at-least-once, and a transaction a poll.

They are the same engine, stages, packets, producer and pump; what they leave out is the marker, the
reading rule, reading the own log back, snapshots and recovery. They are no product: a worker that
restarts has an empty state, and the at-least-once one repeats records.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from pipeline.errors import OwnershipLost
from pipeline.keys.signing import Headers
from pipeline.settings import Settings
from pipeline.transport.clients import ROUND_LINGER_MS, group_consumer, watermarks
from pipeline.transport.host import NO_HEADERS, LogHost
from pipeline.transport.journal import Ownership
from pipeline.transport.layout import partition_counts
from pipeline.transport.log import InputPosition, Position
from pipeline.transport.pump import InputPump
from pipeline.transport.rounds import Round, RoundQueue, TopicAndPartition

__all__ = ["AtLeastOnceHost", "TransactionalHost"]

_logger = logging.getLogger(__name__)
_TICK_S = 0.05
_COMMIT_S = 1.0
_TIMEOUT_S = 10.0
_FLUSH_S = 5.0

Positions = dict[TopicAndPartition, int]


class _CommittedPump(InputPump):
    """A pump that reads only what was committed."""

    def __init__(self, settings: Settings, group: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(settings, group, *args, **kwargs)
        self.consumer.close()
        self.consumer = group_consumer(settings, group, isolation_level="read_committed")
        self.metadata: Any = None

    def _assign(self, partitions: list[TopicPartition], generation: int) -> None:
        super()._assign(partitions, generation)
        if partitions:
            # On this thread: the call keeps the interpreter locked, and while another thread
            # polls the consumer it never returns.
            self.metadata = self.consumer.consumer_group_metadata()


class _CommittingRounds(RoundQueue):
    """Gives the next round once the one before it is committed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        round_limit: int,
        commit: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(loop, round_limit)
        self._commit = commit

    async def take(self) -> Round:
        """Return the next round; asked for when the one before it is worked off."""
        await self._commit()
        return await super().take()


class AtLeastOnceHost(LogHost):
    """Owns partitions by the group alone; positions are the group's committed offsets.

    An offset is committed once a second, after the records made from what lies before it were
    acknowledged.
    """

    async def start(
        self,
        *,
        on_assigned: Callable[[Sequence[TopicAndPartition]], None],
        on_revoked: Callable[[Sequence[TopicAndPartition]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """Start the pump; there is no tail."""
        self._make_pump(on_assigned, on_revoked, on_fatal)
        self.note_start()
        self.pump.start()
        self.producer = self._new_producer()
        self._ticking = self.loop.create_task(self._tick())

    def note_start(self) -> None:
        """Forget what was handed over and acknowledged."""
        self._handed = self._acknowledged = 0
        self._unacknowledged: deque[tuple[int, Positions]] = deque()
        self._safe: Positions = {}

    def _new_producer(self) -> Producer:
        properties = self.settings.client(
            client_id=self.settings.group(f"bench.{self.spec.stage}"), acks="all",
            enable_idempotence=True, max_in_flight_requests_per_connection=1,
            linger_ms=ROUND_LINGER_MS, queue_buffering_max_messages=200_000,
        )  # fmt: skip
        return Producer(properties, logger=_logger)

    async def stop(self) -> None:
        """End the pump; what was acknowledged is committed."""
        if self._ticking is None:
            return
        self._ticking.cancel()
        await self.revoked()
        self.pump.stop()
        await asyncio.to_thread(self.pump.join, _TIMEOUT_S)

    def subscribe(self) -> None:
        """Join the group."""
        self.pump.subscribe([self.settings.topic(self.spec.subscribed)])

    async def assigned(self, partitions: Iterable[int]) -> None:
        """Own the partitions at once."""
        wanted = sorted(partitions)
        self.generation += 1
        self.rounds.clear(self.generation)
        positions = await asyncio.to_thread(self._committed, wanted)
        self.owned = {
            each: Ownership(
                each, 0, -1, self.fold.initial(),
                {where: InputPosition(Position(at, -1, -1), set())
                 for where, at in positions[each].items()},
                {}, (-1, -1),
            )
            for each in wanted
        }  # fmt: skip
        starts = {
            (self.settings.topic(topic), partition): at
            for found in positions.values()
            for (topic, partition), at in found.items()
        }
        self.pump.read(starts, self.generation)

    async def revoked(self) -> None:
        """Wait for what was handed over, commit, and own nothing."""
        if self.producer is not None:
            await asyncio.to_thread(self.producer.flush, _FLUSH_S)
        self._commit()
        self.owned = {}
        self.generation += 1
        self.rounds.clear(self.generation)
        self.pump.read({}, self.generation)

    def lose(self, why: str) -> None:
        """End the worker: there is no take-over here."""
        self._on_fatal(OwnershipLost(f"Expected to own {self.spec.log}, was lost: {why}"))

    def write(
        self,
        ownership: Ownership,
        records: Sequence[tuple[bytes | None, bytes]],
        headers: Mapping[int, Headers] = NO_HEADERS,
    ) -> None:
        """Hand records to the producer, and note the positions that they reach."""
        assert self.producer is not None  # noqa: S101  # made at the start
        self._hand_over(self.producer, ownership.partition, records, headers)
        self._handed += len(records)
        self._unacknowledged.append((self._handed, self.resume_offsets()))

    async def read_back(self, ownership: Ownership, sequence: int) -> None:
        """Return at once: nothing is read back."""

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.lose(f"a delivery failed: {error.str()}")
        self._acknowledged += 1

    async def _tick(self) -> None:
        committed = self.loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            assert self.producer is not None  # noqa: S101  # made at the start
            self.producer.poll(0)
            if self.loop.time() - committed > _COMMIT_S:
                committed = self.loop.time()
                self._commit()

    def _commit(self) -> None:
        while self._unacknowledged and self._unacknowledged[0][0] <= self._acknowledged:
            self._safe = self._unacknowledged.popleft()[1]
        if self._safe:
            self.pump.commit(self._safe)
            self._safe = {}

    def _committed(self, partitions: Sequence[int]) -> dict[int, Positions]:
        """Return where each owned partition's inputs resume: committed, else their first offset."""
        consumer = Consumer(
            self.settings.client(group_id=self.settings.group(self.spec.group)), logger=_logger
        )
        try:
            counts = partition_counts(consumer, self.settings, self.spec)
            return {
                each: {
                    where: self._committed_offset(consumer, *where)
                    for where in self.spec.inputs(each, counts)
                }
                for each in partitions
            }
        finally:
            consumer.close()

    def _committed_offset(self, consumer: Consumer, topic: str, partition: int) -> int:
        real = self.settings.topic(topic)
        (found,) = consumer.committed([TopicPartition(real, partition)], timeout=_TIMEOUT_S)
        if found.offset >= 0:
            return int(found.offset)
        return watermarks(consumer, real, partition, _TIMEOUT_S)[0]


class TransactionalHost(AtLeastOnceHost):
    """Wraps each round in a Kafka transaction: its records and its offsets, or neither."""

    _pump_class = _CommittedPump

    def _new_rounds(self) -> RoundQueue:
        return _CommittingRounds(self.loop, self.settings.round_max_records, self._committed_round)

    def _new_producer(self) -> Producer:
        name = self.settings.group(f"bench.{self.spec.stage}")
        properties = self.settings.client(
            client_id=name, transactional_id=name, acks="all", linger_ms=ROUND_LINGER_MS,
            # At the default of 100 ms every transaction meets the end of the one before it and
            # waits that long.
            retry_backoff_ms=2, retry_backoff_max_ms=20,
        )  # fmt: skip
        producer = Producer(properties, logger=_logger)
        producer.init_transactions(_TIMEOUT_S * 3)
        self._open = False
        return producer

    def write(
        self,
        ownership: Ownership,
        records: Sequence[tuple[bytes | None, bytes]],
        headers: Mapping[int, Headers] = NO_HEADERS,
    ) -> None:
        """Hand records to the producer, within the round's transaction."""
        assert self.producer is not None  # noqa: S101  # made at the start
        if not self._open:
            self.producer.begin_transaction()
            self._open = True
        super().write(ownership, records, headers)

    async def _committed_round(self) -> None:
        """End the transaction of the round before, if it wrote anything."""
        if not self._open:
            return
        try:
            await asyncio.to_thread(self._commit_transaction, self.resume_offsets())
        except KafkaException as error:
            self.lose(f"a transaction failed: {error}")
        self._open = False
        self._unacknowledged.clear()

    def _commit_transaction(self, positions: Mapping[TopicAndPartition, int]) -> None:
        assert self.producer is not None  # noqa: S101  # made at the start
        offsets = [TopicPartition(*where, offset) for where, offset in positions.items()]
        assert isinstance(self.pump, _CommittedPump)  # noqa: S101  # made so
        metadata = self.pump.metadata
        self.producer.send_offsets_to_transaction(offsets, metadata, _TIMEOUT_S)
        self.producer.commit_transaction(_TIMEOUT_S)

    def _commit(self) -> None:
        """Do nothing: offsets are committed with the records."""
