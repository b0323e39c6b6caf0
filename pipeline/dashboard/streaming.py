"""Server-sent events: one picture a second for all browsers, encoded once."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

__all__ = ["Pictures"]

_logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
"""Seconds between pictures."""

_MOST_STREAMS = 50
_SEND_S = 15.0


class Pictures:
    """Takes pictures and hands them to all streams; on the event loop alone.

    A browser that is slow gets the newest picture when it is ready for one, and misses those
    between; one that takes nothing for 15 s is cut off.

    Args:
        take: Returns the picture of now; called on a thread.
    """

    def __init__(self, take: Callable[[], dict[str, Any]]) -> None:
        self._take = take
        self._newest = b""
        self._number = 0
        self._fresh = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.streams = 0

    async def start(self) -> None:
        """Begin to take pictures."""
        self._task = asyncio.create_task(self._keep_taking())

    async def close(self) -> None:
        """End all streams."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None
        async with self._fresh:
            self._fresh.notify_all()

    async def stream(self, request: web.Request, allowed: Callable[[], bool]) -> web.StreamResponse:
        """Answer a request with pictures until it is cut off.

        Args:
            request: The request.
            allowed: Says before each picture whether its sender may still see it.

        Raises:
            web.HTTPServiceUnavailable: If there are too many streams.
        """
        if self.streams >= _MOST_STREAMS:
            raise web.HTTPServiceUnavailable(reason="Too many pages are open.")
        self.streams += 1
        try:
            return await self._send(request, allowed)
        finally:
            self.streams -= 1

    async def _send(self, request: web.Request, allowed: Callable[[], bool]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        seen = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while self._task is not None:
                if not allowed():
                    await response.write(b"event: logged-out\ndata: {}\n\n")
                    break
                if self._number > seen:
                    seen = self._number
                    await asyncio.wait_for(response.write(self._newest), _SEND_S)
                await self._newer_than(seen)
        return response

    async def _newer_than(self, seen: int) -> None:
        async with self._fresh:
            await self._fresh.wait_for(lambda: self._number > seen or self._task is None)

    async def _keep_taking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                picture = await asyncio.to_thread(self._take)
                encoded = await asyncio.to_thread(msgspec.json.encode, picture)
            except Exception:
                _logger.exception("dashboard_took_no_picture")
            else:
                async with self._fresh:
                    self._newest = b"event: picture\ndata: " + encoded + b"\n\n"
                    self._number += 1
                    self._fresh.notify_all()
            await asyncio.sleep(max(0.1, began_s + EVERY_S - loop.time()))
