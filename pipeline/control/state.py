"""The trading state as a pure fold over the control log.

The epoch of a command is its offset in the log. HALTED is where everything starts and where every
doubt ends: before a BOOTSTRAP by an authorised author, after a HALT, and after a record that
cannot be read. Only a RESUME that names the epoch of the newest halt lifts it, so that whoever
resumes has seen what they lift.
"""

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.packets.events import (
    EVERYTHING,
    ControlCommand,
    ControlKind,
    ControlState,
    TradingState,
)

__all__ = ["NONE", "ControlView", "TradingState", "TradingStateMachine", "strictest"]

NONE = -1
"""The epoch of nothing."""

_STRICTNESS = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


@dataclass(frozen=True, slots=True)
class ControlView:
    """What a worker knows of control at one moment.

    Attributes:
        trading_state: The state to act on; HALTED where it is not known.
        epoch: Epoch of the last command that counted; -1 where there was none.
        current: Whether the control log is known to be read to its end.
        halt_epoch: Epoch that a RESUME must name; -1 where no halt is in force.
        reason: Why it is not ACTIVE, for people.
    """

    trading_state: TradingState
    epoch: int
    current: bool
    halt_epoch: int = NONE
    reason: str = ""


def strictest(first: TradingState, second: TradingState) -> TradingState:
    """Return the stricter state: HALTED before REDUCING before ACTIVE."""
    return max(first, second, key=_STRICTNESS.__getitem__)


class TradingStateMachine:
    """Folds the commands of a control log, in its order, into the trading state.

    Args:
        authors: Who may bootstrap and resume. Anybody may halt.

    Attributes:
        refused: Why, of each command that did not count, by epoch.
    """

    def __init__(self, authors: Collection[str]) -> None:
        self._authors = frozenset(authors)
        self._bootstrapped = False
        self._epoch = NONE
        self._halt_epoch = NONE
        self._resumed_epoch = NONE
        self._reason = ""
        self._last: ControlCommand | None = None
        self.refused: dict[int, str] = {}

    @property
    def trading_state(self) -> TradingState:
        """The state after all commands so far."""
        free = self._bootstrapped and self._halt_epoch == NONE
        return TradingState.ACTIVE if free else TradingState.HALTED

    @property
    def epoch(self) -> int:
        """Epoch of the last command that counted; -1 where there was none."""
        return self._epoch

    @property
    def halt_epoch(self) -> int:
        """Epoch that a RESUME must name; -1 where no halt is in force."""
        return self._halt_epoch

    @property
    def resumed_epoch(self) -> int:
        """Epoch of the last RESUME that counted; -1 where there was none."""
        return self._resumed_epoch

    @property
    def reason(self) -> str:
        """Why it is not ACTIVE; empty where it is."""
        if self._halt_epoch != NONE:
            return self._reason
        return "" if self._bootstrapped else "not bootstrapped"

    def view(self, *, current: bool) -> ControlView:
        """Return the state as a view."""
        return ControlView(self.trading_state, self._epoch, current, self._halt_epoch, self.reason)

    def apply(self, command: ControlCommand | None, epoch: int, appended_at: int = 0) -> str | None:
        """Fold the next record of the log.

        Args:
            command: The command; None for a record that cannot be read, which halts.
            epoch: Its offset.
            appended_at: When the broker appended it, microseconds; 0 where it is not known. A
                HALT counts whenever it comes, other commands not past their expiry.

        Returns:
            Why the command does not count; None where it does.
        """
        if command is None:
            self._halt(epoch, "unreadable control record", None)
            return None
        if command.kind is ControlKind.HALT:
            self._halt(epoch, f"halted by {command.author}: {command.reason}", command)
            return None
        if refusal := self.refusal(command, appended_at):
            self.refused[epoch] = refusal
            return refusal
        if command.kind is ControlKind.BOOTSTRAP:
            self._bootstrapped = True
        else:
            self._halt_epoch = NONE
            self._resumed_epoch = epoch
        self._epoch = epoch
        self._last = command
        return None

    def describe(self) -> ControlState | None:
        """Return the record for the compacted view; None before the first command that counted."""
        if self._last is None:
            return None
        return ControlState(
            EVERYTHING,
            self.trading_state,
            self._epoch,
            self._halt_epoch,
            self._last.command_id,
            self._last.author,
            self._last.reason,
            self._last.time,
        )

    def _halt(self, epoch: int, reason: str, command: ControlCommand | None) -> None:
        self._halt_epoch = epoch
        self._epoch = epoch
        self._reason = reason
        self._last = command or self._last

    def refusal(self, command: ControlCommand, appended_at: int = 0) -> str | None:
        """Return why a command would not count as the next one; None where it would."""
        if command.kind is ControlKind.HALT:
            return None
        if command.author not in self._authors:
            names = ", ".join(sorted(self._authors)) or "nobody"
            return f"Expected an author allowed to (control_authors: {names}), was {command.author}"
        if 0 < command.expires_at < appended_at:
            return f"Expected it before {command.expires_at}, was appended at {appended_at}"
        if command.scope != EVERYTHING:
            return f"Expected scope {EVERYTHING}, was {command.scope}"
        return self._conflict(command)

    def _conflict(self, command: ControlCommand) -> str | None:
        if command.kind is ControlKind.BOOTSTRAP:
            return "Expected one BOOTSTRAP, was another one" if self._bootstrapped else None
        if self._halt_epoch == NONE:
            return "Expected a halt to lift, was none"
        if command.lifts_epoch != self._halt_epoch:
            return (
                f"Expected a RESUME that lifts epoch {self._halt_epoch}, was {command.lifts_epoch}"
            )
        return None
