"""Between a running cascade and the auditor: copies its topics, and spoils one record in a hundred.

The copy is a namespace of its own, partition by partition in the order of the original, bytes, keys
and headers unchanged, but for what is planted. Logs name their records by epoch and sequence, so
the copy of a log whose records have moved up still says the same.
"""

import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from pipeline.packets.codec import journal_head
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.rules.windows import STAGE_LOGS
from pipeline.settings import Settings

__all__ = ["KINDS", "Planted", "TamperingRelay"]

KINDS = ("corrupted", "dropped", "duplicated", "delayed", "reordered")

_BURST = 32
_FIRST = 30  # records of a partition that are left alone: windows and epochs begin there
_DELAY_S = 2.5  # the auditor calls late by more than one second delayed
_PROMPT_S = 0.2

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault, and the record that it befell."""

    kind: str
    topic: str
    partition: int
    sequence: int


@dataclass(slots=True)
class _Held:
    """A record that is kept back."""

    message: Message
    planted: Planted
    overtaken_by: int
    overtaken: int = 0
    # When the first record that overtook it stood in the log; it may wait long for that.
    since_s: float | None = None

    def note_overtaken(self, *_: object) -> None:
        self.since_s = time.monotonic() if self.since_s is None else self.since_s

    def due(self, now_s: float) -> bool:
        waited_s = -1.0 if self.since_s is None else now_s - self.since_s
        if self.planted.kind == "delayed":
            return waited_s >= _DELAY_S
        return self.overtaken >= self.overtaken_by or waited_s >= _PROMPT_S


@dataclass(slots=True)
class _Partition:
    seen: int = 0
    held: list[_Held] = field(default_factory=list)
    again: list[tuple[int, Message, Planted]] = field(default_factory=list)


class TamperingRelay(threading.Thread):
    """Copies the ingest topics and all logs; plants faults in logs while `planting` is set.

    Args:
        source: Namespace of the cascade.
        target: Namespace that the auditor reads.
        share: Share of records that is spoilt.
        seed: Of what is spoilt, and how.
    """

    def __init__(self, source: Settings, target: Settings, share: float, seed: int) -> None:
        super().__init__(name="tampering-relay", daemon=True)
        self._source = source
        self._target = target
        self._share = share
        self._random = random.Random(seed)
        self._partitions: dict[Place, _Partition] = defaultdict(_Partition)
        self._names = {source.topic(each): each for each in (*INGEST_TOPICS, *STAGE_LOGS)}
        self._consumer = Consumer(
            {
                **source.client(group_id="unused", enable_auto_commit=False),
                "fetch.wait.max.ms": 20,
                "auto.offset.reset": "error",
            }
        )
        self._producer = Producer(
            target.client(enable_idempotence=True, linger_ms=0, max_in_flight=1)
        )
        self._stopping = threading.Event()
        self.planting = threading.Event()
        self.planted: list[Planted] = []
        self.records = 0
        self.copied: dict[Place, int] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that are copied, without namespace."""
        return tuple(self._names.values())

    def run(self) -> None:
        """Copy until stopped."""
        found = self._consumer.list_topics(timeout=30).topics
        self._consumer.assign(
            [TopicPartition(real, number, 0) for real in self._names
             for number in found[real].partitions]
        )  # fmt: skip
        while not self._stopping.is_set():
            for message in self._consumer.consume(500, 0.02):
                if message.error() is None:
                    self._take(message)
            for place in list(self._partitions):
                self._release(place)
            self._producer.poll(0)

    def stop(self) -> None:
        """End it; what is still kept back goes out as if it had never been."""
        self._stopping.set()
        self.join(60.0)
        for place, partition in self._partitions.items():
            for each in partition.held:
                self._write(place, each.message)
                if not each.overtaken:  # nothing came behind it: it was not overtaken
                    self.planted.remove(each.planted)
            for _, _, planted in partition.again:
                self.planted.remove(planted)
        assert self._producer.flush(60) == 0
        self._consumer.close()

    def _take(self, message: Message) -> None:
        place = (self._names[str(message.topic())], int(message.partition() or 0))
        partition = self._partitions[place]
        partition.seen += 1
        self.copied[place] = int(message.offset() or 0) + 1
        value: Any = message.value()
        head = journal_head(value)
        if head is not None:
            self.records += 1
        spoilt = (
            self.planting.is_set()
            and head is not None
            and partition.seen > _FIRST
            and self._random.random() < self._share
        )
        if not spoilt or head is None:
            self._pass_on(place, message)
            return
        planted = Planted(self._random.choice(KINDS), *place, head.sequence)
        self.planted.append(planted)
        if planted.kind == "corrupted":
            self._pass_on(place, message, self._garbled(value))
        elif planted.kind == "duplicated":
            self._pass_on(place, message)
            partition.again.append((self._random.randint(1, 4), message, planted))
        elif planted.kind != "dropped":
            partition.held.append(_Held(message, planted, self._random.randint(1, 3)))

    def _pass_on(self, place: Place, message: Message, value: bytes | None = None) -> None:
        partition = self._partitions[place]
        for each in partition.held:
            each.overtaken += 1
        self._write(place, message, value, tuple(partition.held))
        again, partition.again = partition.again, []
        for left, earlier, planted in again:
            if left <= 1 and earlier is not message:
                self._write(place, earlier)
            else:
                partition.again.append((left - 1, earlier, planted))
        self._release(place)

    def _release(self, place: Place) -> None:
        partition, now_s = self._partitions[place], time.monotonic()
        due = [each for each in partition.held if each.due(now_s)]
        for each in due:
            partition.held.remove(each)
            self._write(place, each.message)

    def _garbled(self, value: bytes) -> bytes:
        spoilt = bytearray(value)
        at = self._random.randrange(len(value) - _BURST)
        for place in range(at, at + _BURST):
            spoilt[place] ^= self._random.randrange(1, 256)
        return bytes(spoilt)

    def _write(
        self,
        place: Place,
        message: Message,
        value: bytes | None = None,
        overtaken: tuple[_Held, ...] = (),
    ) -> None:
        def report(*_: object) -> None:
            for each in overtaken:
                each.note_overtaken()

        original: Any = message.value()
        headers: Any = message.headers() or []
        self._producer.produce(
            self._target.topic(place[0]), original if value is None else value, message.key(),
            partition=place[1], headers=headers, on_delivery=report,
        )  # fmt: skip
