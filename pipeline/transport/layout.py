"""How the partitions of a stage's topics fit together, as the broker says."""

import logging

from confluent_kafka import Consumer, KafkaException

from pipeline.errors import AssignmentMismatch, BrokerUnavailable, PositionLost
from pipeline.settings import Settings
from pipeline.transport.clients import watermarks
from pipeline.transport.journal import LogSpec
from pipeline.transport.log import InputPosition, Position
from pipeline.transport.rounds import TopicAndPartition

__all__ = ["first_position", "partition_counts"]

_logger = logging.getLogger(__name__)
_TIMEOUT_S = 5.0


def partition_counts(consumer: Consumer, settings: Settings, spec: LogSpec) -> dict[str, int]:
    """Return the partition counts of all topics of a stage, checked against each other.

    Raises:
        AssignmentMismatch: A topic is missing, or two that go together differ. Only the priority
            topic may be missing, as in a cluster from before it: then there is one lane.
        BrokerUnavailable: The broker does not answer.
    """
    try:
        topics = consumer.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise BrokerUnavailable(f"Expected topics from the broker, was: {error}") from error
    counts = {}
    for name in (*spec.sources, spec.log, spec.snapshots):
        found = topics.get(settings.topic(name))
        if found is None or found.error is not None:
            if name == spec.priority:
                _logger.warning(
                    "no_priority_lane stage=%s topic=%s mended_by='cascade topics apply', then a"
                    " restart", spec.stage, settings.topic(name),
                )  # fmt: skip
                continue
            raise AssignmentMismatch(
                f"Expected topic {settings.topic(name)}, was not there. Run `cascade topics apply`."
            )
        counts[name] = len(found.partitions)
    for name, count in counts.items():
        if name not in spec.joined and count != counts[spec.subscribed]:
            raise AssignmentMismatch(
                f"Expected {name} to have the {counts[spec.subscribed]} partitions of"
                f" {spec.subscribed}, was {count}"
            )
    return counts


def first_position(
    consumer: Consumer, settings: Settings, spec: LogSpec, where: TopicAndPartition
) -> InputPosition:
    """Return where to start an input that was never read: its first offset.

    Raises:
        PositionLost: The input is a log whose start is gone; nothing tells which records count.
    """
    topic = settings.topic(where[0])
    low, _ = watermarks(consumer, topic, where[1], _TIMEOUT_S)
    if low > 0 and where[0] in spec.logs:
        raise PositionLost(
            f"Expected {topic}[{where[1]}], never read by {spec.stage}, to start at offset 0, was"
            f" {low}. Nothing is reset on its own: restore the log, or start in a new namespace."
        )
    return InputPosition(Position(low, -1, -1), set())
