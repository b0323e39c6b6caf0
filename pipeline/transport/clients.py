"""Kafka clients as this engine needs them, in one place, each setting with its reason."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.access import denial
from pipeline.errors import BrokerUnavailable, PositionLost
from pipeline.settings import Settings

__all__ = [
    "ROUND_LINGER_MS",
    "drain",
    "group_consumer",
    "log_consumer",
    "log_producer",
    "offset_of",
    "partition_of",
    "watermarks",
]

_logger = logging.getLogger(__name__)

ROUND_LINGER_MS = 0.5
"""Records of one round are handed over within this time, and go in one request.

It costs each hop about 1 ms, since the client waits whole milliseconds. Without it rounds go in
parts, so there are more of them: at 1000 packets/s an eighth more CPU, and twice the p99.
"""

_FETCH: dict[str, Any] = {
    # A wait ends with the first byte, so this costs no latency; short waits cost the broker CPU.
    "fetch_wait_max_ms": 100,
    "fetch_min_bytes": 1,
    # The default of a second is how long a full queue would stall the next fetch.
    "fetch_queue_backoff_ms": 2,
    "queued_min_messages": 2000,
    "queued_max_messages_kbytes": 32_768,
    "auto_offset_reset": "error",
    "enable_auto_commit": False,
    "enable_auto_offset_store": False,
    "enable_partition_eof": False,
    "allow_auto_create_topics": False,
    "isolation_level": "read_uncommitted",
    "topic_metadata_refresh_interval_ms": 30_000,
}


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)


def group_consumer(settings: Settings, group: str, **more: Any) -> Consumer:
    """Return the consumer of a worker's inputs: eager `range` group, positions kept by us."""
    properties = {
        **_FETCH,
        "group_id": settings.group(group),
        "client_id": settings.group(group),
        "session_timeout_ms": settings.session_timeout_ms,
        "heartbeat_interval_ms": settings.heartbeat_interval_ms,
        "partition_assignment_strategy": "range",
        **more,
    }
    if settings.instance:
        properties["group_instance_id"] = settings.group(f"{group}.{settings.instance}")
    return Consumer({**settings.client(**properties), "error_cb": _noted}, logger=_logger)


def log_consumer(settings: Settings, client: str, **more: Any) -> Consumer:
    """Return a consumer that reads logs by plain assignment; it joins no group."""
    properties = {**_FETCH, "group_id": settings.group(f"{client}-unused"), **more}
    properties["client_id"] = settings.group(client)
    return Consumer({**settings.client(**properties), "error_cb": _noted}, logger=_logger)


def log_producer(settings: Settings, client: str) -> Producer:
    """Return a producer for logs: ordered, idempotent, batching by one request in flight.

    Only failed deliveries are reported: what stands in the log is seen by reading it back.
    Messages never time out on their own (`message.timeout.ms=0`); the owner watches their age.
    """
    properties: dict[str, Any] = {
        "client_id": settings.group(client),
        "acks": "all",
        "enable_idempotence": True,
        "max_in_flight_requests_per_connection": 1,
        "linger_ms": ROUND_LINGER_MS,
        "message_timeout_ms": 0,
        "delivery_report_only_error": True,
        "queue_buffering_max_messages": 200_000,
        "message_max_bytes": 1_000_000,
        "retry_backoff_ms": 20,
        "retry_backoff_max_ms": 500,
    }
    return Producer({**settings.client(**properties), "error_cb": _noted}, logger=_logger)


def drain(
    consumer: Consumer, limit: int, timeout_s: float, gather: Callable[[], None] | None = None
) -> list[Message]:
    """Return what has arrived, up to `limit`, waiting at most `timeout_s` for the first message.

    After the first it calls `gather`, which may wait for more to come.

    `consume(n, t)` would wait the whole time for n messages.

    Raises:
        PositionLost: If a position to read from is out of the log's range.
        BrokerUnavailable: If the topic or its data cannot be read for good.
        AccessDenied: If the broker refuses to have it read.
    """
    first = consumer.poll(timeout_s)
    if first is None:
        return []
    if gather is not None:
        gather()
    return list(_valid([first, *consumer.consume(limit - 1, 0.0)] if limit > 1 else [first]))


def _valid(messages: Iterable[Message]) -> Iterable[Message]:
    for message in messages:
        error = message.error()
        if error is None:
            yield message
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001  # spelled so
            raise PositionLost(
                f"Expected the position to be in the log, was: {error.str()}",
                topic=message.topic(),
                partition=message.partition(),
                offset=message.offset(),
            )
        elif error.fatal():
            raise BrokerUnavailable(f"Expected a readable log, was: {error.str()}")
        elif refusal := denial(error, "READ", str(message.topic()), "of this process"):
            raise refusal
        else:
            _logger.debug("kafka consumer: %s", error)


def offset_of(message: Message) -> int:
    """Return the offset of a consumed record, which always has one."""
    return message.offset()  # type: ignore[return-value]  # None only before delivery


def partition_of(message: Message) -> int:
    """Return the partition of a consumed record, which always has one."""
    return message.partition()  # type: ignore[return-value]  # None only before delivery


def watermarks(consumer: Consumer, topic: str, partition: int, timeout_s: float) -> tuple[int, int]:
    """Return (first offset, end offset) of a partition as the broker says now.

    Raises:
        BrokerUnavailable: If it does not answer within `timeout_s`.
    """
    try:
        found = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=timeout_s, cached=False
        )
    except KafkaException as error:
        if refusal := denial(error.args[0], "DESCRIBE", topic, "of this process"):
            raise refusal from error
        raise BrokerUnavailable(
            f"Expected offsets of {topic}[{partition}], was: {error}"
        ) from error
    if found is None:
        raise BrokerUnavailable(
            f"Expected offsets of {topic}[{partition}], was no answer in {timeout_s} s"
        )
    low, high = found
    return int(low), int(high)
