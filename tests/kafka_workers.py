"""Worker processes under test, and what they leave in Kafka."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from pipeline.packets.codec import decode_as, is_marker
from pipeline.packets.identity import flow_id, packet_id
from pipeline.packets.models import Bar, Envelope, Marker, MarketData
from pipeline.packets.vocabulary import SuperpositionType
from pipeline.rules.oracle import Log
from pipeline.run.workers import child_environment
from pipeline.settings import Settings
from pipeline.topics import TopicFile
from pipeline.topics import apply as apply_topics

LIMIT_S = 90.0  # a busy machine takes its time
MANY_MS = 3_600_000  # so that a slow machine lets no packet expire


def wait_until(
    condition: Callable[[], object], what: str, limit_s: float = LIMIT_S, every_s: float = 0.1
) -> None:
    """Poll until `condition` is true.

    Raises:
        AssertionError: If it is not within the limit.
    """
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"Expected {what} within {limit_s} s"
        time.sleep(every_s)


class Worker:
    """A worker process, `faust -A MODULE worker`, and its log.

    Args:
        module: Module of the app.
        settings: What the worker is told.
        number: Tells the logs of several workers apart.
        code: Folder of the checkout whose code it runs; None: this one.
    """

    def __init__(
        self, module: str, settings: Settings, number: int, code: Path | None = None
    ) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.module = module
        self.log_file: Path = settings.home / f"{module}-{number}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", module, "worker", "-l", "info"],
                env=child_environment(settings, os.environ),
                cwd=code,  # what lies there goes before what is installed
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text(errors="replace")

    def wait_for(self, text: str, times: int = 1, limit_s: float = LIMIT_S) -> None:
        """Wait until it has logged `text`."""
        wait_until(
            lambda: self.log.count(text) >= times or self.process.poll() is not None,
            f"{text!r} from {self.module}",
            limit_s,
        )
        assert self.log.count(text) >= times, f"{self.module} ended:\n{self.log[-4000:]}"

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(which)

    def wait_for_end(self, limit_s: float = LIMIT_S) -> int:
        """Return its exit code, once it has ended by itself."""
        wait_until(lambda: self.process.poll() is not None, f"{self.module} to end", limit_s)
        return int(self.process.returncode)

    def stop(self) -> int:
        """Stop it in order, and return its exit code."""
        self.process.terminate()
        return self.wait_for_end()

    def kill(self) -> None:
        """Kill it where it stands; the process is gone when this returns."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)


Answer = TypeVar("Answer")
_IDLE: dict[str, Consumer] = {}

StartWorker = Callable[[str, Settings], Worker]


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Start workers by module; none is left at the end."""
    started: list[Worker] = []

    def start(module: str, settings: Settings) -> Worker:
        name = module if "." in module else f"pipeline.stages.{module}"
        worker = Worker(name, settings, len(started))
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
    while _IDLE:
        _IDLE.popitem()[1].close()


@pytest.fixture
def run_settings(kafka_settings: Settings) -> Settings:
    """Settings of a namespace that has its topics, for packets that do not expire."""
    settings = kafka_settings.model_copy(update={"cascade_timeout_ms": MANY_MS})
    apply_topics(settings, TopicFile.load())
    return settings


def market_data(symbol: str, sequence: int, settings: Settings, **changes: int) -> MarketData:
    """Return a packet of market data whose bar is a pure function of symbol and sequence."""
    flow = flow_id("market", symbol, sequence)
    now = time.time_ns() // 1000
    deadline = now + settings.cascade_timeout_ms * 1000
    price = 100.0 + (sequence * 7 % 13) * 0.3 + sequence * 0.01
    envelope = Envelope(
        flow, packet_id(flow, "market"), "", SuperpositionType.CONTEXT_UPDATE, "market",
        "strategic", symbol, settings.account, sequence, changes.get("priority", 1),
        now, changes.get("accepted_at", now), changes.get("deadline", deadline), 0, 2, (),
    )  # fmt: skip
    return MarketData(envelope, Bar(price, price + 0.5, price - 0.5, price + 0.1, 1000.0, 60))


def send(
    settings: Settings,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None]],
    headers: list[tuple[str, str | bytes | None]] | None = None,
) -> None:
    """Write (key, value) pairs to a topic, by its name without namespace, each with `headers`."""
    producer = Producer(
        settings.client(
            partitioner="murmur2_random", enable_idempotence=True, message_max_bytes=2_000_000
        )
    )
    for key, value in records:
        producer.produce(settings.topic(topic), value, key, headers=headers or [])
    assert producer.flush(30) == 0


@contextmanager
def consumer_of(settings: Settings) -> Iterator[Consumer]:
    """Lend a consumer that is in no group; it is kept, since new ones cost a connection each."""
    bootstrap = settings.broker or ""
    # It may outlive the broker of its tests; that is not worth a word.
    properties = {**settings.client(group_id="unused", enable_auto_commit=False), "log_level": 0}
    consumer = _IDLE.pop(bootstrap, None) or Consumer(properties)
    yield consumer
    consumer.unassign()
    _IDLE[bootstrap] = consumer


def _answered(ask: Callable[[], Answer]) -> Answer:
    """Return what the broker says, asking again while it is too busy to answer."""
    end_s = time.monotonic() + LIMIT_S
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > end_s:
                raise


def _bounds(consumer: Consumer, real: str) -> dict[int, tuple[int, int]]:
    """Return first and end offset of each partition of a topic."""
    found = _answered(lambda: consumer.list_topics(real, timeout=10)).topics[real].partitions
    places = [TopicPartition(real, partition) for partition in found]
    return {
        each.partition: _answered(partial(consumer.get_watermark_offsets, each, timeout=10))
        for each in places
    }


def read_topic(settings: Settings, topic: str) -> dict[int, list[Message]]:
    """Return all that stands in a topic now, by partition."""
    real = settings.topic(topic)
    with consumer_of(settings) as consumer:
        bounds = _bounds(consumer, real)
        messages: dict[int, list[Message]] = {partition: [] for partition in bounds}
        left = {partition: end for partition, (low, end) in bounds.items() if end > low}
        consumer.assign([TopicPartition(real, each, bounds[each][0]) for each in left])
        end_s = time.monotonic() + LIMIT_S
        while left:
            assert time.monotonic() < end_s, f"Expected {real} to be read, was not: {left}"
            for message in consumer.consume(500, 0.1):
                if message.error() is not None or message.topic() != real:
                    continue
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                messages[partition].append(message)
                if partition in left and offset + 1 >= left[partition]:
                    del left[partition]
        return messages


def read_log(settings: Settings, topic: str) -> Log:
    """Return a log as the oracle takes it."""
    return {
        partition: [(int(each.offset() or 0), as_bytes(each.value())) for each in messages]
        for partition, messages in read_topic(settings, topic).items()
    }


def as_bytes(value: bytes | str | None) -> bytes | None:
    """Return a value of a message, which is never text."""
    assert not isinstance(value, str)
    return value


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return the end offset of each partition of a topic."""
    with consumer_of(settings) as consumer:
        bounds = _bounds(consumer, settings.topic(topic))
    return {partition: end for partition, (_, end) in bounds.items()}


def committed(settings: Settings, group: str) -> Mapping[tuple[str, int], int]:
    """Return the offsets that a group has committed, as a lag tool sees them."""
    admin = AdminClient(settings.client())
    asked = [ConsumerGroupTopicPartitions(settings.group(group))]
    (future,) = admin.list_consumer_group_offsets(asked).values()
    return {
        (settings.plain_topic(each.topic), each.partition): each.offset
        for each in future.result(timeout=10).topic_partitions
    }


def markers(log: Log) -> dict[int, list[tuple[int, Marker]]]:
    """Return the markers of a log, by partition."""
    return {
        partition: [
            (offset, decode_as(value, Marker)) for offset, value in entries if is_marker(value)
        ]
        for partition, entries in log.items()
    }
