"""Reads the ends of flows along, in a consumer group of its own, on a thread of its own."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.errors import BrokerUnavailable, ForeignRecord, PoisonError, UsageError
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.packets.models import ExecutionPlan
from pipeline.settings import Settings
from pipeline.transport.clients import offset_of, partition_of, watermarks
from pipeline.watch.observations import FlowEnd
from pipeline.watch.reading import MidLogReader

__all__ = ["ENDS", "FlowSource", "KafkaFlows", "Start", "Take", "monitor_group"]

_logger = logging.getLogger(__name__)

Start = Literal["latest", "earliest"] | datetime

ENDS: Final = "cascade.execution"
"""Topic with one record for each packet, which carries the packet's whole trace."""

_POLL_S = 0.2
_BATCH = 500
_ASK_S = 5.0
_AGAIN_S = 0.5
_COMMIT_S = 5.0


Take = Callable[[Sequence[FlowEnd]], None]
"""Takes the ends that arrived together, in the order of their log."""


class FlowSource(Protocol):
    """Where ends of flows come from."""

    @property
    def connected(self) -> bool:
        """Whether its positions are fixed, and records are being read."""
        ...

    @property
    def undecodable(self) -> int:
        """Records that could not be read."""
        ...

    def start(self, take: Take) -> None:
        """Begin, without waiting for anything."""
        ...

    def ready(self, timeout_s: float) -> None:
        """Wait until what ended before is taken, and nothing that ends from then on is missed."""
        ...

    def close(self) -> None:
        """End it."""
        ...


def monitor_group() -> str:
    """Return a consumer group for one monitor: it sees everything, whoever else looks on."""
    return f"cascade.monitor.{uuid.uuid4().hex[:12]}"


class KafkaFlows:
    """Reads the execution log in a group of its own.

    Fetches are few and large: who watches shares cores and broker with what is watched.

    Args:
        connect: Returns settings with a broker, or raises `BrokerUnavailable`; tried again until
            it returns.
        group: Consumer group, without namespace. With a name, what was read is committed, the next
            reader of the group goes on from there, and several share the partitions. None: a group
            of this reader alone, which commits nothing.
        start: Where to begin without a committed position: `latest`, `earliest`, or a moment.
    """

    def __init__(
        self,
        connect: Callable[[], Settings],
        *,
        group: str | None = None,
        start: Start = "latest",
    ) -> None:
        if isinstance(start, datetime) and start.tzinfo is None:
            raise ValueError(f"Expected a moment with a time zone, was {start.isoformat()}")
        self._connect = connect
        self._group = group
        self._from = start
        self._take: Take = _nothing
        self._rules: dict[int, MidLogReader] = {}
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._ready: Future[None] = Future()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.connected = False
        self.undecodable = 0

    def start(self, take: Take) -> None:
        """Begin, without waiting for anything.

        Args:
            take: Called on the reader's own thread; what it raises is logged.
        """
        self._take = take
        self._thread = threading.Thread(target=self._run, name="monitor-reader", daemon=True)
        self._thread.start()

    def ready(self, timeout_s: float) -> None:
        """Wait until nothing that ends from then on is missed, and what it began with is taken.

        Raises:
            BrokerUnavailable: If that is not within `timeout_s`; it goes on trying.
        """
        try:
            self._ready.result(timeout_s)
        except FutureTimeout as error:
            raise BrokerUnavailable(
                f"Expected {ENDS} to be read up to its end within {timeout_s:g} s, was not. See"
                " whether the broker answers and the topics are there (`cascade topics apply`)."
            ) from error

    def close(self) -> None:
        """End it; nothing is handed over any more when this returns."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read_on(self._connect())
            except BrokerUnavailable as error:
                _logger.debug("monitor has no broker: %s", error)
            except UsageError as error:
                _logger.debug("monitor reads no more: %s", error)
                break
            except KafkaException as error:
                _logger.warning("monitor lost its connection: %s", error)
            except Exception:
                _logger.exception("monitor failed to read; it begins anew")
            self.connected = False
            self._stopping.wait(_AGAIN_S)

    def _read_on(self, settings: Settings) -> None:
        consumer = Consumer(self._properties(settings), logger=ClientLog(_logger))
        try:
            consumer.subscribe(
                [settings.topic(ENDS)], on_assign=self._assigned, on_revoke=self._revoked
            )
            committed_s = time.monotonic()
            while not self._stopping.is_set():
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
                TopicPartition(each.topic, each.partition, self._next[each.partition])
                for each in consumer.assignment()
            ]
            if positions:
                consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            _logger.debug("monitor could not commit: %s", error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Fix where to begin: what comes later must not be missed, even before the first fetch."""
        committed = self._committed(consumer, partitions)
        for each in partitions:
            read = self._next.get(each.partition, -1)
            each.offset = max(read, committed.get(each.partition, -1))
            if each.offset < 0:
                each.offset = self._first(consumer, each)
            if each.offset != read:  # another reader of the group went on meanwhile
                self._rules.pop(each.partition, None)
            self._next[each.partition] = each.offset
            self._ends[each.partition] = self._bounds(consumer, each)[1]
        consumer.assign(partitions)
        self.connected = True

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        del partitions
        self._commit(consumer)
        self.connected = False

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[int, int]:
        if self._group is None:
            return {}
        return {each.partition: each.offset for each in consumer.committed(partitions, _ASK_S)}

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
        if all(self._next[partition] >= end for partition, end in self._ends.items()):
            self._ready.set_result(None)

    def _arrived(self, consumer: Consumer) -> list[FlowEnd]:
        first = consumer.poll(_POLL_S)
        if first is None:
            return []
        return [
            end
            for message in (first, *consumer.consume(_BATCH, 0.0))
            if (end := self._end(message)) is not None
        ]

    def _end(self, message: Message) -> FlowEnd | None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # spelled so
                _logger.warning("records lost to retention: %s", error.str())
            return None
        value, offset, partition = message.value(), offset_of(message), partition_of(message)
        rule = self._rules.setdefault(partition, MidLogReader())
        self._next[partition] = offset + 1
        if is_marker(value):
            rule.marker(offset)
            return None
        try:
            head = journal_head(value)
            if head is None or not rule.accepts(offset, head.epoch, head.sequence):
                return None
            packet = decode(value)
        except (PoisonError, ForeignRecord) as poison:
            self.undecodable += 1
            _logger.warning("record of %s[%d] not counted: %s", ENDS, offset, poison)
            return None
        if not isinstance(packet, ExecutionPlan):
            return None
        return FlowEnd.of(packet, int(message.timestamp()[1]))

    def _hand_over(self, ends: list[FlowEnd]) -> None:
        if not ends:
            return
        try:
            self._take(ends)
        except Exception:
            _logger.exception("monitor could not take %d ends", len(ends))

    def _properties(self, settings: Settings) -> dict[str, Any]:
        name = settings.group(self._group or monitor_group())
        properties: dict[str, Any] = settings.client(
            group_id=name,
            client_id=name,
            partition_assignment_strategy="range",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            # Only where retention took the records that it stood at.
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            isolation_level="read_uncommitted",
            fetch_wait_max_ms=100,
            fetch_min_bytes=100_000,
            queued_max_messages_kbytes=16_384,
            reconnect_backoff_ms=50,
            reconnect_backoff_max_ms=1000,
            topic_metadata_refresh_interval_ms=30_000,
        )
        properties["error_cb"] = _noted
        return properties


def _nothing(ends: Sequence[FlowEnd]) -> None:
    del ends


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
