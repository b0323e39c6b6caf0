"""Seeing from Kafka alone who owns which log: an owner opens its epoch with a marker."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, TopicPartition

from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.packets.codec import decode_as, is_marker
from pipeline.packets.models import Marker
from pipeline.run.workers import log_specs
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, watermarks

__all__ = ["Owned", "OwnershipWatch"]

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Owned:
    """A log partition was taken over.

    Attributes:
        stage: Stage of the log.
        partition: Partition.
        epoch: The new epoch.
        owner: Who owns it.
        time_us: The owner's clock when it wrote the marker, microseconds since the Unix epoch.
    """

    stage: str
    partition: int
    epoch: int
    owner: str
    time_us: int


class OwnershipWatch:
    """Sees the take-overs of some stages' logs from now on; open it before starting workers.

    It looks for markers only and uses no record, so that it needs no position of the reading rule.

    Args:
        settings: Broker and namespace.
        stages: Whose logs to watch.

    Raises:
        ConfigurationError: If a log's topic is not there.
        BrokerUnavailable: If the broker does not answer.
    """

    def __init__(self, settings: Settings, stages: Sequence[str]) -> None:
        specs = log_specs()
        self._stages = {settings.topic(specs[name].log): name for name in stages}
        self._consumer = log_consumer(settings, "ownership-watch")
        self._missing: dict[str, set[int]] = {}
        try:
            self._consumer.assign(self._ends())
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def missing(self) -> tuple[str, ...]:
        """Stages with a log partition that nobody has taken over since the watch began."""
        return tuple(name for name, partitions in self._missing.items() if partitions)

    def poll(self, timeout_s: float) -> list[Owned]:
        """Return the take-overs seen since the last call, waiting for records at most that long."""
        seen = []
        for message in drain(self._consumer, _BATCH, timeout_s):
            value, partition = message.value(), int(message.partition() or 0)
            if is_marker(value):
                marker = decode_as(value, Marker)
                stage = self._stages[str(message.topic())]
                self._missing[stage].discard(partition)
                epoch = int(message.offset() or 0)
                seen.append(Owned(stage, partition, epoch, marker.owner, marker.time))
        return seen

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _ends(self) -> list[TopicPartition]:
        try:
            topics = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as error:
            raise BrokerUnavailable(f"Expected topics from the broker, was: {error}") from error
        ends = []
        for topic, stage in self._stages.items():
            found = topics.get(topic)
            if found is None or found.error is not None:
                raise ConfigurationError(
                    f"Expected topic {topic}, was not there. Create it with `cascade topics apply`."
                )
            self._missing[stage] = set(found.partitions)
            for partition in found.partitions:
                _, end = watermarks(self._consumer, topic, partition, _TIMEOUT_S)
                ends.append(TopicPartition(topic, partition, end))
        return ends
