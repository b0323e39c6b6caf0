"""A halt that was given on this machine while no broker was at hand, told to everybody.

It stands in the latch and nowhere else. Once a worker of this machine is in touch with the control
log again, it writes the halt there, under the latch's id, and makes the latch follow the log: from
then on it is lifted as every halt is, by a RESUME that names its epoch.
"""

import logging
import threading
import time
from collections.abc import Callable

from pipeline.clock import WallClock
from pipeline.control.latch import Latch, Latched
from pipeline.control.log import fold
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import PipelineError
from pipeline.keys import Purpose, Signer
from pipeline.packets.events import ControlCommand, ControlKind
from pipeline.settings import Settings

__all__ = ["LocalHaltPublisher", "write_halt"]

_logger = logging.getLogger(__name__)

# Whoever halts by the log latches first; it is given time to write the log itself.
_GRACE_S = 2.0


def write_halt(settings: Settings, command: ControlCommand) -> int:
    """Write a halt to the control log, unless it stands there; return its epoch.

    A worker that wrote it may have been killed before it noted that in the latch.

    Raises:
        BrokerUnavailable: If the log cannot be read or written in time.
    """
    epoch = fold(settings).halts.get(command.command_id)
    return ControlWriter(settings).issue(command) if epoch is None else epoch


class LocalHaltPublisher:
    """Writes a halt of this machine alone to the control log, on a thread of its own.

    Args:
        settings: Broker and namespace.
        latch: The latch.
        write: Writes the halt and returns its epoch.
        monotonic: Seconds that only run forward.
    """

    def __init__(
        self,
        settings: Settings,
        latch: Latch,
        write: Callable[[Settings, ControlCommand], int] = write_halt,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._latch = latch
        self._write = write
        self._monotonic = monotonic
        self._seen: tuple[str, float] = ("", 0.0)
        self._published = ""
        # Without a key the log would refuse it; a worker that has one writes it.
        self._signer = Signer.of(settings)
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Publish what there is to publish; returns at once. Call it while the log is in touch."""
        latched = self._latch.current()
        if not latched.local or not latched.author or latched.halt_id == self._published:
            return
        if self._signer is not None and not self._signer.may(Purpose.CONTROL, Purpose.RESTRICT):
            return
        if self._seen[0] != latched.halt_id:
            self._seen = (latched.halt_id, self._monotonic())
        busy = self._thread is not None and self._thread.is_alive()
        if busy or self._monotonic() - self._seen[1] < _GRACE_S:
            return
        self._thread = threading.Thread(
            target=self._publish, args=(latched,), name="local-halt", daemon=True
        )
        self._thread.start()

    def _publish(self, latched: Latched) -> None:
        try:
            with self._latch.publishing() as mine:
                if not mine or self._latch.current().halt_id != latched.halt_id:
                    return
                command = new_command(
                    ControlKind.HALT, author=latched.author, reason=latched.reason,
                    clock=WallClock(), new_id=lambda: latched.halt_id,
                )  # fmt: skip
                epoch = self._write(self._settings, command)
                self._published = latched.halt_id
                self._latch.settle(epoch, latched.halt_id)
                _logger.warning("local halt published at epoch %d: %s", epoch, latched.reason)
        except PipelineError as error:
            _logger.warning("local halt not published yet: %s", error)
