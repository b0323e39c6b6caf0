"""Reads topics along, in a consumer group of its own, on a thread of its own."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import Any, Literal, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct

from pipeline.errors import BrokerUnavailable, ForeignRecord, PoisonError, UsageError
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.settings import Settings
from pipeline.transport.clients import offset_of, partition_of, watermarks
from pipeline.watch.reading import MidLogReader

__all__ = ["Entry", "GroupReader", "Start", "TakeEntries"]

_logger = logging.getLogger(__name__)

Start = Literal["latest", "earliest"] | datetime

_POLL_S = 0.2
_BATCH = 500
_ASK_S = 5.0
_AGAIN_S = 0.5
_COMMIT_S = 5.0

Place = tuple[str, int]


class Entry(NamedTuple):
    """A record that counts, or one of which nobody can tell.

    Attributes:
        topic: Name without namespace.
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: When the broker appended it, milliseconds since the Unix epoch.
        packet: What it holds; None where it cannot be read.
        why: Why it cannot be read.
        foreign: Whether no owner of the log can have written it.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    packet: Struct | None
    why: str = ""
    foreign: bool = False


TakeEntries = Callable[[Sequence[Entry]], None]
"""Takes entries that arrived together, those of a partition in order."""


class GroupReader:
    """Reads topics in a group of its own: of logs what counts by the reading rule.

    Fetches are few and large: who watches shares cores and broker with what is watched.

    Args:
        connect: Returns settings with a broker, or raises `BrokerUnavailable`; tried again until
            it returns.
        topics: What to read, without namespace.
        name: Says who reads, in logs and names of threads and groups.
        plain: Those of the topics that are no logs, and have no reading rule.
        group: Consumer group, without namespace. With a name, what was taken is committed, the next
            reader of the group goes on from there, and several share the partitions. None: a group
            of this reader alone, which commits nothing.
        start: Where to begin without a committed position: `latest`, `earliest`, or a moment.
        heads: Logs of which only the reading rule is of interest: what counts there is not handed
            over, what nobody can have written is.

    Attributes:
        connected: Whether its positions are fixed, and records are being read.
        assigned: Whether it has a partition; of a group that shares one topic's only partition,
            one reader has it.
    """

    def __init__(
        self,
        connect: Callable[[], Settings],
        topics: Sequence[str],
        *,
        name: str,
        plain: Collection[str] = (),
        group: str | None = None,
        start: Start = "latest",
        heads: Collection[str] = (),
    ) -> None:
        if isinstance(start, datetime) and start.tzinfo is None:
            raise ValueError(f"Expected a moment with a time zone, was {start.isoformat()}")
        self._connect = connect
        self._topics = tuple(topics)
        self._name = name
        self._plain = frozenset(plain)
        self._heads = frozenset(heads)
        self._group = group
        self._from = start
        self._take: TakeEntries = _nothing
        self._names: dict[str, str] = {}
        self._rules: dict[Place, MidLogReader] = {}
        self._next: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}
        self._ready: Future[None] = Future()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.connected = False
        self.assigned = False

    def start(self, take: TakeEntries) -> None:
        """Begin, or go on after `close`, without waiting for anything.

        Args:
            take: Called on the reader's own thread; what it raises is logged.
        """
        self._take = take
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name=f"{self._name}-reader", daemon=True
        )
        self._thread.start()

    def ready(self, timeout_s: float) -> None:
        """Wait until nothing that arrives from then on is missed, and what it began with is taken.

        Raises:
            BrokerUnavailable: If that is not within `timeout_s`; it goes on trying.
        """
        try:
            self._ready.result(timeout_s)
        except FutureTimeout as error:
            raise BrokerUnavailable(
                f"Expected {', '.join(self._topics)} to be read up to the end within {timeout_s:g}"
                " s, was not. See whether the broker answers and the topics are there (`cascade"
                " topics apply`)."
            ) from error

    def close(self) -> None:
        """End it; nothing is handed over any more when this returns."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self._read_on(self._connect(), stopping)
            except BrokerUnavailable as error:
                _logger.debug("%s has no broker: %s", self._name, error)
            except UsageError as error:
                _logger.debug("%s reads no more: %s", self._name, error)
                break
            except KafkaException as error:
                _logger.warning("%s lost its connection: %s", self._name, error)
            except Exception:
                _logger.exception("%s failed to read; it begins anew", self._name)
            self.connected = self.assigned = False
            stopping.wait(_AGAIN_S)

    def _read_on(self, settings: Settings, stopping: threading.Event) -> None:
        self._names = {settings.topic(each): each for each in self._topics}
        consumer = Consumer(self._properties(settings), logger=ClientLog(_logger))
        try:
            consumer.subscribe(list(self._names), on_assign=self._assigned, on_revoke=self._revoked)
            committed_s = time.monotonic()
            while not stopping.is_set():
                self._hand_over(self._arrived(consumer))
                self._note_progress()
                if self._group is not None and time.monotonic() - committed_s > _COMMIT_S:
                    committed_s = time.monotonic()
                    self._commit(consumer)
        finally:
            self._commit(consumer)
            consumer.close()

    def _commit(self, consumer: Consumer) -> None:
        """Note what was taken, for the next reader of the group."""
        if self._group is None or not self.connected:
            return
        try:
            positions = [
                TopicPartition(each.topic, each.partition, self._next[self._place(each)])
                for each in consumer.assignment()
            ]
            if positions:
                consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            _logger.debug("%s could not commit: %s", self._name, error)

    def _place(self, where: TopicPartition) -> Place:
        return self._names[where.topic], where.partition

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Fix where to begin: what comes later must not be missed, even before the first fetch."""
        committed = self._committed(consumer, partitions)
        for each in partitions:
            place = self._place(each)
            read = self._next.get(place, -1)
            each.offset = max(read, committed.get(place, -1))
            if each.offset < 0:
                each.offset = self._first(consumer, each)
            if each.offset != read:  # another reader of the group went on meanwhile
                self._rules.pop(place, None)
            self._next[place] = each.offset
            self._ends[place] = self._bounds(consumer, each)[1]
        consumer.assign(partitions)
        self.connected, self.assigned = True, bool(partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        del partitions
        self._commit(consumer)
        self.connected = self.assigned = False

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[Place, int]:
        if self._group is None:
            return {}
        return {self._place(each): each.offset for each in consumer.committed(partitions, _ASK_S)}

    def _first(self, consumer: Consumer, where: TopicPartition) -> int:
        low, end = self._bounds(consumer, where)
        if self._from == "earliest":
            return low
        if isinstance(self._from, datetime):
            moment = TopicPartition(
                where.topic, where.partition, int(self._from.timestamp() * 1000)
            )
            (found,) = consumer.offsets_for_times([moment], timeout=_ASK_S)
            return found.offset if found.offset >= 0 else end
        return end

    def _bounds(self, consumer: Consumer, where: TopicPartition) -> tuple[int, int]:
        return watermarks(consumer, where.topic, where.partition, _ASK_S)

    def _note_progress(self) -> None:
        if self._ready.done() or not self.connected:
            return
        if all(self._next[place] >= end for place, end in self._ends.items()):
            self._ready.set_result(None)

    def _arrived(self, consumer: Consumer) -> list[Entry]:
        first = consumer.poll(_POLL_S)
        if first is None:
            return []
        return [
            entry
            for message in (first, *consumer.consume(_BATCH, 0.0))
            if (entry := self._entry(message)) is not None
        ]

    def _entry(self, message: Message) -> Entry | None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # spelled so
                _logger.warning("records lost to retention: %s", error.str())
            return None
        topic, partition, offset = (
            self._names[str(message.topic())],
            partition_of(message),
            offset_of(message),
        )
        self._next[topic, partition] = offset + 1
        appended_ms = int(message.timestamp()[1])
        try:
            counts = self._counts((topic, partition), offset, message.value())
            if not counts or topic in self._heads:
                return None
            return Entry(topic, partition, offset, appended_ms, decode(message.value()))
        except (PoisonError, ForeignRecord) as poison:
            _logger.warning("record of %s[%d]@%d not read: %s", topic, partition, offset, poison)
            foreign = isinstance(poison, ForeignRecord)
            return Entry(topic, partition, offset, appended_ms, None, poison.message, foreign)

    def _counts(self, place: Place, offset: int, value: bytes | None) -> bool:
        """Say whether an entry counts by the reading rule; without one all do.

        Raises:
            ForeignRecord: If its topic's owners cannot have written it.
        """
        if place[0] in self._plain:
            return True
        rule = self._rules.setdefault(place, MidLogReader())
        if is_marker(value):
            rule.marker(offset)
            return False
        head = journal_head(value)
        if head is None:
            raise ForeignRecord("Expected a record of the log, was something else", offset=offset)
        return rule.accepts(offset, head.epoch, head.sequence)

    def _hand_over(self, entries: list[Entry]) -> None:
        if not entries:
            return
        try:
            self._take(entries)
        except Exception:
            _logger.exception("%s could not take %d entries", self._name, len(entries))

    def _properties(self, settings: Settings) -> dict[str, Any]:
        group = settings.group(self._group or f"cascade.{self._name}.{uuid.uuid4().hex[:12]}")
        properties: dict[str, Any] = settings.client(
            group_id=group,
            client_id=group,
            partition_assignment_strategy="range",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            # Only where retention took the records that it stood at.
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            isolation_level="read_uncommitted",
            fetch_wait_max_ms=250,
            fetch_min_bytes=100_000,
            queued_max_messages_kbytes=16_384,
            topic_metadata_refresh_interval_ms=30_000,
        )
        properties["error_cb"] = _noted
        return properties


def _nothing(entries: Sequence[Entry]) -> None:
    del entries


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
