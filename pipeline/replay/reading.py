"""Reading ranges of topics that are in use: plain assignment, no group, nothing committed."""

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaException, Message, TopicPartition

from pipeline.errors import BrokerUnavailable, PositionLost, UsageError
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, partition_of, watermarks

__all__ = ["Entry", "TopicReader"]

_REQUEST_S = 10.0
_QUIET_S = 10.0
_BATCH = 5000
_WINDOW = 2000


class Entry(NamedTuple):
    """One record of a topic.

    Attributes:
        topic: Without namespace.
        partition: Partition.
        offset: Offset.
        timestamp_ms: Kafka's timestamp: when the broker appended it.
        key: Key, unchanged.
        value: Value, unchanged.
        headers: Headers, in their order.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class TopicReader:
    """Reads what it is asked for; a context manager. Topics are named without namespace.

    Args:
        settings: Broker and namespace.
        client: What to call the client.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        settings: Settings,
        client: str = "replay",
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        # The next range waits for the fetch of the last one to come back.
        self._consumer = log_consumer(
            settings, client, queued_min_messages=10_000, fetch_wait_max_ms=10
        )
        self._partitions: dict[str, tuple[int, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> tuple[int, ...]:
        """Return the partitions of a topic.

        Raises:
            BrokerUnavailable: If the broker does not answer.
            UsageError: If there is no such topic.
        """
        if topic not in self._partitions:
            self._partitions = self._found()
        if topic not in self._partitions:
            raise UsageError(
                f"Expected topic {self._settings.topic(topic)}, was not there. Check"
                " CASCADE_NAMESPACE, or run `cascade topics apply`."
            )
        return self._partitions[topic]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return first and end offset of a partition."""
        return watermarks(self._consumer, self._settings.topic(topic), partition, _REQUEST_S)

    def offset_at(self, topic: str, partition: int, time_us: int) -> int:
        """Return the first offset appended at that time or later; the end where none was."""
        low, high = self.bounds(topic, partition)
        # Kafka keeps milliseconds; a time before the epoch would be one of its special values.
        asked = TopicPartition(self._settings.topic(topic), partition, max(0, time_us // 1000))
        try:
            (found,) = self._consumer.offsets_for_times([asked], timeout=_REQUEST_S)
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected the offset of a time in {topic}[{partition}], was: {error}"
            ) from error
        return high if found.offset < 0 else max(low, found.offset)

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Entry]:
        """Yield the records of [start, end), as far as they are still there.

        Raises:
            PositionLost: If the topic no longer holds `start`.
            BrokerUnavailable: If the broker stops to answer.
        """
        at, heard_s = start, self._monotonic()
        real = self._settings.topic(topic)
        if at < end:
            self._consumer.assign([TopicPartition(real, partition, at)])
        while at < end:
            messages = drain(self._consumer, _BATCH, 0.1)
            if messages:
                heard_s = self._monotonic()
            elif self._monotonic() - heard_s > _QUIET_S:
                raise BrokerUnavailable(
                    f"Expected {topic}[{partition}] up to offset {end}, was nothing after {at} for"
                    f" {_QUIET_S:g} s"
                )
            for message in messages:
                at = offset_of(message) + 1
                if at > end:
                    break
                yield _entry(topic, message)

    def backwards(self, topic: str, partition: int, low: int, high: int) -> Iterator[Entry]:
        """Yield the records of [low, high) from the newest to the oldest."""
        size = _WINDOW
        while high > low:
            start = max(low, high - size)
            yield from reversed(list(self.read(topic, partition, start, high)))
            high, size = start, size * 2

    def one(self, topic: str, partition: int, offset: int) -> Entry:
        """Return the record at an offset.

        Raises:
            PositionLost: If it is not there any more, or not yet.
        """
        low, high = self.bounds(topic, partition)
        if low <= offset < high:
            for entry in self.read(topic, partition, offset, offset + 1):
                return entry
        raise PositionLost(
            f"Expected a record between {low} and {high}, was none",
            topic=topic,
            partition=partition,
            offset=offset,
        )

    def _found(self) -> dict[str, tuple[int, ...]]:
        try:
            topics = self._consumer.list_topics(timeout=_REQUEST_S).topics
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected topics from the broker at {self._settings.broker}, was:"
                f" {error.args[0].str()}. Check CASCADE_BROKER and that it runs: `cascade broker"
                " status`."
            ) from error
        prefix = self._settings.topic("")
        return {
            self._settings.plain_topic(real): tuple(sorted(found.partitions))
            for real, found in topics.items()
            if real.startswith(prefix)
        }


def _entry(topic: str, message: Message) -> Entry:
    headers: Sequence[tuple[str, bytes]] = message.headers() or ()  # type: ignore[assignment]
    return Entry(
        topic,
        partition_of(message),
        offset_of(message),
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        tuple(headers),
    )


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
