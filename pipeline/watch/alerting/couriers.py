"""Telling people: a thread for each channel, so that one out of reach holds up nobody."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.settings import AlertChannel
from pipeline.watch.alerting.notices import Notice
from pipeline.watch.channels import Channel, Contact, channel_of

__all__ = ["Ask", "Courier", "Note"]

_logger = logging.getLogger(__name__)

_LOOK_S = 0.2
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0

Ask = Callable[[AlertChannel], Sequence[Notice]]
"""Returns what a channel is to be told now; thread-safe."""

Note = Callable[[AlertChannel, Notice], None]
"""Takes note that a channel was told; thread-safe."""


class Courier:
    """Asks what its channel is to be told, tells it, and takes note; on a thread of its own.

    Where the channel fails, it asks anew after 0.5 s, then after twice as long, up to 30 s: what is
    told then is how things stand then.

    Args:
        channel: The channel.
        cascade: Name of the cascade, for messages.
        ask: What to tell.
        note: What was told.
        way: Returns the way to the channel.
        monotonic: Seconds that only run forward.

    Raises:
        UsageError: If there is no way to the channel.

    Attributes:
        channel: The channel.
        failures: Attempts in a row that failed.
    """

    def __init__(
        self,
        channel: AlertChannel,
        cascade: str,
        ask: Ask,
        note: Note,
        *,
        way: Callable[[Contact], Channel] = channel_of,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channel = channel
        self.failures = 0
        self._cascade = cascade
        self._ask = partial(ask, channel)
        self._note = partial(note, channel)
        self._way = way(Contact(channel.name, channel.contact, channel.type))
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"alerts-to-{channel.name}", daemon=True
        )

    def start(self) -> None:
        """Begin, without waiting for anything."""
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """End it; what it is about to tell is awaited for at most `timeout_s`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        pause_s = _LOOK_S
        while not self._stopping.wait(pause_s):
            try:
                told = all(self._told(notice) for notice in self._ask())
            except Exception:
                _logger.exception("alerts cannot be told channel=%s", self.channel.name)
                told = False
            self.failures = 0 if told else self.failures + 1
            longer_s = _FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 10)
            pause_s = _LOOK_S if told else min(longer_s, _LONGEST_PAUSE_S)

    def _told(self, notice: Notice) -> bool:
        """Tell of a notice; return whether that worked."""
        message = notice.message(self._cascade)
        try:
            taken, why = self._way(message), "was not taken"
        except Exception as error:  # noqa: BLE001  # a channel may fail in any way
            taken, why = False, repr(error)
        if not taken:
            _logger.warning(
                "channel_not_reached name=%s failures=%d why=%s",
                self.channel.name, self.failures + 1, why,
            )  # fmt: skip
            return False
        self._note(notice)
        return True
