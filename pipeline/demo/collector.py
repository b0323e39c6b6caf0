"""Reads the execution log and the fills log along, by the reading rule, on a thread of its own."""

import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from msgspec import Struct

from pipeline.errors import BrokerUnavailable, ConfigurationError, PipelineError
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.packets.models import ExecutionPlan, OrderEvent
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer
from pipeline.transport.log import LogReader
from pipeline.watch.observations import FillSeen, FlowEnd

__all__ = ["Collector", "LogFollower"]

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_BATCH = 2000
_POLL_S = 0.2
# The collector shares the cores with what it watches: few, large fetches.
_FETCH: dict[str, Any] = {"fetch_wait_max_ms": 100, "fetch_min_bytes": 100_000}


class LogFollower:
    """Follows whole logs by the reading rule, from their first record.

    Args:
        settings: Broker and namespace.
        take: For each log (name without namespace), what to do with (record, message). Records
            whose bytes do not open as `wanted` says are not decoded.
        wanted: Record types to decode; all where None.
        client: What to call the client.
        prompt: Fetch each record as it comes; otherwise fewer and larger fetches spare both cores.

    Raises:
        BrokerUnavailable, ConfigurationError: If the logs cannot be found.
    """

    def __init__(
        self,
        settings: Settings,
        take: Mapping[str, Callable[[Struct, Message], None]],
        *,
        client: str,
        wanted: Callable[[bytes], bool] | None = None,
        prompt: bool = False,
    ) -> None:
        self._take = {settings.topic(name): handler for name, handler in take.items()}
        self._wanted = wanted
        self._consumer = log_consumer(settings, client, **({} if prompt else _FETCH))
        try:
            partitions = _partitions(self._consumer, list(self._take))
        except BaseException:
            self._consumer.close()
            raise
        self._readers = {where: LogReader() for where in partitions}
        self._consumer.assign([TopicPartition(*where, 0) for where in partitions])

    def poll(self, timeout_s: float) -> int:
        """Take what has arrived, waiting for the first record at most that long; return how many.

        Raises:
            PipelineError: If a log breaks its protocol.
        """
        messages = drain(self._consumer, _BATCH, timeout_s)
        for message in messages:
            self._follow(message)
        return len(messages)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _follow(self, message: Message) -> None:
        topic, offset = str(message.topic()), int(message.offset() or 0)
        reader = self._readers[topic, int(message.partition() or 0)]
        value = message.value()
        if is_marker(value):
            reader.marker(offset)
            return
        head = journal_head(value)
        if head is None or not reader.accepts(offset, head.epoch, head.sequence):
            return
        if self._wanted is None or (value is not None and self._wanted(value)):
            self._take[topic](decode(value), message)


def _partitions(consumer: Consumer, topics: list[str]) -> list[tuple[str, int]]:
    try:
        found = consumer.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise BrokerUnavailable(f"Expected topics from the broker, was: {error}") from error
    if absent := [topic for topic in topics if topic not in found]:
        raise ConfigurationError(
            f"Expected topics {', '.join(absent)}, was not there. Create them with"
            " `cascade topics apply`."
        )
    return [(topic, partition) for topic in topics for partition in found[topic].partitions]


class Collector:
    """Keeps what the execution log and the fills log say; a context manager that stops it.

    Its lists only ever grow, so that another thread may read them up to the length that it saw.

    Args:
        settings: Broker and namespace.

    Attributes:
        ends: Ends of flows, in the order of the execution log.
        fills: What the gateway said, in the order of the fills log.
    """

    def __init__(self, settings: Settings) -> None:
        self.ends: list[FlowEnd] = []
        self.fills: list[FillSeen] = []
        self.error: PipelineError | None = None
        self._follower = LogFollower(
            settings,
            {"cascade.execution": self._take_end, "cascade.fills": self._take_fill},
            client="demo-collector",
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the collector, if anything did."""
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._follower.poll(_POLL_S)
        except PipelineError as error:
            self.error = error
        except Exception as error:
            _logger.exception("collector failed")
            self.error = PipelineError(f"Expected the collector to go on, was: {error!r}")
        finally:
            self._follower.close()

    def _take_end(self, record: Struct, message: Message) -> None:
        if isinstance(record, ExecutionPlan):
            self.ends.extend(FlowEnd.all_of(record, _appended_ms(message)))

    def _take_fill(self, record: Struct, message: Message) -> None:
        if isinstance(record, OrderEvent):
            self.fills.append(FillSeen.of(record, _appended_ms(message)))


def _appended_ms(message: Message) -> int:
    return int(message.timestamp()[1])
