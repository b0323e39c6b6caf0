"""The pumps: each lane is polled by itself."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from pipeline.settings import load_settings
from pipeline.testing import ManualClock
from pipeline.transport.pump import InputPump
from pipeline.transport.rounds import RoundQueue, TopicAndPartition
from tests.unit.transport.test_clients import FakeConsumer, FakeRecord

NORMAL, URGENT = "cascade.market", "cascade.market.priority"


class PausingConsumer(FakeConsumer):
    """Notes what it is told to read, and whether that is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.reading: list[tuple[str, int, int]] = []
        self.paused = False

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.reading = [(each.topic, each.partition, each.offset) for each in partitions]

    def pause(self, _: list[TopicPartition]) -> None:
        self.paused = True

    def resume(self, _: list[TopicPartition]) -> None:
        self.paused = False


class Pumps:
    """Both pumps of a worker on consumers without a broker, stepped by hand."""

    def __init__(self) -> None:
        settings = load_settings(broker="127.0.0.1:1", lane_queue_records=4)
        self.rounds = RoundQueue(asyncio.get_running_loop(), 100)
        ignore: Any = lambda *_: None  # noqa: E731  # nobody asks
        self.pump = InputPump(
            settings, "cascade.strategic", self.rounds, ManualClock(), gather_s=0.02,
            priority=URGENT, on_assigned=ignore, on_revoked=ignore, on_failed=ignore,
        )  # fmt: skip
        assert self.pump._ahead is not None
        self.ahead = self.pump._ahead
        self.normal, self.urgent = PausingConsumer(), PausingConsumer()
        for thread, consumer in ((self.pump, self.normal), (self.ahead, self.urgent)):
            thread.consumer.close()
            thread.consumer = cast(Consumer, consumer)

    def read(self, positions: Mapping[TopicAndPartition, int]) -> None:
        self.rounds.clear(1)
        self.pump.read(positions, 1)
        for thread in (self.pump, self.ahead):
            thread._work_off_commands()

    def poll(self, normal: int = 0, urgent: int = 0) -> None:
        self.normal.records += [FakeRecord(b"", n, NORMAL) for n in range(normal)]
        self.urgent.records += [FakeRecord(b"", n, URGENT) for n in range(urgent)]
        for thread in (self.pump, self.ahead):
            thread._poll()


async def test_each_lane_is_read_by_its_own_consumer() -> None:
    """So one that has fetched much of the normal lane hands out urgent messages all the same."""
    pumps = Pumps()
    pumps.read({(NORMAL, 0): 5, (URGENT, 0): 7, (NORMAL, 1): 6})
    assert [(NORMAL, 0, 5), (NORMAL, 1, 6)] == pumps.normal.reading
    assert [(URGENT, 0, 7)] == pumps.urgent.reading
    pumps.poll(3, 2)
    assert (3, 2) == (pumps.rounds.normal.size, pumps.rounds.priority.size)


async def test_a_full_lane_is_paused_and_the_other_is_not() -> None:
    """While the backlog waits in Kafka, urgent messages are fetched."""
    pumps = Pumps()
    pumps.read({(NORMAL, 0): 0, (URGENT, 0): 0})
    pumps.poll(normal=5)
    pumps.poll(urgent=1)
    assert (True, False, 1) == (
        pumps.normal.paused, pumps.urgent.paused, pumps.rounds.priority.size
    )  # fmt: skip
    for _ in range(2):
        await pumps.rounds.take()
    pumps.poll()
    assert not pumps.normal.paused


async def test_isolation_pauses_both_lanes() -> None:
    """A stage that is isolated takes nothing, however urgent."""
    pumps = Pumps()
    pumps.read({(NORMAL, 0): 0, (URGENT, 0): 0})
    pumps.pump.isolate(True)
    pumps.poll()
    assert (True, True) == (pumps.normal.paused, pumps.urgent.paused)


async def test_urgent_messages_are_not_gathered() -> None:
    """Those of the normal lane wait for more while the worker is busy."""
    pumps = Pumps()
    for pump in (pumps.pump, pumps.ahead):
        pump._pacing.handed_over(100.0, 1000)
    waits = [pump._pacing.wait_s(100.0, 1.0) for pump in (pumps.pump, pumps.ahead)]
    assert [pytest.approx(0.02), 0.0] == waits
