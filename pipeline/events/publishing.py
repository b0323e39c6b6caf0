"""Writing to the cascade's topics, with a future per record."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.access import denial
from pipeline.errors import BrokerUnavailable, ConfigurationError, PipelineError, RecordTooLarge
from pipeline.events.connection import require_topics
from pipeline.kafka_logging import ClientLog
from pipeline.settings import Settings

__all__ = ["PUBLISH_TIMEOUT_S", "Outbox", "RecordPosition"]

_logger = logging.getLogger(__name__)

PUBLISH_TIMEOUT_S = 10.0
"""How long a record is tried; after that the bus has given it up."""

_POLL_S = 0.5
_ABSENT = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)  # noqa: SLF001  # spelled so


class RecordPosition(NamedTuple):
    """Where an acknowledged record stands.

    Attributes:
        topic: Its topic, without namespace.
        partition: Its partition.
        offset: Its offset.
    """

    topic: str
    partition: int
    offset: int


class Outbox:
    """A producer and the thread that serves its delivery reports; thread-safe.

    Idempotent, acks=all, one request in flight: records of one key arrive in the order in which
    they were handed over, each once.

    Args:
        settings: Settings with a broker.
        client: What to call the client.
    """

    def __init__(self, settings: Settings, client: str) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._brokers_up = 1  # somebody has just answered; statistics tell from then on
        self._closing = threading.Event()
        properties = settings.client(
            client_id=settings.group(client),
            acks="all",
            enable_idempotence=True,
            max_in_flight_requests_per_connection=1,
            linger_ms=0,
            # As Java clients choose, and as the publisher of market data does.
            partitioner="murmur2_random",
            allow_auto_create_topics=False,
            message_timeout_ms=int(PUBLISH_TIMEOUT_S * 1000),
            statistics_interval_ms=500,
        )
        self._producer = Producer(
            {**properties, "stats_cb": self._note_statistics, "error_cb": _noted},
            logger=ClientLog(_logger),
        )
        self._thread = threading.Thread(target=self._serve, name=f"{client}-outbox", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a broker is connected, as of half a second ago."""
        return self._brokers_up > 0

    def serves(self, thread: threading.Thread) -> bool:
        """Say whether delivery reports come on this thread, so that it must not wait for any."""
        return thread is self._thread

    def require(self, names: set[str], timeout_s: float) -> None:
        """Check that topics are there; the broker is asked once for each.

        Raises:
            BrokerUnavailable, ConfigurationError: As `require_topics`.
        """
        if new := names - self._known:
            require_topics(self._producer, self._settings, new, time.monotonic() + timeout_s)
            self._known |= new

    def send(
        self, topic: str, key: bytes | None, value: bytes, headers: Mapping[str, bytes] | None
    ) -> "Future[RecordPosition]":
        """Hand a record over.

        The future fails with BrokerUnavailable, ConfigurationError (no such topic), AccessDenied
        or RecordTooLarge. Its callbacks run on the outbox's thread.

        Raises:
            BrokerUnavailable: If too many records wait for the broker.
            RecordTooLarge: If the client already knows.
        """
        future: Future[RecordPosition] = Future()
        future.set_running_or_notify_cancel()  # on its way: nobody can take it back

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                future.set_exception(_mapped(error, topic, self._settings))
            else:
                where = RecordPosition(topic, int(message.partition() or 0), _offset(message))
                future.set_result(where)

        real, listed = self._settings.topic(topic), _listed(headers)
        try:
            self._producer.produce(real, value, key, headers=listed, on_delivery=report)
        except BufferError as error:
            raise BrokerUnavailable(
                f"Expected the broker to take records of {real}, was none taken for so long that"
                " no more can wait"
            ) from error
        except KafkaException as error:
            raise _mapped(error.args[0], topic, self._settings) from error
        return future

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, at most `timeout_s`, and end the thread."""
        self._producer.flush(timeout_s)
        self._closing.set()
        self._producer.purge()
        self._producer.flush(_POLL_S)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)

    def _note_statistics(self, text: str) -> None:
        brokers = json.loads(text).get("brokers", {}).values()
        self._brokers_up = sum(1 for each in brokers if each.get("state") == "UP")


def _listed(headers: Mapping[str, bytes] | None) -> Any:
    return None if headers is None else list(headers.items())  # the stubs take text values only


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset


def _mapped(error: KafkaError, topic: str, settings: Settings) -> PipelineError:
    if refusal := denial(error, "WRITE", settings.topic(topic), settings.principal):
        return refusal
    if error.code() in _ABSENT:
        return ConfigurationError(
            f"Expected topic {topic}, was not there. Create it with `cascade topics apply`."
        )
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLarge(f"Expected a record that {topic} takes, was: {error.str()}")
    return BrokerUnavailable(f"Expected {topic} to take a record, was: {error.str()}")


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
