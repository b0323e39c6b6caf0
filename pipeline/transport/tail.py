"""The tail: one thread that takes logs over and then reads them along.

Taking over (see `pipeline.transport.log`):

1. Find the newest snapshot; without one, the log must still start at offset 0. First, since a
   snapshot past the own marker would hide the token.
2. Write a marker with a fresh token.
3. Read the log from there until the token comes, folding what counts.
4. Its offset is the epoch. Go on reading: own records are read back, a foreign marker ends the
   ownership.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message, Producer, TopicPartition

from pipeline.clock import Clock
from pipeline.errors import OwnershipLost, PoisonError, PositionLost
from pipeline.packets.codec import decode, decode_as, encode, is_marker, journal_head
from pipeline.packets.models import Marker
from pipeline.settings import Settings
from pipeline.transport import snapshots
from pipeline.transport.clients import (
    drain,
    log_consumer,
    offset_of,
    partition_of,
    watermarks,
)
from pipeline.transport.journal import Fold, LogSpec, Recovered, fold_journal
from pipeline.transport.layout import first_position, partition_counts
from pipeline.transport.log import START, InputPosition, LogReader, Position
from pipeline.transport.rounds import TopicAndPartition

__all__ = ["LogTail", "TailEvents"]

_logger = logging.getLogger(__name__)
_BROKER_TIMEOUT_S = 5.0
_TAKE_OVER_LIMIT_S = 30.0
_BATCH = 1000


@dataclass(frozen=True)
class TailEvents:
    """What the tail tells its owner; called on the tail's thread.

    Attributes:
        read_back: (partition, log sequence, offset) of the newest own records in the log.
        lost: (partition, why) when the ownership ended.
        failed: An error that ended the thread.
    """

    read_back: Callable[[int, int, int], None]
    lost: Callable[[int, str], None]
    failed: Callable[[BaseException], None]


@dataclass(slots=True)
class _Partition:
    """One log partition as the tail reads it."""

    token: str
    reader: LogReader
    state: Any
    positions: dict[TopicAndPartition, InputPosition] = field(default_factory=dict)
    start: int = 0
    epoch: int | None = None
    records: int = 0


class LogTail(threading.Thread):
    """Takes over and reads along the log partitions of one worker."""

    def __init__(
        self,
        settings: Settings,
        spec: LogSpec,
        fold: Fold,
        clock: Clock,
        owner: str,
        build: str,
        events: TailEvents,
        *,
        prompt: bool,
    ) -> None:
        super().__init__(name=f"tail-{spec.stage}", daemon=True)
        self._settings = settings
        self._spec = spec
        self._fold = fold
        self._clock = clock
        self._owner = owner
        self._build = build
        self._events = events
        self._topic = settings.topic(spec.log)
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._partitions: dict[int, _Partition] = {}
        # Where only snapshots wait for read-back, fewer and larger fetches spare both cores.
        fetch = {} if prompt else {"fetch_wait_max_ms": 100, "fetch_min_bytes": 1_000_000}
        self._consumer = log_consumer(settings, f"cascade.{spec.stage}.tail", **fetch)

    def take_over(self, partitions: Sequence[int], producer: Producer) -> "Future[list[Recovered]]":
        """Take the log partitions over; the future fails with OwnershipLost or a FatalError."""
        future: Future[list[Recovered]] = Future()
        self._commands.put(lambda: self._answer(future, partitions, producer))
        return future

    def check_layout(self) -> "Future[dict[str, int]]":
        """Ask for the partition counts of the stage's topics; see `layout.partition_counts`."""
        future: Future[dict[str, int]] = Future()

        def check() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                counts = partition_counts(self._consumer, self._settings, self._spec)
                future.set_result(counts)
            except BaseException as error:  # noqa: BLE001  # handed on
                future.set_exception(error)

        self._commands.put(check)
        return future

    def release(self) -> None:
        """Stop reading all partitions."""
        self._commands.put(self._forget)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._commands.put(lambda: None)

    def run(self) -> None:
        """Work off commands and read along until stopped."""
        try:
            while not self._stopping.is_set():
                self._step()
        except BaseException as error:  # handed on
            _logger.debug("tail failed", exc_info=True)
            self._events.failed(error)
        finally:
            self._consumer.close()

    def _step(self) -> None:
        try:
            command = self._commands.get(timeout=0.0 if self._partitions else 0.1)
        except queue.Empty:
            if self._partitions:
                self._read_along()
        else:
            command()

    def _forget(self) -> None:
        self._partitions = {}
        self._consumer.assign([])

    # -- taking over ---------------------------------------------------------------------------

    def _answer(
        self, future: "Future[list[Recovered]]", partitions: Sequence[int], producer: Producer
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return  # revoked meanwhile; from here on nobody can cancel
        try:
            self._forget()
            future.set_result(self._take_over(partitions, producer))
        except BaseException as error:  # noqa: BLE001  # handed on
            self._forget()
            future.set_exception(error)

    def _take_over(self, partitions: Sequence[int], producer: Producer) -> list[Recovered]:
        deadline = time.monotonic() + _TAKE_OVER_LIMIT_S
        counts = partition_counts(self._consumer, self._settings, self._spec)
        tokens = {partition: secrets.token_hex(16) for partition in partitions}
        found = {  # Step 1
            partition: self._starting_point(partition, token) for partition, token in tokens.items()
        }
        for partition, token in tokens.items():  # Step 2
            self._write_marker(partition, token, producer)
        self._consumer.assign(
            [TopicPartition(self._topic, partition, at.start) for partition, at in found.items()]
        )
        self._partitions = dict(found)
        while any(at.epoch is None for at in found.values()):  # Step 3
            if time.monotonic() > deadline or self._stopping.is_set():
                missing = [p for p, at in found.items() if at.epoch is None]
                raise OwnershipLost(f"Expected markers in {self._topic}, was none in {missing}")
            producer.poll(0)
            for message in drain(self._consumer, _BATCH, 0.05):
                self._recover(message)
        if self._partitions.keys() != found.keys():
            raise OwnershipLost(f"Expected to own {self._topic}, was overtaken by another owner")
        for partition, at in found.items():
            for where in self._spec.inputs(partition, counts):
                if where not in at.positions:
                    at.positions[where] = first_position(
                        self._consumer, self._settings, self._spec, where
                    )
        return [self._recovered(partition, at) for partition, at in found.items()]  # Step 4

    def _write_marker(self, partition: int, token: str, producer: Producer) -> None:
        marker = Marker(
            token, self._spec.stage, partition, self._owner, self._build, self._clock.now_us()
        )
        producer.produce(self._topic, encode(marker), partition=partition)

    def _starting_point(self, partition: int, token: str) -> _Partition:
        low, _ = watermarks(self._consumer, self._topic, partition, _BROKER_TIMEOUT_S)
        topic = self._settings.topic(self._spec.snapshots)
        found = snapshots.latest(self._consumer, topic, partition, _BROKER_TIMEOUT_S)
        if found is not None and found[0].log_offset + 1 >= low:
            return self._from_snapshot(token, *found)
        if low > 0:
            was = "no snapshot" if found is None else f"one at offset {found[0].log_offset}"
            raise PositionLost(
                f"Expected a snapshot of {self._topic}[{partition}] at or after its first offset"
                f" {low}, was {was}. Nothing is reset on its own: restore the log or the snapshot,"
                " or start in a new namespace."
            )
        return _Partition(token, LogReader(START), self._fold.initial())

    def _from_snapshot(self, token: str, head: Any, data: bytes) -> _Partition:
        at = Position(head.log_offset + 1, head.log_epoch, head.log_sequence)
        positions = {
            (each.topic, each.partition): InputPosition(
                Position(each.offset, each.epoch, each.sequence), set(each.done)
            )
            for each in head.cursors
        }
        return _Partition(token, LogReader(at), self._fold.load(data), positions, at.offset)

    def _recover(self, message: Message) -> None:
        at = self._partitions.get(partition_of(message))
        if at is None:
            return
        if at.epoch is not None:
            self._follow(message, at)
            return
        value, offset = message.value(), offset_of(message)
        if is_marker(value):
            at.reader.marker(offset)
            if decode_as(value, Marker).token == at.token:
                at.epoch = offset
            return
        if (head := journal_head(value)) and at.reader.accepts(offset, head.epoch, head.sequence):
            record: Any = decode(value)
            fold_journal(at.positions, record.journal, finished=self._spec.finishes(record))
            self._fold.apply(at.state, record)
            at.records += 1

    @staticmethod
    def _recovered(partition: int, at: _Partition) -> Recovered:
        epoch = -1 if at.epoch is None else at.epoch  # never -1 once its marker came
        state, at.state = at.state, None  # from here on it is the owner's
        return Recovered(partition, epoch, at.reader.sequence, state, at.positions, at.records)

    # -- reading along -------------------------------------------------------------------------

    def _read_along(self) -> None:
        newest: dict[int, tuple[int, int]] = {}
        for message in drain(self._consumer, _BATCH, 0.05):
            at = self._partitions.get(partition_of(message))
            if at is not None and self._follow(message, at):
                newest[partition_of(message)] = (at.reader.sequence, offset_of(message))
        for partition, (sequence, offset) in newest.items():
            self._events.read_back(partition, sequence, offset)

    def _follow(self, message: Message, at: _Partition) -> bool:
        """Return whether the message is an own record, read back."""
        value = message.value()
        offset, partition = offset_of(message), partition_of(message)
        if is_marker(value):
            self._partitions.pop(partition, None)
            self._events.lost(partition, f"a marker at offset {offset} opened a new epoch")
            return False
        try:
            head = journal_head(value)
        except PoisonError:
            return False
        if head is None or head.epoch != at.epoch:
            return False
        if not at.reader.accepts(offset, head.epoch, head.sequence):
            self._partitions.pop(partition, None)
            self._events.lost(partition, f"a hole before log sequence {head.sequence}")
            return False
        return True
