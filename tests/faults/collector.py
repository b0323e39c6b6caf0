"""Reads all topics of a run along, and keeps of them what the oracle needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition
from msgspec.structs import replace

from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.packets.models import ExecutionPlan, OrderEvent, RiskAssessment
from pipeline.packets.vocabulary import FlowState, OrderEventKind
from pipeline.rules.oracle import Accepted, Evidence, LogReading, VenueFact, Void, needs_end
from pipeline.settings import Settings

__all__ = ["LOGS", "Collector"]

LOGS = {
    "strategic": "cascade.strategic",
    "tactical": "cascade.tactical",
    "risk": "cascade.risk",
    "execution": "cascade.execution",
    "gateway": "cascade.fills",
}


@dataclass(slots=True)
class _Log:
    """What was seen of one log."""

    reading: LogReading = field(default_factory=LogReading)
    records: list[Accepted] = field(default_factory=list)
    appended_ms: list[int] = field(default_factory=list)


class Collector:
    """Follows the ingest topics and the five logs of a namespace from their start.

    Args:
        settings: Broker and namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logs = {topic: _Log() for topic in LOGS.values()}
        self._market: dict[tuple[str, int], int] = {}
        self._owed: set[str] = set()
        self._ended: set[str] = set()
        self._kinds = {"assessments": 0, "ends": 0}
        self._consumer = Consumer(
            {
                **settings.client(group_id="unused", enable_auto_commit=False),
                "log_level": 0,
                "fetch.wait.max.ms": 50,
            }
        )
        found = self._consumer.list_topics(timeout=30).topics
        self._consumer.assign(
            [
                TopicPartition(real, partition, 0)
                for topic in (*INGEST_TOPICS, *self._logs)
                for real in [settings.topic(topic)]
                for partition in found[real].partitions
            ]
        )

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def poll(self, timeout_s: float = 0.05) -> None:
        """Read what has come since."""
        for message in self._consumer.consume(2000, timeout_s):
            if message.error() is None:
                self._take(message)

    def wait(self, condition: Callable[[], object], what: str, limit_s: float) -> None:
        """Read on until `condition` holds.

        Raises:
            AssertionError: If it does not within the limit.
        """
        end_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end_s, (
                f"Expected {what} within {limit_s} s: {self.progress()}"
            )
            self.poll()

    def pass_time(self, seconds: float) -> None:
        """Read on for so long."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.poll()

    def _take(self, message: Message) -> None:
        topic = self._settings.plain_topic(str(message.topic()))
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        if topic in INGEST_TOPICS:
            self._market[topic, partition] = offset + 1
            return
        log = self._logs[topic]
        value: Any = message.value()
        found = log.reading.add(partition, offset, value)
        if found is not None:
            log.records.append(self._noted(found))
            log.appended_ms.append(int(message.timestamp()[1]))

    def _noted(self, found: Accepted) -> Accepted:
        record = found.record
        if isinstance(record, OrderEvent):
            self._kinds["ends"] += record.kind is not OrderEventKind.SUBMITTING
            if record.flow_state is not FlowState.OPEN:
                self._ended.add(record.flow_id)
            return found
        if isinstance(record, ExecutionPlan) and needs_end(record):
            self._owed.add(record.envelope.flow_id)
        self._kinds["assessments"] += isinstance(record, RiskAssessment)
        # The views of the agents are most of a record, and the oracle does not ask for them.
        return (
            found._replace(record=replace(record, views=())) if hasattr(record, "views") else found
        )

    # -- what was seen -----------------------------------------------------------------------------

    def count(self, stage: str) -> int:
        """Return how many records of a stage's log count so far."""
        return len(self._logs[LOGS[stage]].records)

    def markers(self, stage: str, partition: int = 0) -> int:
        """Return how many times a partition of a stage's log was taken over."""
        return self._logs[LOGS[stage]].reading.markers(partition)

    def void(self, stage: str) -> list[Void]:
        """Return the records of a stage's log that do not count."""
        return self._logs[LOGS[stage]].reading.void

    def records(self, stage: str) -> list[Accepted]:
        """Return the records of a stage's log that count."""
        return self._logs[LOGS[stage]].records

    def first_after_ms(self, stage: str, since_ms: int) -> int | None:
        """Return when the first record came that was appended, and its epoch opened, after a time.

        By the broker's clock, milliseconds since the Unix epoch; None while there is none.
        """
        log = self._logs[LOGS[stage]]
        known = {(r.partition, r.journal.epoch) for r, at in self._pairs(log) if at <= since_ms}
        for record, at in self._pairs(log):
            if at > since_ms and (record.partition, record.journal.epoch) not in known:
                return at
        return None

    def next_after_ms(self, stage: str, since_ms: int) -> int | None:
        """Return when the first record came that counts and was appended after a time."""
        return next((at for _, at in self._pairs(self._logs[LOGS[stage]]) if at > since_ms), None)

    def longest_gap_s(self, stage: str, since_ms: int) -> float:
        """Return the longest time without a record since then, seconds."""
        times = [at for at in self._logs[LOGS[stage]].appended_ms if at > since_ms]
        gaps = (after - before for before, after in zip([since_ms, *times], times, strict=False))
        return max(gaps, default=0) / 1000

    @staticmethod
    def _pairs(log: _Log) -> "zip[tuple[Accepted, int]]":
        return zip(log.records, log.appended_ms, strict=True)

    def progress(self) -> str:
        """Return how far each log is, for messages."""
        counts = ", ".join(f"{stage} {self.count(stage)}" for stage in LOGS)
        return f"{sum(self._market.values())} in; {counts}; {len(self._owed - self._ended)} open"

    def at_rest(self) -> bool:
        """Say whether everything that went in has been worked off."""
        total = sum(self._market.values())
        counts = {self.count(stage) for stage in ("strategic", "tactical", "execution")}
        risk = self._kinds["assessments"] == total
        booked = self.count("risk") == total + self._kinds["ends"]
        return counts == {total} and risk and booked and self._owed <= self._ended

    def evidence(self, venue: list[VenueFact]) -> Evidence:
        """Return all that was seen, for the oracle."""
        return Evidence(
            {where: range(end) for where, end in self._market.items()},
            {topic: log.records for topic, log in self._logs.items()},
            [f"{topic}{text}" for topic, log in self._logs.items() for text in log.reading.foreign],
            venue,
        )
