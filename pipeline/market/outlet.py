"""Where ingest records go: the seam between the publisher and Kafka."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.broker import probe
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.market.ingest import IngestRecord
from pipeline.packets.lanes import INGEST_TOPIC
from pipeline.settings import Settings

__all__ = ["Delivered", "Delivery", "KafkaOutlet", "Outlet"]

_logger = logging.getLogger(__name__)


class Delivery(NamedTuple):
    """What became of a record.

    Attributes:
        error: Why it failed; empty where it did not.
        partition: Where it lies; -1 where it failed.
        offset: Where it lies; -1 where it failed.
    """

    error: str
    partition: int
    offset: int


Delivered = Callable[[Delivery], None]

_FULL_WAIT_S = 0.05
_CONNECT_S = 10.0


class Outlet(Protocol):
    """Takes ingest records and says what became of each."""

    def send(self, record: IngestRecord, delivered: Delivered) -> None:
        """Hand a record over; `delivered` is called from `serve` or `flush`, once."""
        ...

    def serve(self) -> None:
        """Call back for what has been delivered, without waiting."""
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait for what is under way, and return how many records still are."""
        ...


class KafkaOutlet:
    """The ingest topic of a Kafka broker.

    Idempotent, acks=all, one request in flight and little lingering: what comes in one go, or
    while a request is out, goes into the next, which keeps order and latency and spares the
    broker. Partitions are chosen as Java clients do (`murmur2_random`).

    Args:
        settings: Broker and namespace.

    Raises:
        BrokerUnavailable: If no broker answers within 10 s.
        ConfigurationError: If there is no ingest topic, or no broker is set.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic(INGEST_TOPIC)
        if settings.broker is not None:
            # The producer would tell of a refused connection only by a time-out.
            probe(settings.broker, timeout_s=_CONNECT_S, properties=settings.connection())
        properties = settings.client(
            client_id=settings.group("publisher"),
            acks="all",
            enable_idempotence=True,
            max_in_flight_requests_per_connection=1,
            linger_ms=5,
            partitioner="murmur2_random",
            message_timeout_ms=60_000,
        )
        self._producer = Producer({**properties, "error_cb": _noted}, logger=_logger)
        self._check_topic(settings)

    def send(self, record: IngestRecord, delivered: Delivered) -> None:
        """Hand a record over; waits while the queue is full.

        Raises:
            BrokerUnavailable: If the producer can send no more.
        """

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                delivered(Delivery(error.str(), -1, -1))
            else:
                # The stubs allow None for messages that never went out.
                partition, offset = message.partition(), message.offset()
                delivered(Delivery("", int(partition or 0), int(offset or 0)))

        while True:
            try:
                self._producer.produce(
                    self._topic,
                    record.value,
                    record.key,
                    headers=_headers(record),
                    on_delivery=report,
                )
            except BufferError:
                self._producer.poll(_FULL_WAIT_S)
            except KafkaException as error:
                raise BrokerUnavailable(
                    f"Expected the broker to take a record, was: {error}", topic=INGEST_TOPIC
                ) from error
            else:
                return

    def serve(self) -> None:
        """Call back for what has been delivered, without waiting."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> int:
        """Wait for what is under way, and return how many records still are."""
        return self._producer.flush(timeout_s)

    def _check_topic(self, settings: Settings) -> None:
        try:
            # All topics: a broker may create the one that it is asked for.
            topics = self._producer.list_topics(timeout=_CONNECT_S).topics
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected the topics of the broker at {settings.broker}, was: {error}"
            ) from error
        if self._topic not in topics:
            raise ConfigurationError(
                f"Expected topic {self._topic} at {settings.broker}, was not there. Create it with"
                " `cascade topics apply`."
            )


def _headers(record: IngestRecord) -> Any:
    return record.headers  # typed as tuples of str and bytes, which the stubs take only as Any


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
