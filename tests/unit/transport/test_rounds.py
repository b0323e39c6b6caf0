"""The queue between the pump's thread and the event loop."""

import asyncio
import threading
from typing import Any, cast

from pipeline.transport.rounds import Round, RoundQueue
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


def _offsets(taken: Round) -> list[int]:
    return [int(each.offset() or 0) for found in taken.records.values() for each in found]


async def test_a_round_is_of_one_lane_the_priority_lane_first() -> None:
    """What is urgent waits neither behind the others nor for their work."""
    queue = _queue()
    queue.add(_messages(1, 2), 10, 1)
    queue.add(_messages(8, 9), 20, 1, priority=True)
    assert [[8, 9], [1, 2]] == [_offsets(await queue.take()) for _ in range(2)]


async def test_eight_priority_rounds_then_a_normal_one() -> None:
    """However many urgent messages come, the normal lane has its turns."""
    queue = _queue(limit=1)
    queue.add(_messages(*range(20)), 10, 1)
    queue.add(_messages(*range(100, 120)), 10, 1, priority=True)
    turns = [_offsets(await queue.take())[0] >= 100 for _ in range(18)]
    assert ([True] * 8 + [False]) * 2 == turns


async def test_priority_rounds_alone_use_up_no_turns() -> None:
    """Turns count only while somebody waits for one."""
    queue = _queue(limit=1)
    queue.add(_messages(*range(100, 112)), 10, 1, priority=True)
    for _ in range(10):
        await queue.take()
    queue.add(_messages(1), 10, 1)
    assert [110, 111, 1] == [_offsets(await queue.take())[0] for _ in range(3)]


async def test_the_normal_lane_goes_on_as_far_as_it_may() -> None:
    """It is told how many wait, and how long ago the priority lane had a round."""
    asked: list[tuple[int, bool]] = []

    def room(waiting: int, since_priority_s: float) -> int:
        asked.append((waiting, since_priority_s < 60.0))
        return 2

    queue = RoundQueue(asyncio.get_running_loop(), 100, room)
    queue.clear(1)
    queue.add(_messages(1, 2, 3), 10, 1)
    assert [1, 2] == _offsets(await queue.take())
    queue.add(_messages(9), 10, 1, priority=True)
    assert [[9], [3]] == [_offsets(await queue.take()) for _ in range(2)]
    assert [(3, False), (1, True)] == asked


async def test_who_waits_for_room_asks_again() -> None:
    """When woken, and by itself, in case that nobody ever does."""
    rooms = iter([0, 1, 0, 0, 1])
    queue = RoundQueue(asyncio.get_running_loop(), 100, lambda *_: next(rooms))
    queue.clear(1)
    queue.add(_messages(1, 2), 10, 1)
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.wake()
    assert [1] == _offsets(await asyncio.wait_for(taking, 10))
    assert [2] == _offsets(await asyncio.wait_for(queue.take(), 10))


async def test_urgent_messages_do_not_wait_for_room() -> None:
    """A full pipeline holds back the normal lane only."""
    queue = RoundQueue(asyncio.get_running_loop(), 100, lambda *_: 0)
    queue.clear(1)
    queue.add(_messages(1), 10, 1)
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(_messages(9), 10, 1, priority=True)
    assert [9] == _offsets(await asyncio.wait_for(taking, 10))
