"""Taking back what was done about an emergency, and nothing else.

Only what still stands by this emergency's own command is taken back: a newer HALT or ISOLATE is
somebody else's. What another active emergency has asked for too, stays for it.
"""

import json
from collections.abc import Sequence

from pipeline.control.scope import Scope
from pipeline.control.state import TradingStateMachine
from pipeline.emergency.actions import Give
from pipeline.emergency.ledger import Emergency
from pipeline.emergency.plans import RecoveryStep, StepResult
from pipeline.emergency.table import scope_of
from pipeline.packets.events import EVERYTHING, ControlKind

__all__ = ["undo"]

_PUTS_UP = frozenset({"isolate", "fall_back", "halt", "reduce", "open_breaker"})


def undo(
    emergency: Emergency,
    others: Sequence[Emergency],
    machine: TradingStateMachine,
    give: Give,
    author: str,
) -> tuple[StepResult, ...]:
    """Take back what still stands of an emergency, newest first.

    Args:
        emergency: The emergency.
        others: Those that are active beside it.
        machine: What the control log says.
        give: Gives commands.
        author: Who takes it back.

    Raises:
        UsageError: If `author` may not.
    """
    needed = {(each["action"], each["system"]) for other in others for each in _done(other)}
    reason = f"emergency {emergency.event.event_id} is over"
    results = []
    for each in reversed(_done(emergency)):
        action, system, epoch = each["action"], each["system"], int(each["epoch"])
        found = _counterpart(action, system, epoch, machine)
        if found is None:
            continue
        kind, scope = found
        step = RecoveryStep(_name(kind), system, {"lifts_epoch": epoch})
        if (action, system) in needed:
            results.append(StepResult(step, False, "another active emergency needs it"))
            continue
        result = give(kind, scope, author=author, reason=reason, lifts_epoch=epoch)
        results.append(StepResult(step, result.in_force, f"{kind} {scope}: {result}", result.epoch))
    return tuple(results)


def _done(emergency: Emergency) -> list[dict[str, str]]:
    """Return the steps of an emergency that put something up, as its newest record tells."""
    steps: list[dict[str, str]] = json.loads(emergency.event.steps).get("steps", [])
    return [each for each in steps if each["action"] in _PUTS_UP and int(each["epoch"]) >= 0]


def _counterpart(
    action: str, system: str, epoch: int, machine: TradingStateMachine
) -> tuple[ControlKind, str] | None:
    """Return the command that takes a step back; None where it does not stand any more."""
    if action in ("halt", "reduce"):
        standing = machine.halt_epoch if action == "halt" else machine.reduce_epoch
        return (ControlKind.RESUME, EVERYTHING) if standing == epoch else None
    scope = scope_of(system)
    if scope is None:
        return None
    if action in ("fall_back", "open_breaker"):
        scope = Scope.parse(f"policy:{scope.name}")
    opened = action == "open_breaker"
    fence = machine.fences.breaker(scope) if opened else machine.fences.isolated(scope)
    if fence is None or fence.epoch != epoch:
        return None
    return (ControlKind.BREAKER_RESET if opened else ControlKind.RELEASE), str(scope)


def _name(kind: ControlKind) -> str:
    return {
        ControlKind.RESUME: "resume",
        ControlKind.RELEASE: "release",
        ControlKind.BREAKER_RESET: "reset_breaker",
    }[kind]
