"""Asking a user's callback, a function or a coroutine function, about a packet or a whole round.

It is a round's callback if it is marked with `@whole_round`, or if its first parameter is annotated
as a sequence of packets; then it returns as many answers, in order. A function is called on the
thread of the worker, packet by packet, as the stage gets to them. A coroutine function runs on an
event loop of its own; the packets of a round are awaited together, each within the stage's time: a
call that takes longer is cancelled, and nothing goes on before it has ended, so that no retry ever
runs beside what it repeats.
"""

import asyncio
import hashlib
import inspect
import threading
import tokenize
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pipeline.errors import ConfigurationError, InvalidPacket

__all__ = [
    "Callback",
    "CallbackLoop",
    "answers_of_round",
    "is_coroutine",
    "is_whole_round",
    "source_of",
    "whole_round",
]

Callback = Callable[..., Any]
Function = TypeVar("Function", bound=Callback)
_MARK = "__cascade_whole_round__"


def whole_round(function: Function) -> Function:
    """Mark a callback as one that takes all packets of a round at once."""
    setattr(function, _MARK, True)
    return function


def is_whole_round(callback: Callback) -> bool:
    """Say whether a callback takes a whole round."""
    if getattr(callback, _MARK, False):
        return True
    try:
        signature = inspect.signature(callback, eval_str=True)
    except (NameError, TypeError, ValueError):  # built in C, or annotated with what is not there
        return False
    first = next(iter(signature.parameters.values()), None)
    if first is None:
        raise ConfigurationError(f"Expected a callback that takes a packet, was {callback!r}")
    kind = typing.get_origin(first.annotation) or first.annotation
    return isinstance(kind, type) and issubclass(kind, Sequence) and not issubclass(kind, str)


def is_coroutine(callback: Callback) -> bool:
    """Say whether calling it gives a coroutine."""
    call = getattr(callback, "__call__", None)  # noqa: B004  # an object with an async __call__
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)


def source_of(callback: Callback) -> str:
    """Return the hash of a callback's source, or of its name where that is not to be had."""
    target: Any = callback if inspect.isroutine(callback) else type(callback)
    try:
        text = inspect.getsource(target)
    # What was typed in, or generated, may name a file that holds something else at that line.
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        text = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', target)}"
    return hashlib.sha256(text.encode()).hexdigest()


class CallbackLoop:
    """An event loop on a thread of its own, for callbacks that are coroutine functions.

    Args:
        name: What to call the thread.
        timeout_s: How long a call may take, seconds.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def gather(self, calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Run calls together; return, of each, what it returned or the exception that it raised."""

        async def all_of_them() -> list[Any]:
            timed = (self._timed(call) for call in calls)
            return await asyncio.gather(*timed, return_exceptions=True)

        return asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result()

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run one call; return what it returned, or raise what it raised."""
        (found,) = self.gather([call])
        if isinstance(found, BaseException):
            raise found
        return found

    async def _timed(self, call: Callable[[], Awaitable[Any]]) -> Any:
        task = asyncio.ensure_future(call())
        done, _ = await asyncio.wait([task], timeout=self._timeout_s)
        if not done:
            task.cancel()
            await asyncio.wait([task])
            raise TimeoutError(f"Expected an answer within {self._timeout_s:g} s, was none")
        return task.result()

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join()
            self._loop.close()


def answers_of_round(answers: Any, count: int) -> list[Any]:
    """Return what a round's callback returned, checked to be one answer per packet.

    Raises:
        InvalidPacket: If it is not.
    """
    if not isinstance(answers, Sequence) or isinstance(answers, str) or len(answers) != count:
        size = len(answers) if hasattr(answers, "__len__") else type(answers).__name__
        raise InvalidPacket(f"Expected a list of {count} answers, one per packet, was {size}")
    return list(answers)
