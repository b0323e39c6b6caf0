"""Asks the broker for end offsets and committed offsets, and follows the lag of each system."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.errors import BrokerUnavailable
from pipeline.gateway.worker import GATEWAY_LOG
from pipeline.kafka_logging import ClientLog
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.settings import Settings
from pipeline.stages.routes import ROUTES
from pipeline.watch.lag import PartitionLag, SystemLag, together

__all__ = ["SYSTEMS", "Backlog", "GroupLag", "OffsetWatch"]

_logger = logging.getLogger(__name__)

_TIMEOUT_S = 3.0
_LOOKS_A_FIRST = 60
_SPECS = {**{name: route.spec for name, route in ROUTES.items()}, "gateway": GATEWAY_LOG}
SYSTEMS = tuple(_SPECS)
"""Systems whose lag is followed, in the order of the flow."""


@dataclass(frozen=True, slots=True)
class GroupLag:
    """How far a group is behind on a partition.

    Attributes:
        group: Real name of the group.
        topic: Real name of the topic.
        partition: The partition.
        earliest: Its first offset.
        latest: Its end offset.
        committed: Offset that the group committed; None where it has none.
        lag: How far it is behind.
    """

    group: str
    topic: str
    partition: int
    earliest: int
    latest: int
    committed: int | None
    lag: SystemLag


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits before each system.

    Attributes:
        offered: Records ever offered: the end offsets of the ingest topics.
        systems: Lag of each system.
        partitions: Lag of each group on each partition of its inputs.
        cluster: Id of the cluster.
    """

    offered: int
    systems: Mapping[str, SystemLag]
    partitions: tuple[GroupLag, ...] = ()
    cluster: str = ""


class OffsetWatch:
    """Follows the lag of the stages and the gateway; asking takes a moment, so use a thread.

    Args:
        settings: Broker and namespace.
        monotonic: Seconds on a clock that only runs forward.
    """

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        properties: dict[str, Any] = settings.client(client_id=settings.group("monitor-offsets"))
        properties["error_cb"] = _noted
        self._admin = AdminClient(properties, logger=ClientLog(_logger))
        self._inputs = {
            name: tuple(settings.topic(each) for each in spec.sources)
            for name, spec in _SPECS.items()
        }
        self._partitions: list[TopicPartition] = []
        self._cluster = ""
        self._looks = 0
        self._earliest: dict[tuple[str, int], int] = {}
        self._lags: dict[tuple[str, str, int], PartitionLag] = {}

    def look(self) -> Backlog:
        """Ask the broker, and return what waits.

        Raises:
            BrokerUnavailable: If it does not answer.
        """
        try:
            # Committed first: what is committed later than the ends were read is no lag.
            committed = self._committed()
            ends = self._ends()
            self._look_for_earliest()
        except KafkaException as error:
            raise BrokerUnavailable(f"Expected offsets of the broker, was: {error}") from error
        now_s = self._monotonic()
        found: dict[str, list[SystemLag]] = {name: [] for name in _SPECS}
        partitions = []
        for name, topics in self._inputs.items():
            for (topic, partition), end in ends.items():
                if topic in topics:
                    key = (name, topic, partition)
                    lag = self._lags.setdefault(key, PartitionLag())
                    lag.take(end, committed.get(key, 0 if end == 0 else None), now_s)
                    lag_now = lag.now(now_s)
                    found[name].append(lag_now)
                    partitions.append(
                        GroupLag(
                            self._settings.group(_SPECS[name].group), topic, partition,
                            self._earliest.get((topic, partition), 0), end, committed.get(key),
                            lag_now,
                        )
                    )  # fmt: skip
        ingest = {self._settings.topic(each) for each in INGEST_TOPICS}
        offered = sum(end for (topic, _), end in ends.items() if topic in ingest)
        return Backlog(
            offered,
            {name: together(lags) for name, lags in found.items()},
            tuple(partitions),
            self._cluster,
        )

    def _committed(self) -> dict[tuple[str, str, int], int]:
        found: dict[tuple[str, str, int], int] = {}
        for name, spec in _SPECS.items():
            asked = [ConsumerGroupTopicPartitions(self._settings.group(spec.group))]
            (future,) = self._admin.list_consumer_group_offsets(
                asked, request_timeout=_TIMEOUT_S
            ).values()
            try:
                answer = future.result(_TIMEOUT_S + 1.0)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    continue
                raise
            for each in answer.topic_partitions:
                if each.error is None and each.offset >= 0:
                    found[name, each.topic, each.partition] = each.offset
        return found

    def _ends(self) -> dict[tuple[str, int], int]:
        if not self._partitions:
            metadata = self._admin.list_topics(timeout=_TIMEOUT_S)
            known, self._cluster = metadata.topics, str(metadata.cluster_id)
            wanted = {topic for topics in self._inputs.values() for topic in topics}
            self._partitions = [
                TopicPartition(topic, partition)
                for topic in sorted(wanted & known.keys())
                for partition in known[topic].partitions
            ]
        return self._offsets(OffsetSpec.latest())  # type: ignore[no-untyped-call]  # no types there

    def _look_for_earliest(self) -> None:
        """Ask now and then: first offsets move by retention alone."""
        if self._looks % _LOOKS_A_FIRST == 0:
            self._earliest = self._offsets(OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # the same
        self._looks += 1

    def _offsets(self, spec: Any) -> dict[tuple[str, int], int]:
        asked = dict.fromkeys(self._partitions, spec)
        futures = self._admin.list_offsets(asked, request_timeout=_TIMEOUT_S)
        return {
            (where.topic, where.partition): int(future.result(_TIMEOUT_S + 1.0).offset)
            for where, future in futures.items()
        }


def _noted(error: KafkaError) -> None:
    _logger.debug("kafka client: %s", error)
