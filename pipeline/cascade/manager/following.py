"""Following a log from now on, by the reading rule, on a thread of its own.

There is no way into a log without a position of the reading rule (see `pipeline.transport.log`). It
is found as owners find it: the newest snapshot's, else the start of the log. From there to the end
as it was when following began, records are read but not handed over.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, Message, TopicPartition
from msgspec import Struct

from pipeline.errors import BrokerUnavailable, ConfigurationError, PipelineError, PositionLost
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.settings import Settings
from pipeline.transport import snapshots
from pipeline.transport.clients import drain, log_consumer, offset_of, partition_of, watermarks
from pipeline.transport.log import LogReader, Position

__all__ = ["LogFollower", "partitions_of"]

_logger = logging.getLogger(__name__)
_ASK_S = 5.0
_POLL_S = 0.2
_BATCH = 1000
_AGAIN_S = 0.5


class LogFollower:
    """Hands over the records of a log that count, from now on, each once.

    A lost broker is reconnected; after any other failure it finds its way in again and goes on
    where it stood.

    Args:
        settings: Settings with a broker.
        log: The log, without namespace.
        take: Called with each record, on the follower's thread; what it raises is logged.
        client: What to call the client.
    """

    def __init__(
        self, settings: Settings, log: str, take: Callable[[Struct], None], *, client: str
    ) -> None:
        self._settings = settings
        self._log = log
        self._topic = settings.topic(log)
        self._take = take
        self._client = client
        self._next: dict[int, int] = {}
        self._readers: dict[int, LogReader] = {}
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self.error: PipelineError | None = None
        self._thread = threading.Thread(target=self._run, name=f"{client}-follower", daemon=True)

    def start(self, timeout_s: float) -> None:
        """Start; from when this returns no record is missed.

        Raises:
            BrokerUnavailable: If the log cannot be read in time.
            ConfigurationError: If there is no such log.
            PositionLost: If there is no way into it.
        """
        self._thread.start()
        if not self._ready.wait(timeout_s):
            error = self.error
            self.stop()
            raise error or BrokerUnavailable(
                f"Expected to read {self._topic} within {timeout_s:g} s, was not"
            )

    def stop(self) -> None:
        """End it; `take` is not called any more when this returns, unless it is what calls."""
        self._stopping.set()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            consumer = log_consumer(self._settings, self._client)
            try:
                self._follow(consumer)
            except PipelineError as error:
                self.error = error
                _logger.warning("cannot follow %s: %s", self._topic, error)
                self._stopping.wait(_AGAIN_S)
            except Exception as error:
                self.error = PipelineError(f"Expected to follow {self._topic}, was: {error!r}")
                _logger.exception("following %s failed", self._topic)
                self._stopping.wait(_AGAIN_S)
            finally:
                consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        starts = {
            each: self._way_in(consumer, each) for each in partitions_of(consumer, self._topic)
        }
        self._readers = {partition: LogReader(at) for partition, at in starts.items()}
        consumer.assign([TopicPartition(self._topic, p, at.offset) for p, at in starts.items()])
        self.error = None
        self._ready.set()
        while not self._stopping.is_set():
            self._hand_over(drain(consumer, _BATCH, _POLL_S))

    def _way_in(self, consumer: Consumer, partition: int) -> Position:
        low, end = watermarks(consumer, self._topic, partition, _ASK_S)
        self._next.setdefault(partition, end)
        topic = self._settings.topic(f"{self._log}.snapshots")
        found = snapshots.latest(consumer, topic, partition, _ASK_S)
        if found is not None and found[0].log_offset + 1 >= low:
            at = found[0]
            return Position(at.log_offset + 1, at.log_epoch, at.log_sequence)
        if low > 0:
            raise PositionLost(
                f"Expected a snapshot of {self._topic}[{partition}] at or after its first offset"
                f" {low}, was none: nothing tells which records count"
            )
        return Position(0, -1, -1)

    def _hand_over(self, messages: Iterable[Message]) -> None:
        for message in messages:
            partition, offset, value = partition_of(message), offset_of(message), message.value()
            reader = self._readers[partition]
            if is_marker(value):
                reader.marker(offset)
                continue
            head = journal_head(value)
            if head is None or not reader.accepts(offset, head.epoch, head.sequence):
                continue
            if offset < self._next[partition]:
                continue
            self._next[partition] = offset + 1
            record = decode(value)
            try:
                self._take(record)
            except Exception:
                _logger.exception("taking a record of %s failed", self._topic)


def partitions_of(consumer: Consumer, topic: str) -> list[int]:
    """Return the partitions of a topic, by its real name.

    Raises:
        BrokerUnavailable: If the broker does not answer.
        ConfigurationError: If there is no such topic.
    """
    end_s = time.monotonic() + _ASK_S
    while True:
        try:
            found = consumer.list_topics(timeout=_ASK_S).topics.get(topic)
        except Exception as error:
            raise BrokerUnavailable(f"Expected topics from the broker, was: {error}") from error
        if found is not None and found.partitions:
            return sorted(found.partitions)
        if time.monotonic() > end_s or found is None:
            raise ConfigurationError(
                f"Expected topic {topic}, was not there. Create it with `cascade topics apply`."
            )
