"""What is done at once about an emergency, by its level and type.

| type | ADVISORY, CAUTION | WARNING | CRITICAL | EMERGENCY |
|---|---|---|---|---|
| SYSTEM_FAILURE | - | open breaker | isolate | isolate, halt |
| CASCADE_BREAKDOWN | - | reduce | halt | halt |
| PERFORMANCE_DEGRADATION | - | - | reduce | halt |
| SECURITY_BREACH | - | reduce | isolate, halt | isolate, halt |
| DATA_CORRUPTION | - | isolate data | isolate | isolate, halt |
| NETWORK_PARTITION | - | reduce | halt | halt |
| RESOURCE_EXHAUSTION | - | - | reduce | halt |
| COORDINATION_FAILURE | - | - | reduce | halt |
| VALIDATION_FAILURE | - | open breaker | isolate | isolate, halt |

"Isolate" and "open breaker" go to each affected system: a stage (`tactical`), or any scope of
`pipeline.control.scope` (`symbol:IBM`, `source:market`, `policy:risk`). "Isolate data" goes to the
symbols and sources among them, so that at WARNING no stage stops. What is to be isolated and cannot
be, because no system is named or none of that name can be fenced off, is halted instead: a doubt
never leaves orders going. From CAUTION on the contacts are told; of an ADVISORY they are not.
"""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.control.scope import POLICIES, STAGES, Scope, ScopeKind
from pipeline.control.trips import TRIP_KINDS
from pipeline.errors import UsageError
from pipeline.packets.events import (
    EVERYTHING,
    ControlKind,
    EmergencyLevel,
    EmergencyType,
    RecoveryAction,
)

__all__ = ["Containment", "Measure", "containment", "measures", "recovery_actions", "scope_of"]

LEVELS = tuple(EmergencyLevel)


class Measure(StrEnum):
    """One thing that is done at once."""

    OPEN_BREAKER = "open breaker"
    ISOLATE_DATA = "isolate data"
    REDUCE = "reduce"
    ISOLATE = "isolate"
    HALT = "halt"


_BREAKER, _DATA = Measure.OPEN_BREAKER, Measure.ISOLATE_DATA
_REDUCE, _ISOLATE, _HALT = Measure.REDUCE, Measure.ISOLATE, Measure.HALT

_TABLE: dict[EmergencyType, tuple[tuple[Measure, ...], ...]] = {
    # At WARNING, CRITICAL, EMERGENCY; what stops orders stands first.
    EmergencyType.SYSTEM_FAILURE: ((_BREAKER,), (_ISOLATE,), (_HALT, _ISOLATE)),
    EmergencyType.CASCADE_BREAKDOWN: ((_REDUCE,), (_HALT,), (_HALT,)),
    EmergencyType.PERFORMANCE_DEGRADATION: ((), (_REDUCE,), (_HALT,)),
    EmergencyType.SECURITY_BREACH: ((_REDUCE,), (_HALT, _ISOLATE), (_HALT, _ISOLATE)),
    EmergencyType.DATA_CORRUPTION: ((_DATA,), (_ISOLATE,), (_HALT, _ISOLATE)),
    EmergencyType.NETWORK_PARTITION: ((_REDUCE,), (_HALT,), (_HALT,)),
    EmergencyType.RESOURCE_EXHAUSTION: ((), (_REDUCE,), (_HALT,)),
    EmergencyType.COORDINATION_FAILURE: ((), (_REDUCE,), (_HALT,)),
    EmergencyType.VALIDATION_FAILURE: ((_BREAKER,), (_ISOLATE,), (_HALT, _ISOLATE)),
}
_OF_DATA = frozenset({ScopeKind.SYMBOL, ScopeKind.SOURCE})
_ACTIONS = {
    ControlKind.ISOLATE: RecoveryAction.ISOLATE_SYSTEM,
    ControlKind.HALT: RecoveryAction.EMERGENCY_SHUTDOWN,
    ControlKind.BREAKER_OPEN: RecoveryAction.CIRCUIT_BREAKER_OPEN,
    # An order book that may only shrink is the fallback of trading.
    ControlKind.REDUCE: RecoveryAction.FALLBACK_MODE,
}


@dataclass(frozen=True, slots=True)
class Containment:
    """A command that contains an emergency.

    Attributes:
        kind: What it does.
        scope: What it is for.
        why: Why this one, where the table alone does not say.
    """

    kind: ControlKind
    scope: str = EVERYTHING
    why: str = ""


def measures(kind: EmergencyType, level: EmergencyLevel) -> tuple[Measure, ...]:
    """Return what the table says."""
    row = LEVELS.index(level) - LEVELS.index(EmergencyLevel.WARNING)
    return _TABLE[kind][row] if row >= 0 else ()


def scope_of(system: str) -> Scope | None:
    """Return the part of the cascade that an affected system is; None where it is none."""
    try:
        scope = Scope.parse(f"stage:{system}" if system in STAGES else system)
    except UsageError:
        return None
    return None if scope.kind in (ScopeKind.EVERYTHING, *TRIP_KINDS) else scope


def containment(
    kind: EmergencyType, level: EmergencyLevel, affected: tuple[str, ...]
) -> tuple[Containment, ...]:
    """Return the commands that contain an emergency of some systems, most urgent first."""
    found: list[Containment] = []
    for measure in measures(kind, level):
        match measure:
            case Measure.HALT:
                found.append(Containment(ControlKind.HALT))
            case Measure.REDUCE:
                found.append(Containment(ControlKind.REDUCE))
            case Measure.OPEN_BREAKER:
                found += _breakers(affected)
            case Measure.ISOLATE | Measure.ISOLATE_DATA:
                found += _fences(affected, data_only=measure is Measure.ISOLATE_DATA)
    return tuple(dict.fromkeys(found))


def recovery_actions(commands: tuple[Containment, ...]) -> tuple[RecoveryAction, ...]:
    """Return the specification's names of what the commands do; to a person where nothing is."""
    named = tuple(dict.fromkeys(_ACTIONS[each.kind] for each in commands))
    return named or (RecoveryAction.MANUAL_INTERVENTION,)


def _breakers(affected: tuple[str, ...]) -> list[Containment]:
    scopes = [scope for each in affected if (scope := scope_of(each))]
    decides = {ScopeKind.STAGE, ScopeKind.POLICY}
    names = [each.name for each in scopes if each.kind in decides and each.name in POLICIES]
    return [Containment(ControlKind.BREAKER_OPEN, f"policy:{name}") for name in names]


def _fences(affected: tuple[str, ...], *, data_only: bool) -> list[Containment]:
    scopes = {each: scope_of(each) for each in affected}
    fences = [
        Containment(ControlKind.ISOLATE, str(scope))
        for scope in scopes.values()
        if scope is not None and (not data_only or scope.kind in _OF_DATA)
    ]
    unknown = [each for each, scope in scopes.items() if scope is None]
    if not data_only and (unknown or not fences):
        what = f"{', '.join(unknown)} cannot be isolated" if unknown else "no system is named"
        return [Containment(ControlKind.HALT, why=what), *fences]
    return fences
