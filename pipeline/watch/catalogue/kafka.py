"""Metrics of consumer groups and partitions, called as kafka-lag-exporter calls them; pure.

Dashboards that were made for it fit.
"""

from collections.abc import Callable, Iterator
from typing import Final

from pipeline.watch.catalogue.metric import Labels, Metric, Read, Sample
from pipeline.watch.offsets import GroupLag
from pipeline.watch.view import MonitorView

__all__ = ["KAFKA"]

_GROUP: Final = ("cluster_name", "group")
_PARTITION: Final = ("cluster_name", "partition", "topic")
_GROUP_PARTITION: Final = ("cluster_name", "group", "partition", "topic")


def _lags(read: Callable[[GroupLag], float | int | None]) -> Read:
    def found(view: MonitorView) -> Iterator[Sample]:
        if (backlog := view.backlog) is not None:
            for each in backlog.partitions:
                labels = (backlog.cluster, each.group, str(each.partition), each.topic)
                yield labels, read(each)

    return found


def _ends(read: Callable[[GroupLag], int]) -> Read:
    def found(view: MonitorView) -> Iterator[Sample]:
        if (backlog := view.backlog) is not None:
            known = {(each.topic, each.partition): each for each in backlog.partitions}
            for (topic, partition), each in known.items():
                yield (backlog.cluster, str(partition), topic), read(each)

    return found


def _groups(
    read: Callable[[GroupLag], float | int | None],
    fold: Callable[[list[float]], float],
    *,
    by_topic: bool = False,
) -> Read:
    def found(view: MonitorView) -> Iterator[Sample]:
        if (backlog := view.backlog) is None:
            return
        known: dict[Labels, list[float]] = {}
        for each in backlog.partitions:
            if (number := read(each)) is not None:
                labels = (backlog.cluster, each.group, *([each.topic] if by_topic else []))
                known.setdefault(labels, []).append(number)
        yield from ((labels, fold(numbers)) for labels, numbers in known.items())

    return found


KAFKA: Final[tuple[Metric, ...]] = (
    # -- as kafka-lag-exporter calls it
    Metric(
        "kafka_partition_latest_offset",
        "End offset of a partition.",
        _ends(lambda each: each.latest),
        _PARTITION,
        kept=False,
    ),
    Metric(
        "kafka_partition_earliest_offset",
        "First offset of a partition.",
        _ends(lambda each: each.earliest),
        _PARTITION,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_offset",
        "Offset that a group committed on a partition.",
        _lags(lambda each: each.committed),
        _GROUP_PARTITION,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_lag",
        "Records of a partition that a group has not taken.",
        _lags(lambda each: each.lag.records),
        _GROUP_PARTITION,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_lag_seconds",
        "Age of the oldest record of a partition that a group has not taken.",
        _lags(lambda each: each.lag.seconds),
        _GROUP_PARTITION,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_max_lag",
        "Most records that a group has not taken of any one partition.",
        _groups(lambda each: each.lag.records, max),
        _GROUP,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_max_lag_seconds",
        "Age of the oldest record that a group has not taken.",
        _groups(lambda each: each.lag.seconds, max),
        _GROUP,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_sum_lag",
        "Records that a group has not taken, of all its partitions.",
        _groups(lambda each: each.lag.records, sum),
        _GROUP,
        kept=False,
    ),
    Metric(
        "kafka_consumergroup_group_topic_sum_lag",
        "Records of a topic that a group has not taken.",
        _groups(lambda each: each.lag.records, sum, by_topic=True),
        (*_GROUP, "topic"),
        kept=False,
    ),
)
"""Metrics of consumer groups and partitions."""
