"""Tells the control log what has tripped in this worker, until it stands there.

What has tripped stops orders by itself, in the state of whoever found it; the TRIP in the control
log stops all others, and is what a person resets.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.control.state import ControlView
from pipeline.control.writer import new_command
from pipeline.errors import PipelineError
from pipeline.packets.events import ControlCommand, ControlKind

__all__ = ["Tripped", "Tripwire"]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.1
_AGAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Tripped:
    """Something that has tripped and was not reset since.

    Attributes:
        scope: What, as `throttle:SYMBOL`; see `pipeline.control.trips`.
        reason: Why, for people.
    """

    scope: str
    reason: str


class Tripwire:
    """Looks at what has tripped, and says so.

    Args:
        stage: Who says it.
        look: Returns what has tripped and was not reset since.
        view: The state to act on.
        issue: Writes a command to the control log; may wait, so it is called on a thread.
        clock: Clock.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        stage: str,
        look: Callable[[], Iterable[Tripped]],
        view: Callable[[], ControlView],
        issue: Callable[[ControlCommand], int],
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._look = look
        self._view = view
        self._issue = issue
        self._clock = clock
        self._monotonic = monotonic
        self._said_s: dict[str, float] = {}

    async def watch(self) -> None:
        """Look again and again; runs until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look once, and say what the control log does not know."""
        for each in list(self._look()):
            standing = self._view().trips.standing
            last_s = self._said_s.get(each.scope, float("-inf"))
            if each.scope in standing or self._monotonic() - last_s < _AGAIN_S:
                continue
            self._said_s[each.scope] = self._monotonic()
            command = new_command(
                ControlKind.TRIP, author=self._stage, reason=each.reason, clock=self._clock,
                scope=each.scope,
            )  # fmt: skip
            try:
                epoch = await asyncio.to_thread(self._issue, command)
                _logger.error("tripped %s at epoch %d: %s", each.scope, epoch, each.reason)
            except PipelineError as error:
                _logger.warning("%s tripped and is not in the control log: %s", each.scope, error)
