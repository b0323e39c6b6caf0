"""The load: a process of its own that sends packets on a schedule, whatever becomes of them.

Steered by lines of JSON: it reads `Task`s on standard input, answers `{"ready": true}` when the
packets' bars are made, waits for an empty line, sends, and answers with a `Sent`.
"""

import logging
import sys
import time
from collections.abc import Sequence
from typing import IO

import msgspec
import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from pipeline.bench.packets import Kind, PacketMaker
from pipeline.clock import WallClock
from pipeline.kafka_logging import ClientLog
from pipeline.market import MarketBar
from pipeline.packets.vocabulary import Priority
from pipeline.settings import load_settings
from pipeline.transport.partitioner import partition_of

__all__ = ["Load", "Sent", "Task", "main"]

_logger = logging.getLogger(__name__)

_HEAD_START_US = 50_000
_MAKING_US = 60
"""Longer than making a packet takes beside a busy pipeline."""
_SHORTEST_S = 0.001
_FLOOD_S = 0.01
"""A flood goes in requests of many packets, as publishers send it."""
_FLUSH_S = 30.0
_SECOND_US = 1_000_000


class Load(msgspec.Struct, frozen=True):
    """What a driver sends.

    Attributes:
        kind: What packets.
        topic: Real name of the topic.
        partitions: Its partitions.
        symbols: How many symbols.
        timeout_ms: From acceptance to deadline.
        priority: Of all packets.
    """

    kind: Kind
    topic: str
    partitions: int
    symbols: int
    timeout_ms: int
    priority: Priority = Priority.NORMAL


class Task(msgspec.Struct, frozen=True):
    """Send so many packets at a rate, then more at another one.

    Attributes:
        count: How many.
        rate: Packets a second.
        then_count: How many after them.
        then_rate: Packets a second of those.
        made_ahead: Whether all are made before the first is due, so that making them takes no CPU
            from who is measured; each counts as accepted when it is due.
    """

    count: int
    rate: float
    then_count: int = 0
    then_rate: float = 1.0
    made_ahead: bool = False

    @property
    def total(self) -> int:
        """How many packets in all."""
        return self.count + self.then_count

    def due_us(self, index: int) -> float:
        """Return when packet `index` is due, microseconds after the first."""
        first = min(index, self.count) / self.rate
        return (first + max(0, index - self.count) / self.then_rate) * _SECOND_US

    def due_by(self, elapsed_us: float) -> int:
        """Return how many packets are due so long after the first was, itself included."""
        if elapsed_us < 0.0:
            return 0
        first = int(elapsed_us * self.rate / _SECOND_US) + 1
        if first <= self.count:
            return first
        more = (elapsed_us / _SECOND_US - self.count / self.rate) * self.then_rate
        return min(self.total, self.count + int(more) + 1)


class Sent(msgspec.Struct, frozen=True):
    """What became of a task.

    Attributes:
        first: Number of the first packet.
        count: How many were handed to Kafka.
        failed: How many of them it did not take.
        start_us: When the first was due, microseconds since the Unix epoch, UTC.
        late_ms_p99: By how much packets were sent later than due.
        bytes: Size of all values.
    """

    first: int
    count: int
    failed: int
    start_us: int
    late_ms_p99: float
    bytes: int


class _Driver:
    def __init__(self, load: Load) -> None:
        settings = load_settings()
        self._load = load
        self._clock = WallClock()
        self._maker = PacketMaker(
            load.kind, load.symbols, load.timeout_ms, settings.account, load.priority
        )
        self._sent = 0
        self._failed = 0
        properties = settings.client(
            client_id=settings.group("bench-load"), acks="all", enable_idempotence=True,
            max_in_flight_requests_per_connection=1, linger_ms=0,
            queue_buffering_max_messages=1_000_000, delivery_report_only_error=True,
        )  # fmt: skip
        self._producer = Producer(properties, logger=ClientLog(_logger))

    def work(self, commands: IO[str], answers: IO[str]) -> None:
        for line in commands:
            task = msgspec.json.decode(line, type=Task)
            bars = self._maker.take(task.total)
            print('{"ready": true}', file=answers, flush=True)
            if not commands.readline():
                return
            print(msgspec.json.encode(self._send(task, bars)).decode(), file=answers, flush=True)

    def _send(self, task: Task, bars: Sequence[MarketBar]) -> Sent:
        make, produce, now_us = self._maker.make, self._producer.produce, self._clock.now_us
        topic, partitions = self._load.topic, self._load.partitions
        first, self._failed = self._sent, 0
        late_us = np.zeros(task.total, dtype=np.int64)
        start_us = now_us() + _HEAD_START_US
        made: list[tuple[bytes, bytes]] = []
        if task.made_ahead:
            start_us += task.total * _MAKING_US
            dues = (start_us + round(task.due_us(index)) for index in range(task.total))
            made = [make(bar, due_us, due_us) for bar, due_us in zip(bars, dues, strict=True)]
        size = done = 0
        where: dict[bytes, int] = {}
        while done < task.total:
            now = now_us()
            due = min(task.total, task.due_by(now - start_us))
            for index in range(done, max(done, due)):
                due_us = start_us + round(task.due_us(index))
                key, value = made[index] if made else make(bars[index], due_us, now)
                if key not in where:
                    where[key] = partition_of(key, partitions)
                produce(topic, value, key, where[key], on_delivery=self._delivered)
                late_us[index] = now - due_us
                size += len(value)
            done = max(done, due)
            self._producer.poll(0)
            next_us = start_us + task.due_us(done)
            shortest_s = _FLOOD_S if made else _SHORTEST_S
            time.sleep(max(shortest_s, (next_us - now_us()) / _SECOND_US))
        self._failed += self._producer.flush(_FLUSH_S)
        self._sent += task.total
        late_ms = float(np.percentile(late_us, 99)) / 1000 if task.total else 0.0
        return Sent(first, task.total, self._failed, start_us, late_ms, size)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed += 1


def main(argument: str) -> None:
    """Send what standard input asks for, until it ends."""
    _Driver(msgspec.json.decode(argument, type=Load)).work(sys.stdin, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
