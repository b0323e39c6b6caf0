"""A round: what one poll drained over all partitions of a worker, and the queue it waits in."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from confluent_kafka import Message

from pipeline.transport.clients import partition_of

__all__ = ["Round", "RoundQueue", "TopicAndPartition"]

TopicAndPartition = tuple[str, int]
_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Round:
    """What a Faust agent works off at a time.

    Attributes:
        records: Messages by (real topic, partition), in order of offset.
        received: Clock when the first of them was taken from the broker, microseconds.
        generation: Of the ownership that the records were fetched for.
    """

    records: Mapping[TopicAndPartition, Sequence[Message]]
    received: int
    generation: int


class RoundQueue:
    """Hands messages from the pump thread to the event loop, merged into rounds.

    The pump adds and never waits. While the loop works on a round, messages gather, and the next
    `take` returns them at once without a hand-over between threads.

    Args:
        loop: The loop that takes.
        round_limit: Most messages of one round.

    Attributes:
        size: Messages that wait.
        work_s: How long recent rounds took from being taken until the next was asked for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, round_limit: int) -> None:
        self._loop = loop
        self._round_limit = round_limit
        self._lock = threading.Lock()
        self._batches: deque[tuple[list[Message], int]] = deque()
        self._generation = 0
        self._waiting = False
        self._arrived = asyncio.Event()
        self._taken_s: float | None = None
        self.size = 0
        self.work_s = 0.0

    def add(self, messages: list[Message], received: int, generation: int) -> None:
        """Queue messages; called by the pump thread."""
        with self._lock:
            if generation != self._generation:
                return
            for start in range(0, len(messages), self._round_limit):
                self._batches.append((messages[start : start + self._round_limit], received))
            self.size += len(messages)
            wake, self._waiting = self._waiting, False
        if wake:
            self._loop.call_soon_threadsafe(self._arrived.set)

    def clear(self, generation: int) -> None:
        """Drop what waits and take only messages of `generation` from now on."""
        with self._lock:
            self._batches.clear()
            self._generation = generation
            self.size = 0

    def __aiter__(self) -> Self:
        """Return the rounds, without end."""
        return self

    async def __anext__(self) -> Round:
        """Return the next round, once others in the loop had their turn."""
        await asyncio.sleep(0)
        return await self.take()

    async def take(self) -> Round:
        """Return the next round, waiting for its first message."""
        self._measure()
        while True:
            with self._lock:
                if self._batches:
                    self._taken_s = time.monotonic()
                    return self._merge()
                self._arrived.clear()
                self._waiting = True
            await self._arrived.wait()

    def _measure(self) -> None:
        if self._taken_s is not None:
            self.work_s += _WEIGHT * (time.monotonic() - self._taken_s - self.work_s)
            self._taken_s = None

    def _merge(self) -> Round:
        records: dict[TopicAndPartition, list[Message]] = {}
        received = self._batches[0][1]
        count = 0
        while self._batches and count + len(self._batches[0][0]) <= self._round_limit:
            messages, _ = self._batches.popleft()
            count += len(messages)
            for message in messages:
                where = (str(message.topic()), partition_of(message))
                records.setdefault(where, []).append(message)
        self.size -= count
        return Round(records, received, self._generation)
