"""Adding to the audit log, whoever else tries to; see `pipeline.audit.chain` for why one chain.

Adding goes by this protocol:

1. Chain the records to the newest one known to count, and write them, acknowledged by all replicas.
2. Read the log through the last of them. If all of them count, they stand for good.
3. If not, another auditor was quicker: `ChainLost`. What was read since is his; start over from 4.
4. Recover: read the end of the log, and go on from the places in its newest record.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec.structs import replace

from pipeline.audit.chain import START, ChainFault, ChainHead, ChainReader, Link, sha256_of
from pipeline.audit.content import EntryKind, Places, details_of, places_of, settled_of
from pipeline.errors import BrokerUnavailable, RetryableError
from pipeline.kafka_logging import ClientLog
from pipeline.packets.codec import encode
from pipeline.packets.events import AuditRecord
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, watermarks

__all__ = ["TOPIC", "ChainLost", "ChainWriter", "Recovered"]

_logger = logging.getLogger(__name__)

TOPIC: Final = "cascade.audit"

_TAIL = 3000
_TIMEOUT_S = 10.0
_BATCH = 1000


class ChainLost(RetryableError):
    """Another auditor added to the chain first; what was to be added is not in it."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where to go on.

    Attributes:
        head: The newest record that counts.
        places: Where each partition is read on; empty where nothing was audited yet.
        settled: From where to read again to know what is under way.
        told: Identities of what the newest records tell, so that nothing is told twice.
        faults: What is wrong with the newest records.
    """

    head: ChainHead
    places: Places
    settled: Places
    told: frozenset[str]
    faults: Sequence[ChainFault]


class ChainWriter:
    """Adds to the audit log of a namespace; used by one thread.

    Args:
        settings: Settings with a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic(TOPIC)
        self._reader = ChainReader()
        self._consumer: Consumer = log_consumer(
            settings, "cascade.audit.tail", fetch_wait_max_ms=50
        )
        properties: dict[str, Any] = settings.client(
            client_id=settings.group("auditor"),
            acks="all",
            enable_idempotence=True,
            max_in_flight_requests_per_connection=1,
            linger_ms=0,
            allow_auto_create_topics=False,
            message_timeout_ms=int(_TIMEOUT_S * 1000),
        )
        self._producer = Producer(properties, logger=ClientLog(_logger))

    @property
    def head(self) -> ChainHead:
        """The newest record that counts."""
        return self._reader.head

    def close(self) -> None:
        """Close both connections."""
        self._consumer.close()
        self._producer.flush(0.0)

    def recover(self) -> Recovered:
        """Step 4: read the end of the log.

        Raises:
            BrokerUnavailable: If the broker does not answer in time.
            PositionLost: If the log was cut while it was read.
        """
        low, end = watermarks(self._consumer, self._topic, 0, _TIMEOUT_S)
        first = max(low, end - _TAIL)
        self._reader = ChainReader(START if first == 0 else None)
        self._consumer.assign([TopicPartition(self._topic, 0, first)])
        links = [] if end == first else self._read_through(end - 1)
        places: Places = {}
        settled: Places = {}
        for link in links:
            details = details_of(link.record)
            if details.get("kind") in (EntryKind.START, EntryKind.WINDOW):
                places = places_of(details) or places
                settled = settled_of(details) or settled
        told = frozenset(link.record.validation_id for link in links)
        return Recovered(self.head, places, settled, told, tuple(self._reader.finish()))

    def append(self, records: Sequence[AuditRecord]) -> ChainHead:
        """Add records, all of them or so many of the first; return the newest.

        Raises:
            ChainLost: If another auditor was quicker; nothing may be added before `recover`.
            BrokerUnavailable: If they are not written and read back in time; likewise.
        """
        offsets = self._write(records)
        counting = {link.offset for link in self._read_through(max(offsets))}
        if not counting.issuperset(offsets):
            raise ChainLost(f"Expected to add record {self.head.sequence}, another did")
        return self.head

    def _write(self, records: Sequence[AuditRecord]) -> set[int]:
        """Step 1; return where the records stand."""
        reports: list[tuple[KafkaError | None, Message]] = []
        # Where the newest record was changed nobody can chain to it; a finding says so.
        previous = self.head.sha256 or ""
        for number, record in enumerate(records, self.head.sequence + 1):
            value = encode(replace(record, sequence=number, previous_sha256=previous))
            previous = sha256_of(value)
            try:
                self._producer.produce(
                    self._topic, value, str(number).encode(), partition=0,
                    on_delivery=lambda error, message: reports.append((error, message)),
                )  # fmt: skip
            except (KafkaException, BufferError) as error:
                raise BrokerUnavailable(
                    f"Expected to write to {self._topic}, was: {error}"
                ) from error
        self._producer.flush(_TIMEOUT_S + 3.0)
        failed = [error for error, _ in reports if error is not None]
        if failed or len(reports) != len(records):
            was = failed[0].str() if failed else "no acknowledgement"
            raise BrokerUnavailable(f"Expected to write to {self._topic}, was: {was}")
        return {offset_of(message) for _, message in reports}

    def _read_through(self, last: int) -> list[Link]:
        """Step 2: return what counts up to an offset."""
        links: list[Link] = []
        until_s = time.monotonic() + _TIMEOUT_S
        offset = -1
        while offset < last:
            if time.monotonic() > until_s:
                raise BrokerUnavailable(
                    f"Expected to read {self._topic} through {last}, was {offset} and no more"
                )
            for message in drain(self._consumer, _BATCH, 0.1):
                offset, value = offset_of(message), message.value()
                link = self._reader.add(offset, value)
                if link is not None:
                    links.append(link)
        return links
