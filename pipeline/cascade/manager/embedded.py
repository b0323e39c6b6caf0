"""A Faust worker of one stage inside this process: a thread with an event loop of its own."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pipeline.errors import BrokerUnavailable, PipelineError

__all__ = ["EmbeddedWorker"]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.05
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_STOP_S = 30.0


class EmbeddedWorker:
    """Runs a stage's Faust app until stopped, and starts it anew when it fails for good.

    Args:
        stage: The stage.
        make_app: Makes a fresh app, on the worker's thread, within its event loop.
        partitions: How many partitions its log has.
    """

    def __init__(self, stage: str, make_app: Callable[[], Any], partitions: int) -> None:
        self.stage = stage
        self._make_app = make_app
        self._partitions = partitions
        self._stopping = threading.Event()
        self._app: Any = None
        self.restarts = 0
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name=f"{stage}-worker", daemon=True)

    @property
    def owned(self) -> int:
        """How many partitions of its log it owns now."""
        app = self._app
        return 0 if app is None else len(app.host.owned)

    @property
    def breaker(self) -> Any:
        """State of its policy's breaker; None while it does not run."""
        app = self._app
        return None if app is None else app.breaker.state

    def start(self) -> None:
        """Start; it joins the stage's group in a moment."""
        self._thread.start()

    def wait_owned(self, timeout_s: float, *, alone: Callable[[], bool]) -> None:
        """Wait until it decides: until it owns all partitions, or some while it is not alone.

        Args:
            timeout_s: How long.
            alone: Says whether no other registered worker shares the stage.

        Raises:
            BrokerUnavailable: If it does not in time.
        """
        end_s = time.monotonic() + timeout_s
        while not (self.owned >= self._partitions or (self.owned and not alone())):
            if time.monotonic() > end_s:
                why = f" ({self.failure})" if self.failure else ""
                raise BrokerUnavailable(
                    f"Expected {self.stage} to own {self._partitions} partitions within"
                    f" {timeout_s:g} s, was {self.owned}{why}"
                )
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """Finish what is handed to the broker, leave the group, end the thread."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                _logger.error("worker of %s does not end; its thread is left behind", self.stage)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            pause_s = _FIRST_PAUSE_S
            while not self._stopping.is_set():
                began_s = time.monotonic()
                try:
                    runner.run(self._serve())
                except Exception as error:
                    self.failure = repr(error)
                    _logger.exception("worker of %s failed", self.stage)
                if time.monotonic() - began_s > _LONGEST_PAUSE_S:
                    pause_s = _FIRST_PAUSE_S
                if not self._stopping.wait(pause_s):
                    self.restarts += 1
                    pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _serve(self) -> None:
        app = self._make_app()
        level = logging.getLogger().level
        app.finalize()
        self._app = app
        try:
            await app.start()
            logging.getLogger().setLevel(level)  # this process is not ours
            # A flag of another thread, so there is nothing to await.
            while not (self._stopping.is_set() or app.crashed or app.should_stop):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
            if app.crashed:
                raise PipelineError(f"Expected {self.stage} to run, was: {app.crash_reason!r}")
            self.failure = ""
        finally:
            self._app = None
            with contextlib.suppress(asyncio.CancelledError):
                await app.stop()
            await asyncio.to_thread(app.control.stop)
