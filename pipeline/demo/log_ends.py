"""How many records stand in the topics, cheaply: their end offsets."""

import logging
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.settings import Settings
from pipeline.topics import TopicFile

__all__ = ["LogEnds"]

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 2.0
_TOPICS = ("cascade.market", "cascade.strategic", "cascade.tactical", "cascade.risk")


class LogEnds:
    """Asks for the ends of the topics that the collector does not read.

    Args:
        settings: Broker and namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._admin = AdminClient(settings.client(client_id=settings.group("demo-ends")))
        declared = TopicFile.load().topics
        self._partitions = {
            TopicPartition(settings.topic(name), partition): name
            for name in _TOPICS
            for partition in range(declared[name].partitions)
        }
        self._known: dict[str, int] = {}

    def read(self) -> Mapping[str, int]:
        """Return the sum of the end offsets of each topic; the last known where none answers."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client declares no types here
        asked = dict.fromkeys(self._partitions, latest)
        try:
            futures = self._admin.list_offsets(asked, request_timeout=_TIMEOUT_S)
            ends = dict.fromkeys(_TOPICS, 0)
            for where, future in futures.items():
                ends[self._partitions[where]] += int(future.result().offset)
            self._known = ends
        except KafkaException as error:
            _logger.debug("ends of logs: %s", error)
        return self._known
