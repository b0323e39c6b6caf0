"""What a run left in execution's log and at the venue: order plans, submits, rounds, outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from confluent_kafka import TopicPartition

from pipeline.gateway.application import paper_file
from pipeline.gateway.paper import PaperVenue
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.packets.models import ExecutionPlan
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, offset_of, watermarks
from pipeline.transport.log import LogReader

__all__ = ["Planned", "plans_of", "round_ms", "submissions_of", "within"]

_TIMEOUT_S = 10.0
_LOG = "cascade.execution"


@dataclass(frozen=True, slots=True)
class Planned:
    """One record of execution's log.

    Attributes:
        plan: The record.
        appended_us: When the broker appended it, microseconds; its clock tells milliseconds.
    """

    plan: ExecutionPlan
    appended_us: int

    @property
    def orders(self) -> bool:
        """Whether it holds orders to send."""
        outcome = self.plan.envelope.outcome
        return outcome is not None and outcome.kind is OutcomeKind.EXECUTED


def plans_of(settings: Settings) -> list[Planned]:
    """Return all records of execution's log that count, in its order."""
    return list(_records(settings, 0))


def _records(settings: Settings, partition: int) -> Iterator[Planned]:
    consumer = log_consumer(settings, "bench-plans")
    topic, rule = settings.topic(_LOG), LogReader()
    try:
        at, end = watermarks(consumer, topic, partition, _TIMEOUT_S)
        consumer.assign([TopicPartition(topic, partition, at)])
        while at < end:
            for message in drain(consumer, 5000, 0.2):
                at, value = offset_of(message) + 1, message.value()
                if is_marker(value):
                    rule.marker(at - 1)
                    continue
                head = journal_head(value)
                if head is None or not rule.accepts(at - 1, head.epoch, head.sequence):
                    continue
                record = decode(value)
                if isinstance(record, ExecutionPlan):
                    yield Planned(record, int(message.timestamp()[1]) * 1000)
    finally:
        consumer.close()


def submissions_of(settings: Settings) -> dict[str, int]:
    """Return when the venue was first sent each order, microseconds, by client order id."""
    first: dict[str, int] = {}
    with PaperVenue(paper_file(settings)) as venue:
        for each in venue.submissions():
            first.setdefault(each.client_order_id, each.at)
    return first


def round_ms(plans: Sequence[Planned], stages: Sequence[str]) -> float:
    """Return the 99th percentile of the length of rounds, milliseconds.

    A round is what shares its beginning; it lasts until its last packet is finished.

    Args:
        plans: Records with the traces of all stages.
        stages: Whose rounds; those of stages in one process stand in each other's way.
    """
    ends: dict[tuple[str, int], int] = {}
    for each in plans:
        for trace in each.plan.envelope.trace:
            if trace.stage in stages:
                where = (trace.stage, trace.started)
                ends[where] = max(trace.finished, ends.get(where, 0))
    lengths = [finished - started for (_, started), finished in ends.items()]
    return float(np.percentile(lengths, 99)) / 1000 if lengths else 0.0


def within(times: Mapping[str, int] | Sequence[int], since_us: int, until_us: int) -> list[int]:
    """Return the times from `since_us` until `until_us`, in order."""
    values = times.values() if isinstance(times, Mapping) else times
    return sorted(each for each in values if since_us <= each < until_us)
