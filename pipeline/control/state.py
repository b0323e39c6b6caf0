"""The trading state and the fences as a pure fold over the control log.

The epoch of a command is its offset in the log. HALTED is where everything starts and where every
doubt ends: before a BOOTSTRAP by an authorised author, after a HALT, and after a record that
cannot be read. Only a RESUME that names the epoch of the newest halt lifts it, so that whoever
resumes has seen what they lift. REDUCING, where only orders pass that reduce a position, is left
in the same way: by a RESUME that names the newest REDUCE. Under both, the halt counts. What has
tripped (`pipeline.control.trips`) halts beside all that, until a RESET names it. What lifts counts
once, however often its writer wrote it; what restricts counts each time.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from pipeline.control.fences import NO_FENCES, FenceBook, Fences
from pipeline.control.scope import Scope
from pipeline.control.trips import NO_TRIPS, TripBook, Trips
from pipeline.errors import UsageError
from pipeline.packets.events import (
    EVERYTHING,
    ControlCommand,
    ControlKind,
    ControlState,
    TradingState,
)

__all__ = ["NONE", "RESTRICTS", "ControlView", "TradingState", "TradingStateMachine", "strictest"]

NONE = -1
"""The epoch of nothing."""

RESTRICTS = frozenset(
    {
        ControlKind.HALT,
        ControlKind.REDUCE,
        ControlKind.ISOLATE,
        ControlKind.BREAKER_OPEN,
        ControlKind.TRIP,
    }
)
"""What restricts; all else lifts."""

_OF_FENCES = frozenset(
    {
        ControlKind.ISOLATE,
        ControlKind.RELEASE,
        ControlKind.BREAKER_OPEN,
        ControlKind.BREAKER_RESET,
    }
)
_OF_TRIPS = frozenset({ControlKind.TRIP, ControlKind.RESET})
_STRICTNESS = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


class Forged(Protocol):
    """Why a record's signature does not count; see `pipeline.control.signatures`."""

    @property
    def reason(self) -> str:
        """The reason."""
        ...


class Recorded(Protocol):
    """A record of the control log; see `pipeline.control.log.Entry`."""

    @property
    def epoch(self) -> int:
        """Its offset."""
        ...

    @property
    def command(self) -> ControlCommand | None:
        """The command; None where there is none to be had."""
        ...

    @property
    def appended_at(self) -> int:
        """When the broker appended it, microseconds; 0 where that is not known."""
        ...

    @property
    def forgery(self) -> Forged | None:
        """Why its signature does not count; None where it does."""
        ...


@dataclass(frozen=True, slots=True)
class ControlView:
    """What a worker knows of control at one moment.

    Attributes:
        trading_state: The state to act on; HALTED where it is not known.
        epoch: Epoch of the last command that counted; -1 where there was none.
        current: Whether the control log is known to be read to its end.
        halt_epoch: Epoch that a RESUME must name; -1 where no halt is in force.
        reason: Why it is not ACTIVE, for people.
        fences: What is isolated, and which breakers are forced open.
        trips: What has tripped, and what was reset.
    """

    trading_state: TradingState
    epoch: int
    current: bool
    halt_epoch: int = NONE
    reason: str = ""
    fences: Fences = NO_FENCES
    trips: Trips = NO_TRIPS

    def allows(self, *, reducing: bool) -> bool:
        """Say whether an order may go: any while ACTIVE, one that reduces while REDUCING."""
        if self.trading_state is TradingState.REDUCING:
            return reducing
        return self.trading_state is TradingState.ACTIVE


def strictest(first: TradingState, second: TradingState) -> TradingState:
    """Return the stricter state: HALTED before REDUCING before ACTIVE."""
    return max(first, second, key=_STRICTNESS.__getitem__)


class TradingStateMachine:
    """Folds the commands of a control log, in its order, into the trading state and the fences.

    Args:
        authors: Who may bootstrap and resume, and release what others isolated. Anybody may halt,
            reduce and isolate.

    Attributes:
        refused: Why, of each command that did not count, by epoch.
        halts: Epoch of each HALT, by the id of its command.
    """

    def __init__(self, authors: Collection[str]) -> None:
        self._authors = frozenset(authors)
        self._book = FenceBook(authors)
        self._trips = TripBook(authors)
        self._bootstrapped = False
        self._epoch = NONE
        self._halt_epoch = NONE
        self._reduce_epoch = NONE
        self._decided_epoch = NONE
        self._lifted_epoch = NONE
        self._halted_because = ""
        self._reduced_because = ""
        self._last: dict[str, ControlCommand] = {}
        self.refused: dict[int, str] = {}
        self.halts: dict[str, int] = {}
        self._counted: set[str] = set()  # ids of commands that lifted something

    @property
    def trading_state(self) -> TradingState:
        """The state after all commands so far."""
        if not self._bootstrapped or self._halt_epoch != NONE or self._trips.standing:
            return TradingState.HALTED
        reducing = self._reduce_epoch != NONE
        return TradingState.REDUCING if reducing else TradingState.ACTIVE

    @property
    def epoch(self) -> int:
        """Epoch of the last command that counted; -1 where there was none."""
        return self._epoch

    @property
    def halt_epoch(self) -> int:
        """Epoch that a RESUME must name; -1 where no halt is in force."""
        return self._halt_epoch

    @property
    def reduce_epoch(self) -> int:
        """Epoch that a RESUME must name to lift a REDUCE; -1 where none is in force."""
        return self._reduce_epoch

    @property
    def decided_epoch(self) -> int:
        """Epoch of the last command that bore upon the trading state; -1 where there was none."""
        return self._decided_epoch

    @property
    def lifted_epoch(self) -> int:
        """Epoch of the last RESUME or RESET that counted; -1 where there was none."""
        return self._lifted_epoch

    @property
    def reason(self) -> str:
        """Why it is not ACTIVE; empty where it is."""
        if self._halt_epoch != NONE:
            return self._halted_because
        if not self._bootstrapped:
            return "not bootstrapped"
        if trips := self._trips.standing:
            command = trips[0].command
            return f"{trips[0].scope} tripped, said by {command.author}: {command.reason}"
        return self._reduced_because if self._reduce_epoch != NONE else ""

    @property
    def fences(self) -> FenceBook:
        """What is fenced off, with the commands that did it."""
        return self._book

    @property
    def trips(self) -> TripBook:
        """What has tripped, with the commands that said so."""
        return self._trips

    def view(self, *, current: bool) -> ControlView:
        """Return the state as a view."""
        return ControlView(
            self.trading_state,
            self._epoch,
            current,
            self._halt_epoch,
            self.reason,
            self._book.fences,
            self._trips.trips,
        )

    def take(self, record: Recorded) -> str | None:
        """Fold the next record of the log, unless its signature does not count; see `apply`."""
        if record.forgery is None:
            return self.apply(record.command, record.epoch, record.appended_at)
        self.refused[record.epoch] = record.forgery.reason
        return record.forgery.reason

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
            self._halt(epoch, "unreadable control record")
            return None
        if refusal := self.refusal(command, appended_at):
            self.refused[epoch] = refusal
            return refusal
        if command.kind not in RESTRICTS:
            self._counted.add(command.command_id)
        self._take(command, epoch)
        self._last[EVERYTHING if command.kind is ControlKind.HALT else command.scope] = command
        return None

    def describe(self, scope: str = EVERYTHING) -> ControlState | None:
        """Return the record of a scope for the compacted view; None before its first command."""
        last = self._last.get(scope)
        if last is None:
            return None
        try:
            part = Scope.parse(scope)
        except UsageError:
            return None
        isolated, breaker = self._book.isolated(part), self._book.breaker(part)
        return ControlState(
            scope,
            self.trading_state,
            self._epoch,
            self._halt_epoch,
            last.command_id,
            last.author,
            last.reason,
            last.time,
            self._reduce_epoch,
            isolated.epoch if isolated else NONE,
            breaker.epoch if breaker else NONE,
        )

    def refusal(self, command: ControlCommand, appended_at: int = 0) -> str | None:
        """Return why a command would not count as the next one; None where it would."""
        if command.kind is ControlKind.HALT:
            return None
        if refusal := self._past(command, appended_at):
            return refusal
        if command.kind in _OF_FENCES or command.kind in _OF_TRIPS:
            book = self._book if command.kind in _OF_FENCES else self._trips
            return book.refusal(command)
        if command.kind is not ControlKind.REDUCE and command.author not in self._authors:
            names = ", ".join(sorted(self._authors)) or "nobody"
            return f"Expected an author allowed to (control_authors: {names}), was {command.author}"
        if command.scope != EVERYTHING:
            return f"Expected scope {EVERYTHING}, was {command.scope}"
        return self._conflict(command)

    def _past(self, command: ControlCommand, appended_at: int) -> str | None:
        """Return why the time of a command is over; None where it is not."""
        if command.command_id in self._counted:
            # Its writer did not hear that it was taken, and wrote it again; what it lifted then may
            # have been ordered anew.
            return f"Expected each command once, was {command.command_id} again"
        if 0 < command.expires_at < appended_at:
            return f"Expected it before {command.expires_at}, was appended at {appended_at}"
        return None

    def _take(self, command: ControlCommand, epoch: int) -> None:
        """Let a command that counts take effect."""
        by = f"{command.author}: {command.reason}"
        match command.kind:
            case ControlKind.HALT:
                self.halts.setdefault(command.command_id, epoch)
                self._halt(epoch, f"halted by {by}")
            case ControlKind.REDUCE:
                self._reduce_epoch, self._reduced_because = epoch, f"reduced by {by}"
                self._decided_epoch = epoch
            case ControlKind.BOOTSTRAP:
                self._bootstrapped, self._decided_epoch = True, epoch
            case ControlKind.RESUME:
                self._resume(command, epoch)
            case ControlKind.TRIP | ControlKind.RESET:
                self._trips.apply(command, epoch)
                self._decided_epoch = epoch
                if command.kind is ControlKind.RESET:
                    self._lifted_epoch = epoch
            case _:
                self._book.apply(command, epoch)
        self._epoch = epoch

    def _halt(self, epoch: int, reason: str) -> None:
        self._halt_epoch = self._epoch = self._decided_epoch = epoch
        self._halted_because = reason

    def _resume(self, command: ControlCommand, epoch: int) -> None:
        if command.lifts_epoch == self._halt_epoch:
            self._halt_epoch = NONE
        else:
            self._reduce_epoch = NONE
        self._decided_epoch = self._lifted_epoch = epoch

    def _conflict(self, command: ControlCommand) -> str | None:
        if command.kind is ControlKind.REDUCE:
            return None
        if command.kind is ControlKind.BOOTSTRAP:
            return "Expected one BOOTSTRAP, was another one" if self._bootstrapped else None
        liftable = [each for each in (self._halt_epoch, self._reduce_epoch) if each != NONE]
        if not liftable:
            return "Expected a halt to lift, was none"
        if command.lifts_epoch not in liftable:
            names = " or ".join(map(str, liftable))
            return f"Expected a RESUME that lifts epoch {names}, was {command.lifts_epoch}"
        return None
