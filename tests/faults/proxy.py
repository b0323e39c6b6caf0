"""A TCP proxy between one worker and the broker that reads Kafka's frames and meddles with them.

It sees each request before the broker does and each response before the worker does. So a test can
kill a worker at the very instant between a produce and its acknowledgement, let a request arrive
long after its sender was taken over, or lose an acknowledgement, and the product knows nothing of
it. Brokers name their own address in metadata; the proxy puts its own there.
"""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.faults.frames import SIZE, Api, Fate, Frame

__all__ = ["FaultProxy", "Rule"]

Rule = Callable[[Frame], Fate]
_Answer = TypeVar("_Answer")

_HOST = "127.0.0.1"
_ADDRESSED = frozenset({Api.METADATA, Api.FIND_COORDINATOR, Api.DESCRIBE_CLUSTER})
_GROUP_APIS = frozenset({8, 9, *range(10, 17), 42})
_LIMIT = 2**26


def _pass(_: Frame) -> Fate:
    return Fate.PASS


@dataclass(eq=False, slots=True)
class _Connection:
    """Both sides of one connection, and what was asked on it."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    broker: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    asked: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def cut(self) -> None:
        for _, writer in (self.client, self.broker):
            writer.transport.abort()


class FaultProxy:
    """Listens on a port of its own and forwards to a broker, frame by frame.

    Args:
        upstream: `host:port` of the broker; the host must be this machine.
        rename: (name, other name of the same length) of a consumer group, to have a worker join
            another group than it believes.

    Attributes:
        rule: Asked about each frame; runs on the proxy's thread and may take a few milliseconds.
        delay_s: Time that each frame takes longer.
        refusing: Whether new connections are cut at once.
        upstream: As given; may change when the broker comes back elsewhere.
    """

    def __init__(self, upstream: str, rename: tuple[bytes, bytes] | None = None) -> None:
        self.upstream = upstream
        self.rule: Rule = _pass
        self.delay_s = 0.0
        self.refusing = False
        self._rename = rename
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._await(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """`host:port` that it listens on."""
        return f"{_HOST}:{self.port}"

    def reset(self) -> None:
        """Forward all from now on, what is held first."""
        self.rule, self.delay_s, self.refusing = _pass, 0.0, False
        self.release()

    def release(self) -> None:
        """Forward what is held; a rule that held it is not asked again."""
        self._loop.call_soon_threadsafe(self._open.set)

    def cut(self) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Cut all connections and end the thread."""
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- on the proxy's own thread -----------------------------------------------------------------

    def _await(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30.0)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connect, _HOST, 0, limit=_LIMIT)

    async def _close(self) -> None:
        self.refusing = True
        self._server.close()
        self._open.set()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        for each in self._connections:
            each.cut()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.upstream.rpartition(":")
        try:
            if self.refusing:
                raise ConnectionRefusedError
            broker = await asyncio.open_connection(host, int(port), limit=_LIMIT)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((reader, writer), broker)
        self._connections.add(connection)
        for way in (self._requests(connection), self._responses(connection)):
            task = asyncio.ensure_future(self._until_cut(connection, way))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _until_cut(self, connection: _Connection, way: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await way
        connection.cut()
        self._connections.discard(connection)

    async def _requests(self, connection: _Connection) -> None:
        while True:
            body = await _frame(connection.client[0])
            api, correlation = Frame.head(body)
            if self._rename is not None and api in _GROUP_APIS:
                body = body.replace(*self._rename)
            kept = body if api == Api.PRODUCE else b""
            connection.asked[correlation] = (api, kept)
            fate = self.rule(Frame(api, body))
            await self._forward(fate, body, connection, connection.broker[1])

    async def _responses(self, connection: _Connection) -> None:
        while True:
            body = await _frame(connection.broker[0])
            (correlation,) = SIZE.unpack_from(body)
            api, request = connection.asked.pop(correlation, (-1, b""))
            if api in _ADDRESSED:
                body = self._addressed(body)
            fate = self.rule(Frame(api, request, body))
            await self._forward(fate, body, connection, connection.client[1])

    def _addressed(self, body: bytes) -> bytes:
        """Return a response with this proxy's port for the broker's."""
        host, _, port = self.upstream.rpartition(":")
        ours, theirs = (host.encode() + struct.pack(">i", each) for each in (self.port, int(port)))
        if self._rename is not None:
            name, other = self._rename
            body = body.replace(other, name)
        return body.replace(theirs, ours)

    async def _forward(
        self, fate: Fate, body: bytes, connection: _Connection, writer: asyncio.StreamWriter
    ) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if fate is Fate.HOLD:
            self._open.clear()
            await self._open.wait()
        whole = SIZE.pack(len(body)) + body
        if fate is Fate.TEAR:
            writer.write(whole[: len(whole) // 2])
            await writer.drain()
        elif fate in (Fate.PASS, Fate.HOLD):
            writer.write(whole)
            await writer.drain()
        if fate in (Fate.CUT, Fate.TEAR):
            raise ConnectionResetError


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = SIZE.unpack(await reader.readexactly(SIZE.size))
    return await reader.readexactly(size)
