"""What is fenced off: stages, symbols, policies and sources, and the breakers forced open.

A fence is put up by ISOLATE and taken down by RELEASE of the same scope; a breaker is forced open
by BREAKER_OPEN and let go by BREAKER_RESET. Anybody may put one up, for that is the safe side.
Whoever put it up may take it down again, and so may those who may resume.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.control.scope import Scope, ScopeKind
from pipeline.control.trips import TRIP_KINDS
from pipeline.errors import UsageError
from pipeline.packets.events import ControlCommand, ControlKind

__all__ = ["NO_FENCES", "Fence", "FenceBook", "Fences"]

NONE = -1
_PUTS_UP = {ControlKind.ISOLATE, ControlKind.BREAKER_OPEN}
_OF_BREAKERS = {ControlKind.BREAKER_OPEN, ControlKind.BREAKER_RESET}
_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Fences:
    """What is fenced off at one moment, by name.

    Attributes:
        stages: Isolated stages.
        symbols: Isolated instruments.
        policies: Isolated policies, by stage.
        sources: Isolated sources.
        breakers: Policies whose breaker is forced open, by stage.
        resets: Epoch of the last BREAKER_RESET that counted, by stage.
    """

    stages: frozenset[str] = frozenset()
    symbols: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    breakers: frozenset[str] = frozenset()
    resets: Mapping[str, int] = field(default_factory=lambda: _NOTHING)

    def touch_packets(self, stage: str) -> bool:
        """Say whether a stage has to look at its packets one by one."""
        return bool(
            self.symbols or self.sources or stage in self.policies or stage in self.breakers
        )


NO_FENCES = Fences()


@dataclass(frozen=True, slots=True)
class Fence:
    """A fence that stands.

    Attributes:
        scope: Around what.
        epoch: Epoch of the command that put it up.
        command: That command.
    """

    scope: Scope
    epoch: int
    command: ControlCommand


class FenceBook:
    """Folds the commands of a control log into the fences that stand.

    Args:
        authors: Who may take down what others put up.
    """

    def __init__(self, authors: Iterable[str]) -> None:
        self._authors = frozenset(authors)
        self._isolated: dict[Scope, Fence] = {}
        self._breakers: dict[Scope, Fence] = {}
        self._resets: dict[str, int] = {}
        self._fences = NO_FENCES

    @property
    def fences(self) -> Fences:
        """What is fenced off now."""
        return self._fences

    @property
    def standing(self) -> tuple[Fence, ...]:
        """All fences that stand, oldest first."""
        both = (*self._isolated.values(), *self._breakers.values())
        return tuple(sorted(both, key=lambda fence: fence.epoch))

    def isolated(self, scope: Scope) -> Fence | None:
        """Return the fence around `scope`, if there is one."""
        return self._isolated.get(scope)

    def breaker(self, scope: Scope) -> Fence | None:
        """Return the command that forces the breaker of `scope` open, if there is one."""
        return self._breakers.get(scope)

    def apply(self, command: ControlCommand, epoch: int) -> None:
        """Fold a command that `refusal` does not refuse."""
        scope = Scope.parse(command.scope)
        book = self._book(command.kind)
        if command.kind in _PUTS_UP:
            book[scope] = Fence(scope, epoch, command)
        else:
            book.pop(scope, None)
            if command.kind is ControlKind.BREAKER_RESET:
                self._resets[scope.name] = epoch
        self._fences = self._named()

    def refusal(self, command: ControlCommand) -> str | None:
        """Return why a command would not count as the next one; None where it would."""
        try:
            scope = Scope.parse(command.scope)
        except UsageError as error:
            return str(error)
        if command.kind in _OF_BREAKERS and scope.kind is not ScopeKind.POLICY:
            return f"Expected a scope like policy:tactical for a breaker, was {scope}"
        if scope.kind in TRIP_KINDS:
            return f"Expected a part of the cascade, was {scope}; `reset` is for what has tripped"
        if scope.kind is ScopeKind.EVERYTHING:
            return "Expected a part of the cascade, was all of it; HALT stops everything"
        if command.kind in _PUTS_UP:
            return None
        return self._unliftable(command, scope)

    def _unliftable(self, command: ControlCommand, scope: Scope) -> str | None:
        standing = self._book(command.kind).get(scope)
        if standing is None and command.kind is ControlKind.RELEASE:
            return f"Expected {scope} to be isolated, was not"
        epoch = standing.epoch if standing else NONE
        if command.lifts_epoch not in (NONE, epoch):
            return f"Expected it to lift epoch {epoch}, was {command.lifts_epoch}"
        return self._unauthorised(command, standing)

    def _unauthorised(self, command: ControlCommand, standing: Fence | None) -> str | None:
        owner = standing.command.author if standing else None
        if command.author in self._authors or command.author == owner:
            return None
        names = ", ".join(sorted({*self._authors, *([owner] if owner else [])})) or "nobody"
        return f"Expected an author allowed to (control_authors: {names}), was {command.author}"

    def _book(self, kind: ControlKind) -> dict[Scope, Fence]:
        return self._breakers if kind in _OF_BREAKERS else self._isolated

    def _named(self) -> Fences:
        names: dict[ScopeKind, frozenset[str]] = {
            kind: frozenset(scope.name for scope in self._isolated if scope.kind is kind)
            for kind in ScopeKind
        }
        return Fences(
            stages=names[ScopeKind.STAGE],
            symbols=names[ScopeKind.SYMBOL],
            policies=names[ScopeKind.POLICY],
            sources=names[ScopeKind.SOURCE],
            breakers=frozenset(scope.name for scope in self._breakers),
            resets=MappingProxyType(dict(self._resets)),
        )
