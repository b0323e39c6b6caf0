"""A round: what one poll drained over all partitions of a worker, and the queue it waits in."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from confluent_kafka import Message

from pipeline.transport.clients import partition_of

__all__ = ["Lane", "Room", "Round", "RoundQueue", "TopicAndPartition"]

TopicAndPartition = tuple[str, int]
_WEIGHT = 0.2
_PRIORITY_ROUNDS = 8
"""So many rounds of the priority lane run before one of the normal lane has its turn."""
_ASK_AGAIN_S = 0.01


Room = Callable[[int, float], int]
"""Says how many messages of the normal lane may go on, given how many wait, and how many seconds
ago the last one of the priority lane went on."""


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


@dataclass(slots=True)
class Lane:
    """Messages that wait, in order.

    Attributes:
        size: How many.
        batches: Them, with the clock when they were taken from the broker, microseconds.
    """

    size: int = 0
    batches: deque[tuple[list[Message], int]] = field(default_factory=deque)

    def add(self, messages: list[Message], received: int) -> None:
        """Add messages at the end."""
        self.batches.append((messages, received))
        self.size += len(messages)

    def take(self, most: int) -> tuple[list[Message], int]:
        """Take up to `most` messages off, at least one waiting; return them and when they came."""
        taken: list[Message] = []
        received = self.batches[0][1]
        while self.batches and len(taken) < most:
            messages, came = self.batches.popleft()
            room = most - len(taken)
            if len(messages) > room:
                self.batches.appendleft((messages[room:], came))
                messages = messages[:room]
            taken += messages
        self.size -= len(taken)
        return taken, received

    def clear(self) -> None:
        """Drop them."""
        self.batches.clear()
        self.size = 0


class RoundQueue:
    """Hands messages from the pump thread to the event loop, merged into rounds.

    The pump adds and never waits. While the loop works on a round, messages gather, and the next
    `take` returns them at once without a hand-over between threads.

    There are two lanes. A round is of one lane, so that what is urgent does not wait until others
    are worked off beside it. The priority lane goes first; after eight of its rounds in a row the
    normal lane has one.

    Args:
        loop: The loop that takes.
        round_limit: Most messages of one round.
        room: Says how many of the normal lane may go on; None: all of them.

    Attributes:
        normal: The normal lane.
        priority: The priority lane.
        work_s: How long recent rounds took from being taken until the next was asked for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        round_limit: int,
        room: Room | None = None,
    ) -> None:
        self._loop = loop
        self._round_limit = round_limit
        self._may_go_on = room
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._priority_s = float("-inf")
        self._generation = 0
        self._waiting = False
        self._arrived = asyncio.Event()
        self._taken_s: float | None = None
        self.normal = Lane()
        self.priority = Lane()
        self.work_s = 0.0

    @property
    def size(self) -> int:
        """Messages that wait."""
        return self.normal.size + self.priority.size

    def add(
        self, messages: list[Message], received: int, generation: int, *, priority: bool = False
    ) -> None:
        """Queue messages; called by the thread that polls their lane."""
        with self._lock:
            if generation != self._generation:
                return
            (self.priority if priority else self.normal).add(messages, received)
        self.wake()

    def clear(self, generation: int) -> None:
        """Drop what waits and take only messages of `generation` from now on."""
        with self._lock:
            self.normal.clear()
            self.priority.clear()
            self._generation = generation

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
                if (found := self._next()) is not None:
                    self._taken_s = time.monotonic()
                    return found
                self._arrived.clear()
                self._waiting = True
                held_back = self.normal.size > 0
            if held_back:
                asking = self._loop.call_later(_ASK_AGAIN_S, self._arrived.set)
            await self._arrived.wait()
            if held_back:
                asking.cancel()

    def wake(self) -> None:
        """Have whoever waits for a round look again; from any thread."""
        with self._lock:
            wake, self._waiting = self._waiting, False
        if wake:
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _measure(self) -> None:
        if self._taken_s is not None:
            self.work_s += _WEIGHT * (time.monotonic() - self._taken_s - self.work_s)
            self._taken_s = None

    def _next(self) -> Round | None:
        """Take the next round off, None where no message may go on."""
        if self.priority.size and self._in_a_row < _PRIORITY_ROUNDS:
            self._in_a_row += self.normal.size > 0
            return self._priority_round()
        if room := self._room():
            self._in_a_row = 0
            return self._round(self.normal, room)
        return self._priority_round() if self.priority.size else None

    def _priority_round(self) -> Round:
        self._priority_s = time.monotonic()
        return self._round(self.priority, self._round_limit)

    def _room(self) -> int:
        waiting = self.normal.size
        if self._may_go_on is None or not waiting:
            return min(self._round_limit, waiting)
        since_s = time.monotonic() - self._priority_s
        return min(self._round_limit, waiting, self._may_go_on(waiting, since_s))

    def _round(self, lane: Lane, most: int) -> Round:
        messages, received = lane.take(most)
        records: dict[TopicAndPartition, list[Message]] = {}
        for message in messages:
            where = (str(message.topic()), partition_of(message))
            records.setdefault(where, []).append(message)
        return Round(records, received, self._generation)
