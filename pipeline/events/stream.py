"""A subscription as an asynchronous iterator."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pipeline.events.subscription import Received, Subscription

__all__ = ["Stream"]

_WAITING = 1000
_LOOK_S = 0.2

Subscribe = Callable[[Callable[[Received], None]], Subscription]


class Stream:
    """The records of some topics, for `async for`; also an asynchronous context manager.

    At most a thousand records wait; then reading pauses until they are taken. Leaving the loop does
    not close it: use `async with`, or `await stream.aclose()`. It belongs to one event loop.

    Args:
        subscribe: Opens the subscription with the handler given.
    """

    def __init__(self, subscribe: Subscribe) -> None:
        self._subscribe = subscribe
        self._waiting: deque[Received] = deque()
        self._room = threading.Semaphore(_WAITING)
        self._arrived = asyncio.Event()
        self._closed = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[Subscription] | None = None

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        await self._open()
        while not self._waiting:
            if self._closed.is_set():
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        self._room.release()
        return self._waiting.popleft()

    async def ready(self, timeout_s: float = 10.0) -> None:
        """Subscribe, and wait until nothing published from then on is missed.

        Raises:
            BrokerUnavailable, ConfigurationError: As `EventBus.subscribe` and `Subscription.ready`.
        """
        subscription = await self._open()
        await asyncio.to_thread(subscription.ready, timeout_s)

    async def aclose(self) -> None:
        """End it; whoever waits for the next record sees the end of the loop."""
        self._closed.set()
        if self._opening is not None:
            subscription = await self._opening
            await asyncio.to_thread(subscription.close)
        self._arrived.set()

    async def _open(self) -> Subscription:
        if self._opening is None:
            self._loop = asyncio.get_running_loop()
            self._opening = asyncio.create_task(asyncio.to_thread(self._subscribe, self._take))
        return await asyncio.shield(self._opening)

    def _take(self, received: Received) -> None:
        while not self._room.acquire(timeout=_LOOK_S):
            if self._closed.is_set():
                return
        self._waiting.append(received)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)
