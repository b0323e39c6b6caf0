"""Draining a consumer: what counts, what passes, what ends the reader."""

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.errors import BrokerUnavailable, PositionLost
from pipeline.transport.clients import drain, watermarks
from tests.unit.stages.engine_factories import FakeMessage


class FakeRecord(FakeMessage):
    """A record, or an error in its place."""

    failure: KafkaError | None = None

    def error(self) -> KafkaError | None:
        return self.failure


class FakeConsumer:
    """Hands out records that are there already."""

    def __init__(self, *records: FakeRecord) -> None:
        self.records = list(records)
        self.waited_s: list[float] = []
        self.offsets: tuple[int, int] | KafkaException | None = (3, 9)

    def poll(self, timeout: float) -> FakeRecord | None:
        self.waited_s.append(timeout)
        return self.records.pop(0) if self.records else None

    def consume(self, count: int, timeout: float) -> list[FakeRecord]:
        self.waited_s.append(timeout)
        found, self.records = self.records[:count], self.records[count:]
        return found

    def get_watermark_offsets(self, where: TopicPartition, **_: Any) -> tuple[int, int] | None:
        if isinstance(self.offsets, KafkaException):
            raise self.offsets
        return self.offsets


def _records(count: int) -> list[FakeRecord]:
    return [FakeRecord(b"", n) for n in range(count)]


def _failed(code: int, *, fatal: bool = False) -> FakeRecord:
    record = FakeRecord(None, 7)
    record.failure = KafkaError(code, "what it says", fatal)
    return record


def _drain(consumer: FakeConsumer, limit: int = 10) -> list[int | None]:
    return [each.offset() for each in drain(cast(Consumer, consumer), limit, 0.5)]


def test_what_has_arrived_is_taken_without_waiting_for_more() -> None:
    """Only the first record is waited for."""
    consumer = FakeConsumer(*_records(4))
    assert [0, 1, 2, 3] == _drain(consumer)
    assert [0.5, 0.0] == consumer.waited_s


def test_a_limit_leaves_the_rest_for_later() -> None:
    """No record is lost between two drains."""
    consumer = FakeConsumer(*_records(5))
    assert [[0, 1, 2], [3, 4], []] == [_drain(consumer, 3) for _ in range(3)]
    assert [0] == _drain(FakeConsumer(*_records(2)), 1)


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_a_position_out_of_range_is_never_reset(code: int) -> None:
    """The reader ends instead, saying where."""
    with pytest.raises(PositionLost) as caught:
        _drain(FakeConsumer(_failed(code)))
    assert ("cascade.market", 0, 7) == (
        caught.value.topic, caught.value.partition, caught.value.offset
    )  # fmt: skip


def test_passing_errors_are_passed_over() -> None:
    """A broker that is away for a moment hides no record."""
    consumer = FakeConsumer(_failed(KafkaError._TRANSPORT), *_records(2))
    assert [0, 1] == _drain(consumer)


def test_a_fatal_error_ends_the_reader() -> None:
    """Librdkafka goes on with nothing after one."""
    with pytest.raises(BrokerUnavailable):
        _drain(FakeConsumer(_failed(KafkaError._FATAL, fatal=True)))


def test_watermarks_are_the_brokers() -> None:
    """First and end offset of a partition."""
    assert (3, 9) == watermarks(cast(Consumer, FakeConsumer()), "topic", 0, 1.0)


@pytest.mark.parametrize("answer", [None, KafkaException(KafkaError(KafkaError._TIMED_OUT))])
def test_watermarks_that_nobody_tells_are_an_error(answer: Any) -> None:
    """No answer is not "empty"."""
    consumer = FakeConsumer()
    consumer.offsets = answer
    with pytest.raises(BrokerUnavailable, match=r"topic\[0\]"):
        watermarks(cast(Consumer, consumer), "topic", 0, 1.0)
