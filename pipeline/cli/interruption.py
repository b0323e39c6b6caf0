"""Ending a long command in order, however it is told to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end a command as Ctrl-C does: in order, nothing left behind.

    Once it is ending, further signals are ignored: they would only leave things behind.
    """
    ending = False

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        nonlocal ending
        if not ending:
            ending = True
            raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, handle) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
