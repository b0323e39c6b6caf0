"""A built-in worker that steps back."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from pipeline.stages.yielding import yield_to_registered
from pipeline.transport.host import LogHost


class _Host:
    """Notes joining and leaving; it is its own pump."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.pump = self
        self.spec = self
        self.stage = "risk"

    def subscribe(self) -> None:
        self.done.append("join")

    def unsubscribe(self) -> None:
        self.done.append("leave")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not condition():  # noqa: ASYNC110  # polled with a deadline
            await asyncio.sleep(0.01)


async def test_it_leaves_while_displaced_and_returns_once_all_is_given_back() -> None:
    """It leaves once, and joins again only when its partitions were taken from it."""
    host, state = _Host(), {"displaced": True, "settled": False}
    looks: list[Any] = []

    def settled() -> bool:
        looks.append(None)
        return state["settled"]

    task = asyncio.create_task(
        yield_to_registered(cast(LogHost, host), lambda: state["displaced"], settled)
    )
    await _until(lambda: host.done == ["leave"])
    state["displaced"] = False
    seen = len(looks)
    await _until(lambda: len(looks) >= seen + 3)
    assert ["leave"] == host.done
    state["settled"] = True
    await _until(lambda: host.done == ["leave", "join"])
    task.cancel()
