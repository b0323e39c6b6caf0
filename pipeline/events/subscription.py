"""Reading the cascade's topics along, each subscription on a thread of its own."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from msgspec import Struct

from pipeline.errors import BrokerUnavailable, PoisonError
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import decode
from pipeline.settings import Settings
from pipeline.transport.clients import watermarks

__all__ = ["Received", "Start", "Subscription"]

_logger = logging.getLogger(__name__)

Start = Literal["latest", "earliest"] | datetime

_POLL_S = 0.2
_BATCH = 500
_ASK_S = 5.0
_AGAIN_S = 0.1


class Received(NamedTuple):
    """A record that arrived.

    Attributes:
        topic: Its topic, without namespace.
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: Kafka's timestamp, milliseconds since the Unix epoch.
        key: Its key.
        headers: Its headers; of a repeated name the last one.
        packet: The decoded packet.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: Mapping[str, bytes]
    packet: Struct


class Subscription:
    """Hands the records of some topics to a handler, in the order of each partition.

    It joins no group: every subscription gets every record. What cannot be decoded is logged and
    counted; what the handler raises is logged; neither ends it. A lost broker is reconnected, and
    reading goes on where it stood.

    Args:
        settings: Settings with a broker.
        topics: Topics without namespace; they must exist.
        handler: Called for each record, on the subscription's own thread.
        start: `latest`, `earliest`, or the moment from which on to read, aware of its time zone.

    Attributes:
        undecodable: Records that could not be decoded.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        handler: Callable[[Received], None],
        start: Start,
    ) -> None:
        if isinstance(start, datetime) and start.tzinfo is None:
            raise ValueError(f"Expected a moment with a time zone, was {start.isoformat()}")
        self._settings = settings
        self._topics = tuple(topics)
        self._handler = handler
        self._start = start
        self._fixed: Future[None] = Future()
        self._stopping = threading.Event()
        self.undecodable = 0
        self._consumer = Consumer(_properties(settings), logger=ClientLog(_logger))
        name = f"subscription-{self._topics[0] if self._topics else 'none'}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._stopping.is_set()

    def ready(self, timeout_s: float = 10.0) -> Self:
        """Wait until the positions are fixed: nothing published from then on is missed.

        Raises:
            BrokerUnavailable: If they are not within `timeout_s`; it goes on trying.
        """
        try:
            self._fixed.result(timeout_s)
        except FutureTimeout as error:
            raise BrokerUnavailable(
                f"Expected positions in {', '.join(self._topics)} within {timeout_s:g} s, was none"
            ) from error
        return self

    def close(self) -> None:
        """End it; no handler runs when this returns, unless it is the handler that calls."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            if self._fix_positions():
                self._fixed.set_result(None)
            while not self._stopping.is_set():
                for message in self._arrived():
                    self._hand_over(message)
                    if self._stopping.is_set():
                        break
        except Exception:
            # No broker state leads here; a bug must not look like a quiet topic.
            _logger.exception("subscription to %s failed", ", ".join(self._topics))
        finally:
            if not self._fixed.done():
                self._fixed.set_exception(
                    BrokerUnavailable(f"Expected to read {', '.join(self._topics)}, was closed")
                )
            self._consumer.close()

    def _fix_positions(self) -> bool:
        """Find where to start, trying until it works; return whether it did before the end."""
        while not self._stopping.is_set():
            try:
                self._consumer.assign(list(self._positions()))
            except (KafkaException, BrokerUnavailable) as error:
                _logger.debug("no positions yet in %s: %s", self._topics, error)
                self._stopping.wait(_AGAIN_S)
            else:
                return True
        return False

    def _positions(self) -> Iterator[TopicPartition]:
        known = self._consumer.list_topics(timeout=_ASK_S).topics
        for name in self._topics:
            real = self._settings.topic(name)
            found = known.get(real)
            if found is None or not found.partitions:
                raise BrokerUnavailable(f"Expected topic {real}, was not there yet")
            for partition in found.partitions:
                yield TopicPartition(real, partition, self._offset(real, partition))

    def _offset(self, real: str, partition: int) -> int:
        low, end = watermarks(self._consumer, real, partition, _ASK_S)
        if self._start == "earliest":
            return low
        if isinstance(self._start, datetime):
            moment_ms = int(self._start.timestamp() * 1000)
            (found,) = self._consumer.offsets_for_times(
                [TopicPartition(real, partition, moment_ms)], timeout=_ASK_S
            )
            return found.offset if found.offset >= 0 else end
        return end

    def _arrived(self) -> list[Message]:
        first = self._consumer.poll(_POLL_S)
        return [] if first is None else [first, *self._consumer.consume(_BATCH, 0.0)]

    def _hand_over(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  # spelled so
                _logger.warning("records lost to retention: %s", error.str())
            else:
                _logger.debug("kafka consumer: %s", error)
            return
        try:
            received = self._received(message)
        except PoisonError as poison:
            self.undecodable += 1
            _logger.warning("undecodable record: %s", poison)
            return
        try:
            self._handler(received)
        except Exception:
            _logger.exception("handler of %s failed", received.topic)

    def _received(self, message: Message) -> Received:
        value, key = message.value(), message.key()
        topic = self._settings.plain_topic(str(message.topic()))
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        try:
            packet = decode(_bytes(value))
        except PoisonError as poison:
            poison.topic, poison.partition, poison.offset = topic, partition, offset
            raise
        headers: Any = message.headers() or []
        return Received(
            topic, partition, offset, message.timestamp()[1], _bytes(key), dict(headers), packet
        )


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _properties(settings: Settings) -> dict[str, Any]:
    def noted(error: KafkaError) -> None:
        _logger.debug("kafka client: %s", error)

    properties = settings.client(
        client_id=settings.group("events"),
        group_id=settings.group("events-unused"),
        # Only where retention took the records that it stood at.
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        allow_auto_create_topics=False,
        isolation_level="read_uncommitted",
        # A wait ends with the first byte; the default of 500 ms would delay only the end.
        fetch_wait_max_ms=200,
        queued_max_messages_kbytes=8192,
        topic_metadata_refresh_interval_ms=30_000,
    )
    return {**properties, "error_cb": noted}
