"""Reading the audited topics by plain assignment, from the places that the audit log names."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.audit.content import Headers, Place, Places
from pipeline.audit.security import CONTROL, DEAD, SECURITY
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.kafka_logging import ClientLog
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.windows import STAGE_LOGS
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, partition_of

__all__ = ["AUDITED", "AuditSource", "RangeReader", "RawRecord", "range_reader"]

_logger = logging.getLogger(__name__)

AUDITED: Final = (
    *INGEST_TOPICS,
    *STAGE_LOGS,
    CONTROL,
    SECURITY,
    *(f"{topic}{DEAD}" for topic in (*INGEST_TOPICS, *STAGE_LOGS)),
)
"""Topics whose every record is in the audit log, by digest."""

_BATCH = 1000
_TIMEOUT_S = 5.0
_POLL_S = 0.2
_SILENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it stands in Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class AuditSource:
    """Reads the audited topics of a namespace; used by one thread.

    Between two readings it rests, without a fetch that waits at the broker: on each record that a
    partition takes, the broker looks at all fetches that wait for more of it, before the fetch of
    the stage that the record is for.

    Args:
        settings: Settings with a broker.
        topics: Topics without namespace.
    """

    def __init__(self, settings: Settings, topics: Sequence[str] = AUDITED) -> None:
        self._settings = settings
        self._names = {settings.topic(each): each for each in topics}
        self._known: list[TopicPartition] = []
        self._assigned: list[TopicPartition] = []
        self._consumer = log_consumer(
            settings, "cascade.audit", fetch_wait_max_ms=20, queued_max_messages_kbytes=16_384
        )
        properties: dict[str, Any] = settings.client(client_id=settings.group("auditor-offsets"))
        self._admin = AdminClient(properties, logger=ClientLog(_logger))

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def bounds(self) -> tuple[Mapping[tuple[str, int], int], Mapping[tuple[str, int], int]]:
        """Return (first, end) offsets of all partitions, as the broker says now.

        Raises:
            BrokerUnavailable: If it does not answer.
            ConfigurationError: If a topic is not there.
        """
        return self._offsets(OffsetSpec.earliest()), self.ends()  # type: ignore[no-untyped-call]

    def ends(self) -> Mapping[tuple[str, int], int]:
        """Return the end offset of each partition; raises as `bounds`."""
        return self._offsets(OffsetSpec.latest())  # type: ignore[no-untyped-call]  # no types

    def assign(self, places: Places) -> None:
        """Read on from these places."""
        self._assigned = [
            TopicPartition(self._settings.topic(topic), partition, place.offset)
            for (topic, partition), place in places.items()
        ]
        self._consumer.assign(self._assigned)

    def rest(self) -> None:
        """Fetch nothing until `resume`; `read` returns nothing meanwhile."""
        self._consumer.pause(self._assigned)

    def resume(self) -> None:
        """Read on where it was."""
        self._consumer.resume(self._assigned)

    def read(self, timeout_s: float) -> list[RawRecord]:
        """Return what has arrived, waiting at most so long for the first record.

        Raises:
            PositionLost: If retention took what was to be read.
        """
        return [self._raw(each) for each in drain(self._consumer, _BATCH, timeout_s)]

    def start_places(self, known: Places) -> dict[tuple[str, int], Place]:
        """Return where to read each partition: as known, else from its first record."""
        first, _ = self.bounds()
        return {where: known.get(where) or Place(offset) for where, offset in first.items()}

    def _raw(self, message: Message) -> RawRecord:
        key: Any = message.key()
        value: Any = message.value()
        headers: Any = message.headers() or ()
        return RawRecord(
            self._names[str(message.topic())], partition_of(message), offset_of(message),
            int(message.timestamp()[1]), key, value, tuple((str(n), v) for n, v in headers),
        )  # fmt: skip

    def _offsets(self, spec: Any) -> Mapping[tuple[str, int], int]:
        try:
            asked = dict.fromkeys(self._partitions(), spec)
            futures = self._admin.list_offsets(asked, request_timeout=_TIMEOUT_S)
            return {
                (self._names[where.topic], where.partition): int(
                    future.result(_TIMEOUT_S + 1.0).offset
                )
                for where, future in futures.items()
            }
        except KafkaException as error:
            raise BrokerUnavailable(f"Expected offsets of the broker, was: {error}") from error

    def _partitions(self) -> list[TopicPartition]:
        if not self._known:
            found = self._admin.list_topics(timeout=_TIMEOUT_S).topics
            if missing := sorted(self._names.keys() - found.keys()):
                raise ConfigurationError(
                    f"Expected the topics {', '.join(missing)}, were none. `cascade topics apply`"
                    " creates them."
                )
            self._known = [
                TopicPartition(topic, partition)
                for topic in self._names
                for partition in found[topic].partitions
            ]
        return self._known


def range_reader(settings: Settings) -> tuple[Mapping[tuple[str, int], int], "RangeReader"]:
    """Return the first offset of each audited partition, and a reader of ranges.

    Raises:
        BrokerUnavailable: If the broker does not answer.
        ConfigurationError: If a topic is not there.
    """
    source = AuditSource(settings)
    first, ends = source.bounds()
    return first, RangeReader(source, ends)


class RangeReader:
    """Reads ranges of the audited topics as they stand now.

    Args:
        source: Reads them.
        ends: End offset of each partition.
    """

    def __init__(self, source: AuditSource, ends: Mapping[tuple[str, int], int]) -> None:
        self._source = source
        self._ends = ends

    def __call__(self, topic: str, partition: int, first: int, end: int) -> Iterator[RawRecord]:
        """Yield the records of a partition from `first` up to before `end`, in order.

        Raises:
            BrokerUnavailable: If nothing more comes.
        """
        last = min(end, self._ends.get((topic, partition), 0))
        if last <= first:
            return
        self._source.assign({(topic, partition): Place(first)})
        until_s = time.monotonic() + _SILENCE_S
        while True:
            for each in self._source.read(_POLL_S):
                until_s = time.monotonic() + _SILENCE_S
                if each.offset < last:
                    yield each
                if each.offset >= last - 1:
                    return
            if time.monotonic() > until_s:
                raise BrokerUnavailable(f"Expected {topic}[{partition}] up to {last}, was no more")

    def close(self) -> None:
        """Close the connection."""
        self._source.close()
