"""Signs of life of a worker, for probes: does it get on, has it its part, may it trust itself.

| finding | what it says | what mends it |
|---|---|---|
| the event loop stands | nothing but threads moves any more | a restart |
| the inputs are not polled | the thread that talks to the group has ended | a restart |
| a round does not end | a policy hangs | a restart |
| it has not joined, or takes over | its part of the log is not worked on yet | waiting |
| the control log is not current | it is halted, whatever the log says | the broker |

The first three make a worker dead (`live`); all of them make it unready.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

__all__ = ["JOINING", "OWNER", "STANDBY", "TAKING_OVER", "Pulse", "PulseReading"]

JOINING, TAKING_OVER, OWNER, STANDBY = "joining", "taking over", "owner", "standby"
"""How a worker stands in its group: not in it yet; assigned, reading the log; working; waiting."""

_BEAT_S = 0.5
# A take-over folds the log on a thread of its own, and a round takes milliseconds: a loop or a
# round that stands for so long is no busy machine.
_STANDS_S = 15.0


class PulseReading(Struct, frozen=True, kw_only=True):
    """A worker's signs of life at one moment.

    Attributes:
        standing: How it stands in its group; OWNER where it needs no group.
        loop_age_s: Seconds since its event loop last came round.
        round_age_s: Seconds that the round in work has taken so far; 0 where none is.
        polling: Whether its inputs are polled.
        control_current: Whether what it knows of the control log is current.
    """

    standing: str = OWNER
    loop_age_s: float
    round_age_s: float = 0.0
    polling: bool = True
    control_current: bool = True

    def findings(self, *, live: bool = False) -> list[str]:
        """Return what is wrong; with `live` only what a restart mends."""
        dead = [
            (self.loop_age_s > _STANDS_S, f"the event loop stands for {self.loop_age_s:.0f} s"),
            (self.round_age_s > _STANDS_S, f"a round has taken {self.round_age_s:.0f} s so far"),
            (not self.polling, "the inputs are not polled"),
        ]
        unready = [
            (self.standing == JOINING, "it has not joined its group"),
            (self.standing == TAKING_OVER, "it is taking over"),
            (not self.control_current, "the control log is not current, so it is halted"),
        ]
        return [text for wrong, text in (dead if live else dead + unready) if wrong]


class Pulse:
    """Takes a worker's pulse; read on another thread than the one that beats.

    Args:
        standing: Returns how it stands in its group.
        polling: Says whether its inputs are polled.
        current: Says whether what it knows of the control log is current.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        *,
        standing: Callable[[], str] = lambda: OWNER,
        polling: Callable[[], bool] = lambda: True,
        current: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._standing, self._polling, self._current = standing, polling, current
        self._monotonic = monotonic
        self._beaten_s = monotonic()
        self._round_since_s: float | None = None

    async def beat(self) -> None:
        """Beat twice a second, on the event loop; runs until cancelled."""
        while True:
            self._beaten_s = self._monotonic()
            await asyncio.sleep(_BEAT_S)

    @contextmanager
    def round(self) -> Iterator[None]:
        """Be at work on a round."""
        self._round_since_s = self._monotonic()
        try:
            yield
        finally:
            self._round_since_s = None

    def read(self) -> PulseReading:
        """Return the signs of life now."""
        now_s, since_s = self._monotonic(), self._round_since_s
        return PulseReading(
            standing=self._standing(),
            loop_age_s=max(0.0, now_s - self._beaten_s),
            round_age_s=0.0 if since_s is None else max(0.0, now_s - since_s),
            polling=self._polling(),
            control_current=self._current(),
        )
