"""Trips: what halts trading by itself and stays so until a person resets it by name.

| trip | by whom | when |
|---|---|---|
| `throttle:SYMBOL` | risk | one approval more in one direction than the throttle lets through |
| `reconciliation:ACCOUNT` | gateway | the venue says of an order what the log rules out |
| `versions:STAGE` | execution | a stage's workers differ in settings or policy for too long |

A TRIP may be raised by anybody; a RESET of the same scope, by somebody who may resume, takes it
down. No RESUME does: a halt and a trip are lifted one by one, each by its name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.control.scope import Scope, ScopeKind
from pipeline.errors import UsageError
from pipeline.packets.events import ControlCommand, ControlKind

__all__ = ["NO_TRIPS", "TRIP_KINDS", "Trip", "TripBook", "Trips"]

TRIP_KINDS = (ScopeKind.THROTTLE, ScopeKind.RECONCILIATION, ScopeKind.VERSIONS)
"""What can trip."""

_NONE = -1
_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Trips:
    """What has tripped, and what was reset, at one moment.

    Attributes:
        standing: Scopes that have tripped and were not reset since.
        resets: Epoch of the last RESET that counted, by scope.
    """

    standing: frozenset[str] = frozenset()
    resets: Mapping[str, int] = field(default_factory=lambda: _NOTHING)

    def reset_since(self, scope: str, epoch: int) -> bool:
        """Say whether `scope` was reset after what was known as of `epoch`."""
        return self.resets.get(scope, _NONE) > epoch


NO_TRIPS = Trips()


@dataclass(frozen=True, slots=True)
class Trip:
    """A trip that stands.

    Attributes:
        scope: What has tripped.
        epoch: Epoch of the command that said so first.
        command: That command.
    """

    scope: Scope
    epoch: int
    command: ControlCommand


class TripBook:
    """Folds the commands of a control log into the trips that stand.

    Args:
        authors: Who may reset.
    """

    def __init__(self, authors: Iterable[str]) -> None:
        self._authors = frozenset(authors)
        self._standing: dict[Scope, Trip] = {}
        self._resets: dict[str, int] = {}
        self._trips = NO_TRIPS

    @property
    def trips(self) -> Trips:
        """What has tripped now."""
        return self._trips

    @property
    def standing(self) -> tuple[Trip, ...]:
        """All trips that stand, oldest first."""
        return tuple(self._standing.values())

    def apply(self, command: ControlCommand, epoch: int) -> None:
        """Fold a TRIP or RESET that `refusal` does not refuse."""
        scope = Scope.parse(command.scope)
        if command.kind is ControlKind.TRIP:
            self._standing.setdefault(scope, Trip(scope, epoch, command))
        else:
            del self._standing[scope]
            self._resets[str(scope)] = epoch
        standing = frozenset(map(str, self._standing))
        self._trips = Trips(standing, MappingProxyType(dict(self._resets)))

    def refusal(self, command: ControlCommand) -> str | None:
        """Return why a command would not count as the next one; None where it would."""
        try:
            scope = Scope.parse(command.scope)
        except UsageError as error:
            return str(error)
        if scope.kind not in TRIP_KINDS:
            names = " or ".join(f"{kind}:NAME" for kind in TRIP_KINDS)
            return f"Expected a scope like {names}, was {scope}"
        return None if command.kind is ControlKind.TRIP else self._unresettable(command, scope)

    def _unresettable(self, command: ControlCommand, scope: Scope) -> str | None:
        trip = self._standing.get(scope)
        if trip is None:
            return f"Expected {scope} to have tripped, had not"
        if command.lifts_epoch not in (_NONE, trip.epoch):
            return f"Expected it to lift epoch {trip.epoch}, was {command.lifts_epoch}"
        if command.author not in self._authors:
            names = ", ".join(sorted(self._authors)) or "nobody"
            return f"Expected an author allowed to (control_authors: {names}), was {command.author}"
        return None
