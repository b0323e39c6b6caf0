"""Reading the audit log of a broker from its start."""

from collections.abc import Iterator

from confluent_kafka import TopicPartition

from pipeline.audit.writing import TOPIC
from pipeline.control.audit_guard import TOPIC as PROGRESS
from pipeline.errors import BrokerUnavailable, PoisonError
from pipeline.packets.codec import decode_as
from pipeline.packets.events import AuditProgress
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, watermarks

__all__ = ["newest_progress", "read_audit_log"]

_TIMEOUT_S = 10.0
_BATCH = 1000
_POLLS = 50


def read_audit_log(settings: Settings) -> Iterator[tuple[int, bytes | None]]:
    """Yield (offset, value) of the audit log, up to the end that it has now.

    Raises:
        BrokerUnavailable: If the broker does not answer, or there is no such topic.
    """
    yield from _read(settings, TOPIC, most=None)


def newest_progress(settings: Settings) -> AuditProgress | None:
    """Return the last word of the auditor; None where there is none.

    It names the newest record of the audit log, so it tells where records of its end are missing.

    Raises:
        BrokerUnavailable: As `read_audit_log`.
    """
    newest = None
    for _, value in _read(settings, PROGRESS, most=100):
        try:
            newest = decode_as(value, AuditProgress)
        except PoisonError:
            continue
    return newest


def _read(settings: Settings, name: str, *, most: int | None) -> Iterator[tuple[int, bytes | None]]:
    topic = settings.topic(name)
    consumer = log_consumer(settings, "cascade.audit.reader", fetch_wait_max_ms=50)
    try:
        low, end = watermarks(consumer, topic, 0, _TIMEOUT_S)
        first = low if most is None else max(low, end - most)
        consumer.assign([TopicPartition(topic, 0, first)])
        offset, idle = first - 1, 0
        while offset < end - 1:
            found = drain(consumer, _BATCH, 0.2)
            idle = 0 if found else idle + 1
            if idle > _POLLS:
                raise BrokerUnavailable(f"Expected {topic} up to {end}, was {offset} and no more")
            for message in found:
                offset = offset_of(message)
                if offset < end:
                    yield offset, message.value()
    finally:
        consumer.close()
