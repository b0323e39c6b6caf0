"""How many records wait before the stages: end of each input less what its group has committed.

Groups commit once a second, so up to a second's records count that are worked off already.
"""

from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.errors import BrokerUnavailable
from pipeline.settings import Settings
from pipeline.stages.routes import ROUTES

__all__ = ["QueueDepth"]


class QueueDepth:
    """Asks a broker for the depth of the stages' queues.

    Args:
        settings: Settings with a broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient({**settings.client(), "log_level": 0})

    def records(self, timeout_s: float = 2.0) -> int | None:
        """Return how many records wait in all; None where no group has committed anything.

        Raises:
            BrokerUnavailable: If the broker does not answer in time.
        """
        try:
            committed = [
                each
                for stage in ROUTES
                for each in self._committed(ROUTES[stage].spec.group, timeout_s)
            ]
            return self._waiting(committed, timeout_s) if committed else None
        except KafkaException as error:
            raise BrokerUnavailable(
                f"Expected offsets of the stages' groups, was: {error.args[0].str()}"
            ) from error

    def _committed(self, group: str, timeout_s: float) -> list[TopicPartition]:
        asked = [ConsumerGroupTopicPartitions(self._settings.group(group))]
        futures = self._admin.list_consumer_group_offsets(asked, request_timeout=timeout_s)
        (future,) = futures.values()
        return [each for each in future.result().topic_partitions if each.offset >= 0]

    def _waiting(self, committed: Sequence[TopicPartition], timeout_s: float) -> int:
        # The stubs leave its type out.
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(each.topic, each.partition): latest for each in committed}
        ends = {
            (where.topic, where.partition): future.result().offset
            for where, future in self._admin.list_offsets(asked, request_timeout=timeout_s).items()
        }
        return sum(max(0, ends[each.topic, each.partition] - each.offset) for each in committed)
