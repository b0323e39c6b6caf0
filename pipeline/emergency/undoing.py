"""Taking back what was done about an emergency, and nothing else.

Only what still stands by a command of an emergency is taken back: a newer HALT or ISOLATE is
somebody else's. What another active emergency has asked for too, stays until that one ends.
"""

from collections.abc import Sequence

from pipeline.control.scope import Scope
from pipeline.control.state import TradingStateMachine
from pipeline.emergency.actions import Give
from pipeline.emergency.ledger import Emergency
from pipeline.emergency.plans import RecoveryStep, StepResult
from pipeline.emergency.table import scope_of
from pipeline.packets.events import EVERYTHING, ControlKind

__all__ = ["standing", "undo"]

_PUTS_UP = frozenset({"isolate", "fall_back", "halt", "reduce", "open_breaker"})


def undo(
    emergency: Emergency,
    all_known: Sequence[Emergency],
    machine: TradingStateMachine,
    give: Give,
    author: str,
) -> tuple[StepResult, ...]:
    """Take back what still stands of an emergency, newest first.

    Args:
        emergency: The emergency.
        all_known: All emergencies, over or not.
        machine: What the control log says.
        give: Gives commands.
        author: Who takes it back.

    Raises:
        UsageError: If `author` may not.
    """
    event_id = emergency.event.event_id
    others = [each for each in all_known if each.event.event_id != event_id]
    needed = {key for each in others if each.active for key, _ in _done(each)}
    reason = f"emergency {event_id} is over"
    results = []
    for (action, system), (kind, scope, epoch) in _standing(emergency, all_known, machine).items():
        step = RecoveryStep(_name(kind), system, {"lifts_epoch": epoch})
        if (action, system) in needed:
            results.append(StepResult(step, False, "another active emergency needs it"))
            continue
        result = give(kind, scope, author=author, reason=reason, lifts_epoch=epoch)
        results.append(StepResult(step, result.in_force, f"{kind} {scope}: {result}", result.epoch))
    return tuple(results)


def standing(
    emergency: Emergency, all_known: Sequence[Emergency], machine: TradingStateMachine
) -> tuple[str, ...]:
    """Return what still stands of an emergency, as `halt *`, newest first."""
    return tuple(" ".join(each) for each in _standing(emergency, all_known, machine))


def _standing(
    emergency: Emergency, all_known: Sequence[Emergency], machine: TradingStateMachine
) -> dict[tuple[str, str], tuple[ControlKind, str, int]]:
    """Return (action, system) of what still stands, each with what takes it back."""
    # Of two emergencies with one fence, the newer one's command stands, and either may end last.
    epochs = {done for each in (*all_known, emergency) for done in _done(each)}
    found = {}
    for action, system in dict.fromkeys(key for key, _ in reversed(_done(emergency))):
        counterpart = _counterpart(action, system, machine)
        if counterpart is not None and ((action, system), counterpart[2]) in epochs:
            found[action, system] = counterpart
    return found


def _done(emergency: Emergency) -> list[tuple[tuple[str, str], int]]:
    """Return what an emergency put up, as ((action, system), epoch), oldest first."""
    found = [((each["action"], each["system"]), int(each["epoch"])) for each in emergency.steps]
    return [each for each in found if each[0][0] in _PUTS_UP and each[1] >= 0]


def _counterpart(
    action: str, system: str, machine: TradingStateMachine
) -> tuple[ControlKind, str, int] | None:
    """Return (kind, scope, epoch) that takes an action back; None where nothing of it stands."""
    if action in ("halt", "reduce"):
        standing = machine.halt_epoch if action == "halt" else machine.reduce_epoch
        return None if standing < 0 else (ControlKind.RESUME, EVERYTHING, standing)
    scope = scope_of(system)
    if scope is None:
        return None
    if action in ("fall_back", "open_breaker"):
        scope = Scope.parse(f"policy:{scope.name}")
    opened = action == "open_breaker"
    fence = machine.fences.breaker(scope) if opened else machine.fences.isolated(scope)
    if fence is None:
        return None
    kind = ControlKind.BREAKER_RESET if opened else ControlKind.RELEASE
    return kind, str(scope), fence.epoch


def _name(kind: ControlKind) -> str:
    return {
        ControlKind.RESUME: "resume",
        ControlKind.RELEASE: "release",
        ControlKind.BREAKER_RESET: "reset_breaker",
    }[kind]
