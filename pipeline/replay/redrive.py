"""Sending dead letters into the cascade again, and discarding them.

A log has one writer, so a record that a later stage gave up is not put back where it lay: its flow
is traced by its journal to the record of market data that it began with, and that is sent again to
the ingest topic, bytes, key and partition unchanged. So everything is checked anew. A deadline that
has passed has passed, a flow that was decided is a duplicate, and a halt is a halt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.clock import Clock
from pipeline.errors import BrokerUnavailable, PoisonError, UsageError
from pipeline.packets.codec import decode
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.replay.dead_letters import Coordinates, DeadRecord
from pipeline.settings import Settings
from pipeline.stages.dispositions import Disposition, DispositionKind
from pipeline.transport.clients import drain, log_consumer, offset_of, watermarks

__all__ = ["MOST_ATTEMPTS", "Origin", "Redrive", "Redriver", "refusal"]

MOST_ATTEMPTS = 3
_PREFIX = "__cascade.replay."
_FILLS = "cascade.fills"
_TIMEOUT_S = 10.0
_MAX_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Origin:
    """The record of market data that a dead letter's flow began with.

    Attributes:
        place: Where it stands.
        key: Its key, unchanged.
        value: Its value, unchanged.
    """

    place: Coordinates
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Redrive:
    """What is to be done about one dead letter.

    Attributes:
        record: The letter.
        origin: What is sent again; None where nothing can be.
        refusal: Why nothing is sent; empty where something is.
    """

    record: DeadRecord
    origin: Origin | None
    refusal: str = ""


def refusal(record: DeadRecord, most_attempts: int = MOST_ATTEMPTS) -> str:
    """Return why a letter is not to be sent again, by what is known of it; empty if it may be."""
    if record.discarded:
        return "it was discarded"
    if record.attempts >= most_attempts:
        return f"it was replayed {record.attempts} times, the most is {most_attempts}"
    if record.letter.topic == _FILLS:
        return "a fill is the venue's word, not ours to repeat: reconcile the account instead"
    return ""


class Redriver:
    """Sends dead letters again, or discards them; close it at the end.

    Args:
        settings: Broker and namespace.
        clock: Says when something was done.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._consumer = log_consumer(settings, "dlq-origin")
        properties = settings.client(
            client_id=settings.group("dlq"), acks="all", enable_idempotence=True, linger_ms=0,
            allow_auto_create_topics=False, message_max_bytes=_MAX_BYTES,
            delivery_timeout_ms=int(_TIMEOUT_S * 1000),
        )  # fmt: skip
        self._producer = Producer(properties)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def plan(
        self, records: Sequence[DeadRecord], most_attempts: int = MOST_ATTEMPTS
    ) -> list[Redrive]:
        """Return what would be sent for each letter; nothing is written."""
        return [self._plan(record, most_attempts) for record in records]

    def replay(self, redrive: Redrive, author: str, reason: str) -> Coordinates:
        """Send what a plan holds, and note it behind the letter; return where it stands now.

        Sent first and noted then: who is killed in between sends it twice, which is a duplicate
        like any other.

        Raises:
            UsageError: If there is nothing to send.
            BrokerUnavailable: If the broker did not take it.
        """
        origin, record = redrive.origin, redrive.record
        if origin is None:
            raise UsageError(f"Expected {record.coordinates} to be sent again: {redrive.refusal}")
        headers = [
            (f"{_PREFIX}dead_letter", str(record.coordinates).encode()),
            (f"{_PREFIX}source", str(origin.place).encode()),
            (f"{_PREFIX}attempt", str(record.attempts + 1).encode()),
            (f"{_PREFIX}author", author.encode()),
        ]
        topic, partition, _ = origin.place
        offset = self._write(topic, origin.key, origin.value, headers, partition)
        target = Coordinates(topic, partition, offset)
        self._note(record, DispositionKind.REPLAYED, author, reason, str(target))
        return target

    def discard(self, record: DeadRecord, author: str, reason: str) -> None:
        """Note behind a letter that it is dealt with.

        Raises:
            BrokerUnavailable: If the broker did not take it.
        """
        self._note(record, DispositionKind.DISCARDED, author, reason, "")

    def _plan(self, record: DeadRecord, most_attempts: int) -> Redrive:
        if why := refusal(record, most_attempts):
            return Redrive(record, None, why)
        try:
            return Redrive(record, self._origin(record))
        except (PoisonError, UsageError) as error:
            return Redrive(record, None, str(error))

    def _origin(self, record: DeadRecord) -> Origin:
        origin = Origin(record.coordinates, record.key, record.value)
        while origin.place.topic not in INGEST_TOPICS:
            journal = getattr(decode(origin.value), "journal", None)
            if journal is None:
                raise UsageError(f"Expected a record with a journal at {origin.place}, was none")
            place = Coordinates(journal.input_topic, journal.input_partition, journal.input_offset)
            origin = self._read(place)
        return origin

    def _read(self, place: Coordinates) -> Origin:
        real = self._settings.topic(place.topic)
        low, high = watermarks(self._consumer, real, place.partition, _TIMEOUT_S)
        if not low <= place.offset < high:
            raise UsageError(
                f"Expected {place} in the topic, was {low} to {high}: retention has taken it"
            )
        self._consumer.assign([TopicPartition(real, place.partition, place.offset)])
        message = _first(self._consumer, place)
        return Origin(place, _bytes(message.key()), _bytes(message.value()))

    def _note(
        self, record: DeadRecord, kind: DispositionKind, author: str, reason: str, target: str
    ) -> None:
        coordinates = str(record.coordinates)
        noted = Disposition(kind, coordinates, author, reason, self._clock.now_us(), target)
        topic = f"{record.coordinates.topic}.dead"
        self._write(topic, coordinates.encode(), None, noted.headers(), None)

    def _write(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int | None,
    ) -> int:
        reports: list[tuple[KafkaError | None, Message]] = []

        def report(error: KafkaError | None, message: Message) -> None:
            reports.append((error, message))

        place: dict[str, Any] = {} if partition is None else {"partition": partition}
        send: Callable[..., None] = self._producer.produce
        try:
            send(
                self._settings.topic(topic), value, key, headers=headers, on_delivery=report,
                **place,
            )  # fmt: skip
            self._producer.flush(_TIMEOUT_S + 1.0)
        except (KafkaException, BufferError) as error:
            raise BrokerUnavailable(f"Expected {topic} to take a record, was: {error}") from error
        if not reports or reports[0][0] is not None:
            why = reports[0][0].str() if reports and reports[0][0] else "no answer"
            raise BrokerUnavailable(f"Expected {topic} to take a record, was: {why}")
        return offset_of(reports[0][1])


def _first(consumer: Consumer, place: Coordinates) -> Message:
    for _ in range(int(_TIMEOUT_S / 0.2)):
        for message in drain(consumer, 1, 0.2):
            if offset_of(message) == place.offset:
                return message
    raise BrokerUnavailable(f"Expected to read {place} within {_TIMEOUT_S:g} s, was nothing")


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
