"""How long a killed worker's log stands still, by its parts, as its length and state grow.

1. Detection: from SIGKILL to the start of the process that takes its place.
2. Assignment: until the group has given it the partitions; most of it is Python starting.
3. Marker: until the broker appended its first marker.
4. Restore: until the broker appended its first record; reading snapshot and log, and deciding.

With snapshots switched off, so that the whole log is read, and with those of the settings.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.bench.contenders import Contender, pipeline
from pipeline.bench.lab import Check, Lab, at_most
from pipeline.bench.measurement import measured
from pipeline.bench.turn import Turn
from pipeline.bench.waiting import wait_until
from pipeline.errors import BrokerUnavailable
from pipeline.packets.codec import is_marker, journal_head
from pipeline.run import log_specs
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, watermarks

__all__ = ["TakeOver", "takeover", "takeover_table"]

MOST_TAKE_OVER_S = 15.0
_FILL_RATE = 1000.0
_LIMIT_S = 60.0
_TIMEOUT_S = 10.0
_POLL_S = 0.02
_BEFORE_S, _AFTER_S = 3.0, 20.0
_NEVER_RECORDS = 10_000_000
_NEVER_S = 86_400.0


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One take-over, seconds.

    Attributes:
        stage: Whose worker was killed.
        records: Packets that its log held.
        symbols: Symbols that its state held.
        snapshots: Whether there were snapshots.
        detection: See the module.
        assignment: See the module.
        marker: See the module.
        restore: See the module.
        total: From SIGKILL to the first new record.
        lost: Packets that never came out.
        duplicates: Packets that came out twice.
    """

    stage: str
    records: int
    symbols: int
    snapshots: bool
    detection: float
    assignment: float
    marker: float
    restore: float
    total: float
    lost: int
    duplicates: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def takeover(
    lab: Lab,
    stage: str,
    rate: float,
    records: Sequence[int],
    symbol_counts: Sequence[int],
    found: list[TakeOver],
) -> list[Check]:
    """Kill a stage's worker at several log lengths and state sizes.

    Args:
        lab: The bench.
        stage: Whose worker.
        rate: Packets a second meanwhile.
        records: Log lengths.
        symbol_counts: State sizes.
        found: Where the take-overs go.
    """
    for symbols in symbol_counts:
        for snapshots in (False, True):
            for length in records:
                with lab.turn(_killed(snapshots=snapshots), symbols=symbols) as turn:
                    found.append(_take_over(lab, turn, stage, rate, length, snapshots=snapshots))
                lab.ground.say(takeover_table(found[-1:]))
    worst = max((each.total for each in found), default=None)
    faults = sum(each.lost + each.duplicates for each in found)
    return [
        at_most("kill -9 to the first new record, s, worst", worst, MOST_TAKE_OVER_S),
        at_most("packets lost or repeated", float(faults), 0.0),
    ]


def takeover_table(found: Sequence[TakeOver]) -> str:
    """Return take-overs as text in columns."""
    head = "     stage  records  symbols snapshots detection assignment  marker  restore  total s"
    lines = [head]
    lines += [
        f"{each.stage:>10} {each.records:>8} {each.symbols:>8}"
        f" {'yes' if each.snapshots else 'no':>9} {each.detection:>9.3f}"
        f" {each.assignment:>10.3f} {each.marker:>7.3f} {each.restore:>8.3f} {each.total:>8.3f}"
        for each in found
    ]
    return "\n".join(lines)


def _killed(*, snapshots: bool) -> Contender:
    overrides: dict[str, Any] = {"cascade_timeout_ms": 60_000}
    if not snapshots:
        overrides |= {"snapshot_records": _NEVER_RECORDS, "snapshot_interval_s": _NEVER_S}
    return pipeline("processes", "the pipeline, a process a stage", overrides=overrides)


def _take_over(
    lab: Lab, turn: Turn, stage: str, rate: float, length: int, *, snapshots: bool
) -> TakeOver:
    held = turn.sent
    if length > held:
        turn.warm_up(length - held, _FILL_RATE)
    symbols = turn.ground.symbols
    records = turn.sent
    count = round(rate * (_BEFORE_S + _AFTER_S))
    seen = _Watch(turn.settings, stage)
    try:
        turn.begin(count, rate)
        _pause(_BEFORE_S)
        killed_s, started_s = _kill(turn, stage)
        assigned_s = seen.assigned_s()
        marker_s, record_s = seen.first_record_s()
    finally:
        seen.close()
    sent = turn.end(count, _LIMIT_S)
    checked = turn.seen(sent)
    lab.measurements.append(
        measured(
            turn.who.name, rate, sent, checked, cpu_s={}, rss_mb={}, restarts=0,
            labels={"killed": stage, "records": records, "snapshots": snapshots},
        )
    )  # fmt: skip
    return TakeOver(
        stage, records, symbols, snapshots,
        started_s - killed_s, assigned_s - started_s, marker_s - assigned_s,
        record_s - marker_s, record_s - killed_s, checked.lost, checked.duplicates,
    )  # fmt: skip


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _kill(turn: Turn, stage: str) -> tuple[float, float]:
    """Kill the stage's worker; return when, and when the next one was started, seconds."""
    event = turn.supervisor.kill(stage)
    killed_s = event.time_us / 1e6
    deadline_s = time.monotonic() + _LIMIT_S
    while True:
        (worker,) = [each for each in turn.supervisor.workers() if each.name == event.worker]
        if worker.pid not in (None, event.pid):
            return killed_s, time.time()
        if time.monotonic() > deadline_s:
            raise BrokerUnavailable(f"Expected another worker of {stage}, was none")
        time.sleep(_POLL_S)


class _Watch:
    """Watches the stage's group and log from just before its worker is killed."""

    def __init__(self, settings: Settings, stage: str) -> None:
        spec = log_specs()[stage]
        self._group = settings.group(spec.group)
        self._topic = settings.topic(spec.log)
        self._admin = AdminClient(settings.client(client_id="bench"))
        self._consumer = log_consumer(settings, "bench-takeover", fetch_wait_max_ms=100)
        found = self._consumer.list_topics(timeout=_TIMEOUT_S).topics[self._topic]
        ends = {
            each: watermarks(self._consumer, self._topic, each, _TIMEOUT_S)[1]
            for each in found.partitions
        }
        self._consumer.assign([TopicPartition(self._topic, *end) for end in ends.items()])
        self._before = self._members()

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def assigned_s(self) -> float:
        """Return when a new member had partitions, seconds since the Unix epoch.

        Raises:
            BrokerUnavailable: If none got any.
        """
        wait_until(
            lambda: self._members() - self._before, f"{self._group} to get a new member",
            _LIMIT_S, every_s=_POLL_S, was=lambda: "none",
        )  # fmt: skip
        return time.time()

    def first_record_s(self) -> tuple[float, float]:
        """Return when the new owner's first marker and its first record were appended, seconds.

        Raises:
            BrokerUnavailable: If there was none.
        """
        marker_s: float | None = None
        epochs: dict[int, int] = {}
        deadline_s = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline_s:
            for message in drain(self._consumer, 1000, 0.1):
                partition, value = int(message.partition() or 0), message.value()
                appended_s = message.timestamp()[1] / 1000
                if is_marker(value):
                    marker_s = appended_s if marker_s is None else marker_s
                    epochs[partition] = int(message.offset() or 0)
                    continue
                head = journal_head(value)
                if head is not None and epochs.get(partition) == head.epoch:
                    assert marker_s is not None  # noqa: S101  # an epoch has a marker
                    return marker_s, appended_s
        raise BrokerUnavailable(f"Expected a new owner to write {self._topic}, was none")

    def _members(self) -> set[str]:
        """Return the members of the group that have partitions; none while it rebalances."""
        try:
            future = self._admin.describe_consumer_groups([self._group], request_timeout=1.0)
            group = future[self._group].result()
        except KafkaException:
            return set()
        if group.state != ConsumerGroupState.STABLE:
            return set()
        return {
            each.member_id
            for each in group.members
            if each.assignment is not None and each.assignment.topic_partitions
        }
