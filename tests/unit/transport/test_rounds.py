"""The queue between the pump's thread and the event loop."""

import asyncio
import threading
from typing import Any, cast

from pipeline.transport.rounds import RoundQueue
from tests.unit.stages.engine_factories import FakeMessage


def _messages(*offsets: int, partition: int = 0) -> list[Any]:
    return [cast(Any, FakeMessage(b"", n, "topic", partition)) for n in offsets]


def _queue(limit: int = 100) -> RoundQueue:
    queue = RoundQueue(asyncio.get_running_loop(), limit)
    queue.clear(1)
    return queue


async def test_what_gathers_meanwhile_is_one_round() -> None:
    """Batches are merged by partition, in order, with the time of the first."""
    queue = _queue()
    queue.add(_messages(1, 2), 10, 1)
    queue.add([*_messages(3), *_messages(7, partition=1)], 20, 1)
    taken = await queue.take()
    assert {("topic", 0): [1, 2, 3], ("topic", 1): [7]} == {
        where: [each.offset() for each in found] for where, found in taken.records.items()
    }
    assert (10, 1, 0) == (taken.received, taken.generation, queue.size)


async def test_rounds_have_a_limit() -> None:
    """A batch above it is cut, nothing is lost, order stays."""
    queue = _queue(limit=3)
    queue.add(_messages(*range(8)), 10, 1)
    offsets = []
    sizes = []
    while queue.size:
        found = (await queue.take()).records["topic", 0]
        offsets += [each.offset() for each in found]
        sizes.append(len(found))
    assert (list(range(8)), True) == (offsets, max(sizes) <= 3)


async def test_messages_of_another_generation_are_dropped() -> None:
    """What was fetched for an ownership that ended never becomes a round."""
    queue = _queue()
    queue.add(_messages(1), 10, 1)
    queue.clear(2)
    queue.add(_messages(2), 10, 1)
    assert 0 == queue.size
    queue.add(_messages(3), 10, 2)
    taken = await queue.take()
    assert ([3], 2) == ([each.offset() for each in taken.records["topic", 0]], taken.generation)


async def test_a_taker_is_woken_from_another_thread() -> None:
    """Who waits gets the first message that comes."""
    queue = _queue()
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    thread = threading.Thread(target=queue.add, args=(_messages(4), 10, 1))
    thread.start()
    taken = await asyncio.wait_for(taking, 10)
    thread.join()
    assert [4] == [each.offset() for each in taken.records["topic", 0]]


async def test_rounds_of_a_busy_worker_let_others_run() -> None:
    """Where stages share a loop, one that always finds records takes turns with the rest."""
    busy, other = _queue(limit=1), _queue(limit=1)
    busy.add(_messages(*range(5)), 10, 1)
    other.add(_messages(*range(5)), 10, 1)
    turns: list[str] = []

    async def work(name: str, queue: RoundQueue) -> None:
        async for _ in queue:
            turns.append(name)
            if not queue.size:
                return

    await asyncio.gather(work("busy", busy), work("other", other))
    assert ["busy", "other"] * 5 == turns
