"""The registered actions of recovery plans.

| action | what it does | of the specification's |
|---|---|---|
| `isolate` | fences a system off | ISOLATE_SYSTEM |
| `release` | takes the fence down, if it is this plan's | AUTOMATIC_RECOVERY |
| `halt`, `reduce` | stops orders, or all that do not reduce a position | EMERGENCY_SHUTDOWN |
| `resume` | lifts the halt or reduction of epoch `lifts_epoch` | AUTOMATIC_RECOVERY |
| `open_breaker` | forces a policy's breaker open | CIRCUIT_BREAKER_OPEN |
| `reset_breaker` | closes it, forced or tripped | AUTOMATIC_RECOVERY |
| `fall_back` | takes a stage's policy out: the stage holds every packet | FALLBACK_MODE |
| `wait_for_recovery` | does nothing; the criteria say whether it recovers | AUTOMATIC_RECOVERY |
| `hand_over` | tells the contacts that people have to act | MANUAL_INTERVENTION |

A command has been carried out when every live worker that it concerns has acknowledged it.
"""

from collections.abc import Callable
from typing import Protocol

from pipeline.emergency.commands import CommandResult
from pipeline.emergency.contacts import ContactBook, Message
from pipeline.emergency.plans import RecoveryStep, Registry, StepResult
from pipeline.emergency.table import Containment, scope_of
from pipeline.errors import UsageError
from pipeline.packets.events import EVERYTHING, ControlKind, EmergencyEvent

__all__ = ["Give", "register_actions", "step_of"]


class Give(Protocol):
    """Gives a command; see `Commander.give`."""

    def __call__(
        self,
        kind: ControlKind,
        scope: str = EVERYTHING,
        *,
        author: str,
        reason: str,
        lifts_epoch: int = -1,
        timeout_s: float | None = None,
    ) -> CommandResult:
        """Give a command and wait for its result."""
        ...


_KINDS = {
    "isolate": ControlKind.ISOLATE,
    "release": ControlKind.RELEASE,
    "fall_back": ControlKind.ISOLATE,
    "halt": ControlKind.HALT,
    "reduce": ControlKind.REDUCE,
    "resume": ControlKind.RESUME,
    "open_breaker": ControlKind.BREAKER_OPEN,
    "reset_breaker": ControlKind.BREAKER_RESET,
}
_NAMES = {
    ControlKind.ISOLATE: "isolate",
    ControlKind.HALT: "halt",
    ControlKind.REDUCE: "reduce",
    ControlKind.BREAKER_OPEN: "open_breaker",
}
_OF_POLICIES = frozenset({"fall_back", "open_breaker", "reset_breaker"})


def step_of(command: Containment, timeout_s: float) -> RecoveryStep:
    """Return the step that gives a command of the table."""
    parameters = {"why": command.why} if command.why else {}
    return RecoveryStep(_NAMES[command.kind], command.scope, parameters, timeout_s)


def register_actions(registry: Registry, give: Give, contacts: ContactBook, author: str) -> None:
    """Register the actions of the table above.

    Args:
        registry: Where.
        give: Gives commands.
        contacts: Whom `hand_over` tells.
        author: Who gives the commands.
    """

    def commanding(name: str, kind: ControlKind) -> Callable[..., StepResult]:
        def act(step: RecoveryStep, event: EmergencyEvent) -> StepResult:
            scope = _scope(name, step.system)
            result = give(
                kind,
                scope,
                author=step.parameters.get("author", author),
                reason=_reason(step, event),
                lifts_epoch=int(step.parameters.get("lifts_epoch", -1)),
                timeout_s=step.timeout,
            )
            return StepResult(step, result.in_force, f"{kind} {scope}: {result}", result.epoch)

        return act

    def hand_over(step: RecoveryStep, event: EmergencyEvent) -> StepResult:
        body = f"{event.description}\nPeople have to act: {_reason(step, event)}"
        told = contacts.tell(Message(f"{event.event_id}-hand-over", _title(event), body))
        return StepResult(step, bool(told), f"told {', '.join(told) or 'nobody: no contacts'}")

    def wait(step: RecoveryStep, event: EmergencyEvent) -> StepResult:
        del event
        return StepResult(step, True, "nothing is done")

    for name, kind in _KINDS.items():
        registry.actions[name] = commanding(name, kind)
    registry.actions["hand_over"] = hand_over
    registry.actions["wait_for_recovery"] = wait


def _scope(action: str, system: str) -> str:
    if action in ("halt", "reduce", "resume"):
        return EVERYTHING
    scope = scope_of(system)
    if scope is None:
        raise UsageError(f"Expected a system that can be fenced off, was {system!r}")
    return f"policy:{scope.name}" if action in _OF_POLICIES else str(scope)


def _reason(step: RecoveryStep, event: EmergencyEvent) -> str:
    why = step.parameters.get("why") or event.description
    return f"{_title(event)}: {why}"[:4000]


def _title(event: EmergencyEvent) -> str:
    return f"{event.emergency_level} {event.emergency_type} at {event.source_system}"
