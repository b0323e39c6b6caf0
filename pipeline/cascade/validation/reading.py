"""Reading the newest records of topics by plain assignment."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.windows import STAGE_LOGS, Logs, LogWindow, PartitionWindow
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, partition_of, watermarks

__all__ = ["LogTails"]

_TIMEOUT_S = 10.0
_READ_S = 30.0
_BATCH = 5000
_POLL_S = 0.2
# Whoever looks on shares the cores with what it looks at: few, large fetches.
_FETCH = {"fetch_wait_max_ms": 50, "fetch_min_bytes": 1, "queued_min_messages": 1000}

Place = tuple[str, int]


class LogTails:
    """Reads the newest records of the ingest topic and of all logs.

    Args:
        settings: Broker and namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None

    def read(self, newest: int) -> Logs:
        """Return the newest records.

        Ends are asked for downstream first, so that what a record was made from is in the windows
        above it.

        Args:
            newest: How many entries of each partition.

        Raises:
            BrokerUnavailable: If they cannot be read in time.
            ConfigurationError: If a topic is missing.
        """
        consumer = self._opened()
        spans = self._spans(consumer, newest)
        entries = self._entries(consumer, spans)
        topics: dict[str, dict[int, PartitionWindow]] = {}
        for (topic, partition), (start, _) in spans.items():
            found = entries[topic, partition]
            window = PartitionWindow(start, start == 0, found)
            topics.setdefault(topic, {})[partition] = window
        return Logs(
            {
                name: LogWindow(name, window, is_log=name not in INGEST_TOPICS)
                for name, window in topics.items()
            }
        )

    def counts_before(self, moment_us: int) -> int:
        """Return how many packets stood in the ingest topics at a moment.

        Args:
            moment_us: Microseconds since the Unix epoch, UTC.

        Raises:
            BrokerUnavailable, ConfigurationError: As `read`.
        """
        consumer = self._opened()
        asked = [
            TopicPartition(self._settings.topic(topic), each, moment_us // 1000)
            for topic, partitions in self._partitions(consumer, INGEST_TOPICS).items()
            for each in partitions
        ]
        try:
            found = consumer.offsets_for_times(asked, timeout=_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerUnavailable(f"Expected offsets by time, was: {error}") from error
        return sum(
            each.offset
            if each.offset >= 0
            else watermarks(consumer, each.topic, each.partition, _TIMEOUT_S)[1]
            for each in found
        )

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _opened(self) -> Consumer:
        if self._consumer is None:
            self._consumer = log_consumer(self._settings, "validation", **_FETCH)
        return self._consumer

    def _partitions(self, consumer: Consumer, topics: Sequence[str]) -> Mapping[str, list[int]]:
        try:
            known = consumer.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected topics of the broker at {self._settings.broker}, was: {error}"
            ) from error
        reals = {name: self._settings.topic(name) for name in topics}
        if absent := [real for real in reals.values() if real not in known]:
            raise ConfigurationError(
                f"Expected topics {', '.join(absent)}, was not there. Create them with"
                " `cascade topics apply`."
            )
        return {name: sorted(known[real].partitions) for name, real in reals.items()}

    def _spans(self, consumer: Consumer, newest: int) -> dict[Place, tuple[int, int]]:
        """Return (first, end) offset to read of each partition."""
        spans = {}
        order = (*reversed(STAGE_LOGS), *INGEST_TOPICS)
        for topic, partitions in self._partitions(consumer, order).items():
            for partition in partitions:
                real = self._settings.topic(topic)
                low, end = watermarks(consumer, real, partition, _TIMEOUT_S)
                spans[topic, partition] = (max(low, end - newest), end)
        return spans

    def _entries(
        self, consumer: Consumer, spans: Mapping[Place, tuple[int, int]]
    ) -> Mapping[Place, list[tuple[int, bytes | None]]]:
        left = {place: end for place, (start, end) in spans.items() if end > start}
        entries: dict[Place, list[tuple[int, bytes | None]]] = {place: [] for place in spans}
        until_s = time.monotonic() + _READ_S
        consumer.assign(
            [
                TopicPartition(self._settings.topic(topic), partition, spans[topic, partition][0])
                for topic, partition in left
            ]
        )
        try:
            while left:
                for message in drain(consumer, _BATCH, _POLL_S):
                    self._take(message, spans, entries, left)
                if time.monotonic() > until_s:
                    raise BrokerUnavailable(
                        f"Expected {sorted(left)} to be read in {_READ_S:g} s, was not"
                    )
        finally:
            consumer.unassign()
        return entries

    def _take(
        self,
        message: Message,
        spans: Mapping[Place, tuple[int, int]],
        entries: Mapping[Place, list[tuple[int, bytes | None]]],
        left: dict[Place, int],
    ) -> None:
        place = (self._settings.plain_topic(str(message.topic())), partition_of(message))
        offset = offset_of(message)
        # What was fetched before the last `unassign` may still come.
        start, end = spans.get(place, (0, 0))
        if start <= offset < end and place in left:
            value = message.value()
            entries[place].append((offset, value if isinstance(value, bytes) else None))
            if offset + 1 == end:
                del left[place]
