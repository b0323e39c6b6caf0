"""The gate between a worker's rounds and its work: isolation of the stage, and acknowledgements.

While its stage is isolated nothing is worked off: the pump pauses the inputs, and the rounds that
were fetched before wait here. Nothing of it is lost, for positions move only by what stands in the
log. After the release they go on in order, and what is past its deadline ends as expired.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from pipeline.clock import Clock
from pipeline.control.acknowledgement import Acknowledgement
from pipeline.control.reader import Heard
from pipeline.control.state import ControlView
from pipeline.policies.breaker import Breaker, BreakerState

__all__ = ["Control", "ControlGate"]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.02


class Control(Protocol):
    """What the gate asks of a `ControlReader`."""

    @property
    def ready(self) -> bool:
        """Whether the control log has been read to its end once."""
        ...

    def view(self) -> ControlView:
        """Return the state to act on."""
        ...

    def listen(self, listener: Callable[[Heard], None]) -> None:
        """Have `listener` called, on another thread, for each command that took effect."""
        ...


class ControlGate:
    """Lets rounds through unless the stage is isolated, and says which commands are in force.

    Args:
        stage: Name of the stage, or `gateway`.
        worker: Name of the worker, unique among all.
        control: Says what is in force.
        clock: Clock.
        pause: Has the inputs paused (True) or fetched again (False).
        say: Publishes an acknowledgement; must not wait.
        breaker: Of the stage's policy; None where there is none.
    """

    def __init__(
        self,
        stage: str,
        worker: str,
        control: Control,
        clock: Clock,
        *,
        pause: Callable[[bool], None],
        say: Callable[[Acknowledgement], None],
        breaker: Breaker | None = None,
    ) -> None:
        self._stage = stage
        self._worker = worker
        self._control = control
        self._clock = clock
        self._pause = pause
        self._say = say
        self._breaker = breaker
        self._reset_epoch = -1
        self._paused = False
        self._working = False
        self._heard: list[Heard] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        control.listen(self._listen)

    @property
    def isolated(self) -> bool:
        """Whether the stage is isolated now."""
        return self._stage in self._control.view().fences.stages

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work in `loop` from now on; commands heard before are in force and not acknowledged."""
        self._loop = loop

    async def through(self, work_off: Callable[[Any], Awaitable[None]], taken: Any) -> None:
        """Work a round off, once the stage is not isolated.

        Before the control log has been read nothing is worked off either: it might be isolated.
        """
        while not self._control.ready or self.isolated:
            self._obey()
            await asyncio.sleep(_LOOK_S)
        self._obey()
        self._working = True
        try:
            await work_off(taken)
        finally:
            self._working = False
            if self._heard:
                self._answer()

    def _listen(self, heard: Heard) -> None:
        """Take what the control reader says, on its thread."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(self._on_heard, heard)
        except RuntimeError:  # closed meanwhile
            _logger.debug("no loop to hear epoch %d", heard.epoch)

    def _on_heard(self, heard: Heard) -> None:
        self._heard.append(heard)
        self._obey()
        # A round under way was begun under the view before; it is not in force until that ends.
        if not self._working:
            self._answer()

    def _answer(self) -> None:
        heard, self._heard = self._heard, []
        view, now_us = self._control.view(), self._clock.now_us()
        for each in heard:
            self._say(
                Acknowledgement.of(
                    each.command.command_id, each.epoch, each.refusal,
                    stage=self._stage, worker=self._worker, view=view, now_us=now_us,
                )
            )  # fmt: skip

    def _obey(self) -> None:
        """Do what the view says of this stage: pause or resume its inputs, mind its breaker."""
        fences = self._control.view().fences
        paused = self._stage in fences.stages
        self._pause(paused)  # each time, for the pump may be a new one
        if paused != self._paused:
            self._paused = paused
            _logger.warning("%s stage=%s", "isolated" if paused else "released", self._stage)
        if self._breaker is not None:
            self._mind(self._breaker, fences.resets.get(self._stage, -1))
            forced = self._stage in fences.breakers
            if forced and self._breaker.state is not BreakerState.FORCED_OPEN:
                self._breaker.force_open()

    def _mind(self, breaker: Breaker, reset_epoch: int) -> None:
        if reset_epoch > self._reset_epoch:
            self._reset_epoch = reset_epoch
            breaker.reset()
