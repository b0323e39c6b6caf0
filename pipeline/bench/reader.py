"""Reads what came out of the last hop, after the fact, and checks it: count, repeats, order."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Message, TopicPartition
from numpy.typing import NDArray

from pipeline.bench.packets import NORMAL, Seen, seen_of
from pipeline.errors import BrokerUnavailable, PoisonError
from pipeline.packets.codec import decode, is_marker, journal_head
from pipeline.packets.runs import unrolled
from pipeline.settings import Settings
from pipeline.transport.clients import drain, log_consumer, watermarks
from pipeline.transport.log import LogReader

__all__ = ["Arrival", "Checked", "EndReader", "check"]

_BATCH = 5000
_TIMEOUT_S = 10.0
_QUIET_S = 3.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet in the last topic.

    Attributes:
        seen: What it says.
        appended_us: When the broker appended it, microseconds; its clock tells milliseconds.
        size: Bytes of the value, shared out where it stands for several packets.
    """

    seen: Seen
    appended_us: int
    size: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A phase's packets, set against what was sent.

    Attributes:
        due_us: When each that arrived was due, in order of arrival.
        latency_us: Its latency, from due to appended.
        lost: Packets that did not arrive.
        duplicates: Arrivals of a packet that had arrived.
        misordered: Arrivals after a later packet of their symbol.
        errors: Packets that ended expired, shed or dead-lettered.
        strays: Arrivals of packets that nobody sent.
        bytes_mean: Mean size of a value.
    """

    due_us: NDArray[np.int64]
    latency_us: NDArray[np.int64]
    lost: int
    duplicates: int
    misordered: int
    errors: int
    strays: int
    bytes_mean: float


def check(arrivals: Sequence[Arrival], first: int, count: int, symbols: int) -> Checked:
    """Set arrivals against the packets `first` to `first + count - 1`.

    Args:
        arrivals: In the order of the last topic.
        first: Number of the first packet sent.
        count: How many were sent.
        symbols: How many symbols the load has.
    """
    arrived = np.zeros(count, dtype=bool)
    newest: dict[int, int] = {}
    due, latency = [], []
    duplicates = misordered = errors = strays = size = 0
    for arrival in arrivals:
        number = arrival.seen.number
        if not first <= number < first + count:
            strays += 1
            continue
        if arrived[number - first]:
            duplicates += 1
            continue
        arrived[number - first] = True
        symbol = number % symbols
        misordered += number < newest.get(symbol, -1)
        newest[symbol] = max(number, newest.get(symbol, -1))
        errors += arrival.seen.error
        size += arrival.size
        due.append(arrival.seen.due_us)
        latency.append(arrival.appended_us - arrival.seen.due_us)
    return Checked(
        np.array(due, dtype=np.int64),
        np.array(latency, dtype=np.int64),
        count - len(due),
        duplicates,
        misordered,
        errors,
        strays,
        size / len(due) if due else 0.0,
    )


class EndReader:
    """Follows the last topic.

    Nothing is read while a phase runs, so that reading costs the measured ones nothing: `end` asks
    the broker how far the topic goes, and `read` fetches and decodes it afterwards.

    Args:
        settings: Broker and namespace.
        topic: The last topic, without namespace.
        partitions: Its partitions.
        symbols: How many symbols the load has.
        log: Whether it is an output log; then the reading rule decides what counts.
        prefix: What the names of the load's symbols begin with.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        partitions: int,
        symbols: int,
        *,
        log: bool,
        prefix: str = NORMAL,
    ) -> None:
        self._topic = settings.topic(topic)
        self._partitions = range(partitions)
        self._symbols = symbols
        self._prefix = prefix
        self._readers = {each: LogReader() for each in self._partitions} if log else {}
        self._consumer = log_consumer(settings, "bench-reader", isolation_level="read_committed")
        self._positions = dict.fromkeys(self._partitions, 0)
        self._consumer.assign([TopicPartition(self._topic, each, 0) for each in self._partitions])
        self._consumer.pause([TopicPartition(self._topic, each) for each in self._partitions])
        self._paused = True

    def end(self) -> int:
        """Return how many records the topic has, markers included."""
        return sum(
            watermarks(self._consumer, self._topic, each, _TIMEOUT_S)[1]
            for each in self._partitions
        )

    def read(self) -> list[Arrival]:
        """Return what was appended since the last call, up to the end as it is now.

        Raises:
            BrokerUnavailable: If the topic cannot be read to its end.
        """
        ends = {
            each: watermarks(self._consumer, self._topic, each, _TIMEOUT_S)[1]
            for each in self._partitions
        }
        where = [TopicPartition(self._topic, each) for each in self._partitions]
        self._consumer.resume(where)
        found: list[Arrival] = []
        deadline_s = time.monotonic() + _QUIET_S
        while any(self._positions[each] < end for each, end in ends.items()):
            messages = drain(self._consumer, _BATCH, 0.2)
            for message in messages:
                self._take(message, found)
            if messages:
                deadline_s = time.monotonic() + _QUIET_S
            elif self._at_end(ends):
                break
            elif time.monotonic() > deadline_s + _TIMEOUT_S:
                raise BrokerUnavailable(f"Expected to read {self._topic} to its end, was stuck")
        self._consumer.pause(where)
        return found

    def _at_end(self, ends: dict[int, int]) -> bool:
        """Say whether the consumer stands at the end: the last offsets may hold no record."""
        wanted = [TopicPartition(self._topic, each) for each in ends]
        positions = {each.partition: each.offset for each in self._consumer.position(wanted)}
        return all(positions.get(each, -1) >= end for each, end in ends.items())

    def _take(self, message: Message, found: list[Arrival]) -> None:
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        self._positions[partition] = offset + 1
        value = message.value()
        if not self._counts(partition, offset, value) or value is None:
            return
        try:
            packets = list(unrolled(decode(value)))
        except PoisonError:
            return
        for packet in packets:
            if (seen := seen_of(packet, self._symbols, self._prefix)) is not None:
                size = len(value) // len(packets)
                found.append(Arrival(seen, int(message.timestamp()[1]) * 1000, size))

    def _counts(self, partition: int, offset: int, value: bytes | None) -> bool:
        reader = self._readers.get(partition)
        if is_marker(value):
            if reader is not None:
                reader.marker(offset)
            return False
        if reader is None:
            return True
        head = journal_head(value)
        return head is not None and reader.accepts(offset, head.epoch, head.sequence)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
