"""The latch: a halt on file, which outlives processes, the machine and the control log.

The state to act on is the strictest of log and latch. A halt that came through the log is lifted
by a RESUME at its epoch or later; one that was given on this machine alone, while the broker could
not be reached, is in no log, and only `release` lifts it.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.control.state import NONE, TradingState
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings

__all__ = ["Latch", "Latched"]


@dataclass(frozen=True, slots=True)
class Latched:
    """What the latch holds.

    Attributes:
        trading_state: ACTIVE or HALTED.
        epoch: Epoch of the command that set it; -1 where it was set on this machine alone.
        local: Whether it was set on this machine alone.
        reason: Why, for people.
    """

    trading_state: TradingState
    epoch: int
    local: bool = False
    reason: str = ""

    def holds(self, resumed_epoch: int) -> bool:
        """Say whether it halts, when the last RESUME that counted had `resumed_epoch`."""
        if self.trading_state is TradingState.ACTIVE:
            return False
        return self.local or resumed_epoch < self.epoch


_OPEN = Latched(TradingState.ACTIVE, NONE)


class Latch:
    """The latch of a namespace on this machine; several processes may share it.

    Args:
        path: Its file, which need not exist: nothing is latched then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> "Latch":
        """Return the latch of the namespace in force."""
        return cls(settings.home / "latch" / f"{settings.namespace or 'default'}.json")

    def read(self) -> Latched:
        """Return what is latched; a file that cannot be read halts."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return Latched(
                TradingState(content["trading_state"]),
                int(content["epoch"]),
                bool(content["local"]),
                str(content["reason"]),
            )
        except FileNotFoundError:
            return _OPEN
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"latch {self.path} cannot be read ({error!r}); lift it by `resume --local`"
            return Latched(TradingState.HALTED, NONE, local=True, reason=reason)

    def record(self, trading_state: TradingState, epoch: int, reason: str) -> None:
        """Latch what the log says as of `epoch`; on the disk when this returns.

        What was latched at a later epoch stays, and so does a halt of this machine alone: a
        reader that is behind undoes nothing.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            held = self.read()
            if not held.local and held.epoch <= epoch:
                self._write(Latched(trading_state, epoch, reason=reason))

    def halt(self, reason: str) -> None:
        """Halt this machine, with no log; on the disk when this returns.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            self._write(Latched(TradingState.HALTED, NONE, local=True, reason=reason))

    def settle(self, epoch: int) -> None:
        """Make a halt of this machine alone one of the log, where it stands at `epoch` by now.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            held = self.read()
            if held.local:
                self._write(Latched(TradingState.HALTED, epoch, reason=held.reason))

    def release(self) -> None:
        """Lift what is latched on this machine; what the log says goes on to hold.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            self._write(_OPEN)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ConfigurationError(
                f"Expected to write the latch {self.path}, was refused: {error}. Make the folder"
                " writable, or set CASCADE_HOME to one that is."
            ) from error

    def _write(self, latched: Latched) -> None:
        draft = self.path.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(latched), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            # Without this the rename itself may be lost with the power.
            os.fsync(folder)
        finally:
            os.close(folder)
