"""The latch: a halt on file, which outlives processes, the machine and the control log.

The state to act on is the strictest of log and latch. What came through the log is lifted by the
log, by a command at a later epoch. A halt that was given on this machine alone, while the broker
could not be reached, is in no log yet: the first worker that reaches the broker again writes it
there (`pipeline.control.local_halt`), and until then only `release` lifts it, by its id.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.control.state import NONE, TradingState
from pipeline.errors import ConfigurationError, UsageError
from pipeline.settings import Settings

__all__ = ["Latch", "Latched"]

_Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Latched:
    """What the latch holds.

    Attributes:
        trading_state: The state.
        epoch: Epoch of the command that set it; -1 where it was set on this machine alone.
        local: Whether it was set on this machine alone.
        reason: Why, for people.
        author: Who set it, where it was set on this machine alone; empty where nobody did.
        halt_id: Id of a halt of this machine alone; also of the command that tells others.
    """

    trading_state: TradingState
    epoch: int
    local: bool = False
    reason: str = ""
    author: str = ""
    halt_id: str = ""

    def holds(self, lifted_epoch: int) -> bool:
        """Say whether it restricts, where the last RESUME or RESET has `lifted_epoch`."""
        if self.trading_state is TradingState.ACTIVE:
            return False
        return self.local or lifted_epoch < self.epoch


_OPEN = Latched(TradingState.ACTIVE, NONE)


def _local(reason: str, author: str, halt_id: str) -> Latched:
    return Latched(
        TradingState.HALTED, NONE, local=True, reason=reason, author=author, halt_id=halt_id
    )


class Latch:
    """The latch of a namespace on this machine; several processes may share it.

    Args:
        path: Its file, which need not exist: nothing is latched then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[_Signature, Latched] = ((0, 0, 0), _OPEN)
        self._held: Latched | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Latch":
        """Return the latch of the namespace in force."""
        return cls(settings.home / "latch" / f"{settings.namespace or 'default'}.json")

    def current(self) -> Latched:
        """Return what is latched now, at the price of one look at the file's status.

        The file is read again only after it was replaced; so it can be asked before each order.
        """
        if self._held is not None:
            return self._held
        try:
            status = os.stat(self.path)  # noqa: PTH116  # a third of the time of Path.stat
        except FileNotFoundError:
            return _OPEN
        except OSError:
            return self.read()
        signature = (status.st_mtime_ns, status.st_ino, status.st_size)
        known, latched = self._known
        if signature != known:
            latched = self.read()
            self._known = (signature, latched)
        return latched

    def read(self) -> Latched:
        """Return what is latched; a file that cannot be read halts."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return Latched(
                TradingState(content["trading_state"]),
                int(content["epoch"]),
                bool(content["local"]),
                str(content["reason"]),
                str(content.get("author", "")),
                str(content.get("halt_id", "")),
            )
        except FileNotFoundError:
            return _OPEN
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"latch {self.path} cannot be read ({error!r})"
            return _local(reason, "", "unreadable")

    def record(self, trading_state: TradingState, epoch: int, reason: str) -> None:
        """Latch what the log says as of `epoch`; on the disk when this returns.

        What was latched at a later epoch stays, and so does a halt of this machine alone: a
        reader that is behind undoes nothing.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            held = self.read()
            latched = Latched(trading_state, epoch, reason=reason)
            if not held.local and held.epoch <= epoch and held != latched:
                self._write(latched)

    def halt(self, reason: str, author: str = "") -> str:
        """Halt this machine, with no log; on the disk when this returns.

        Returns:
            The id of the halt that stands; that of an earlier one where it is in no log yet.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            held = self.read()
            if held.local:
                return held.halt_id
            halt_id = secrets.token_hex(8)
            self._write(_local(reason, author, halt_id))
            return halt_id

    def hold(self, reason: str, author: str = "") -> None:
        """Halt this process alone, where `halt` cannot be written; only its end lifts it."""
        self._held = _local(reason, author, secrets.token_hex(8))

    def settle(self, epoch: int, halt_id: str | None = None) -> None:
        """Make a halt of this machine alone one of the log, where it stands at `epoch` by now.

        Args:
            epoch: Its epoch.
            halt_id: Which halt; whichever is held where None.

        Raises:
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            held = self.read()
            if held.local and halt_id in (None, held.halt_id):
                self._write(Latched(TradingState.HALTED, epoch, reason=held.reason))

    def release(self, halt_id: str) -> None:
        """Lift a halt of this machine alone; what the log says goes on to hold.

        Args:
            halt_id: Which; whoever lifts it has seen it.

        Raises:
            UsageError: If no such halt is held.
            ConfigurationError: If the file cannot be written.
        """
        with self._locked():
            held = self.read()
            if not held.local:
                raise UsageError("Expected a halt of this machine alone to lift, was none")
            if held.halt_id != halt_id:
                raise UsageError(f"Expected to lift local halt {held.halt_id}, was {halt_id}")
            self._write(_OPEN)

    @contextmanager
    def publishing(self) -> Iterator[bool]:
        """Yield whether nobody else on this machine is writing its halt to the log."""
        with self._opened(".publish") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._opened(".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _opened(self, suffix: str) -> Iterator[int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_suffix(suffix).open("w") as lock:
                yield lock.fileno()
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
