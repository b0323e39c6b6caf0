"""The registered actions of recovery plans.

| action | what it does | of the specification's |
|---|---|---|
| `isolate` | fences a system off | ISOLATE_SYSTEM |
| `release` | takes the fence down, if it is this plan's | AUTOMATIC_RECOVERY |
| `halt` | stops orders | EMERGENCY_SHUTDOWN |
| `reduce` | stops orders that do not reduce a position | FALLBACK_MODE |
| `resume` | lifts the halt or reduction of epoch `lifts_epoch` | AUTOMATIC_RECOVERY |
| `open_breaker` | forces a policy's breaker open | CIRCUIT_BREAKER_OPEN |
| `reset_breaker` | closes it, forced or tripped | AUTOMATIC_RECOVERY |
| `fall_back` | takes a stage's policy out: the stage holds every packet | FALLBACK_MODE |
| `restart` | has the supervisor restart a stage's workers | RESTART_SYSTEM |
| `reroute` | has the supervisor replace a stage's workers by standbys | TRAFFIC_REROUTE |
| `replay_gap` | waits until a stage has worked off what waited for it | AUTOMATIC_RECOVERY |
| `wait_for_recovery` | does nothing; the criteria say whether it recovers | AUTOMATIC_RECOVERY |
| `hand_over` | tells the contacts that people have to act | MANUAL_INTERVENTION |

A command has been carried out when every live worker that it concerns has acknowledged it; those
of systems that the emergency affects may be too ill to, then it must be seen that they write
nothing. A request to a supervisor has been when that has answered that it is done. Both carry the
step's id, so that what another emergency worker has begun is not done a second time.

What comes in while a stage is fenced off or gone stands in Kafka, and the stage goes on at the
position in its log: so `replay_gap` moves nothing, it looks that the gap closes. Dead letters are
for people to send in again.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pipeline.control.scope import STAGES
from pipeline.emergency.commands import CommandResult
from pipeline.emergency.contacts import ContactBook
from pipeline.emergency.plans import (
    REQUEST_ID,
    RESUMED,
    Finding,
    RecoveryStep,
    Registry,
    StepResult,
)
from pipeline.emergency.supervising import Asked, Request
from pipeline.emergency.table import Containment, scope_of
from pipeline.errors import UsageError
from pipeline.packets.events import EVERYTHING, ControlKind, EmergencyEvent, RecoveryAction
from pipeline.watch.channels import Message

__all__ = ["Ask", "Give", "recovery_actions_of", "register_actions", "step_of"]


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
        after: Callable[[int], None] | None = None,
        command_id: str = "",
        resumed: bool = False,
    ) -> CommandResult:
        """Give a command and wait for its result."""
        ...


class Ask(Protocol):
    """Asks supervisors; see `Supervisors.ask`."""

    def __call__(self, what: Request, stage: str, request_id: str, timeout_s: float) -> Asked:
        """Ask, and wait for the answer."""
        ...


class Looks(Protocol):
    """Looks at the live cascade; see `LiveCascade`."""

    def caught_up(self, system: str) -> Finding:
        """Look whether a system has worked off what waits for it."""
        ...

    def quiet(self, system: str) -> Finding:
        """Look whether a system writes nothing."""
        ...

    def released(self, system: str) -> Finding:
        """Look whether nothing fences a system off."""
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
_REQUESTS = {"restart": Request.RESTART, "reroute": Request.REROUTE}
_SPECIFIED = {
    "isolate": RecoveryAction.ISOLATE_SYSTEM,
    "fall_back": RecoveryAction.FALLBACK_MODE,
    "halt": RecoveryAction.EMERGENCY_SHUTDOWN,
    "reduce": RecoveryAction.FALLBACK_MODE,
    "open_breaker": RecoveryAction.CIRCUIT_BREAKER_OPEN,
    "restart": RecoveryAction.RESTART_SYSTEM,
    "reroute": RecoveryAction.TRAFFIC_REROUTE,
    "hand_over": RecoveryAction.MANUAL_INTERVENTION,
}
_LOOK_S = 0.5
_ILL_S = 1.5
_OF_POLICIES = frozenset({"fall_back", "open_breaker", "reset_breaker"})


def step_of(command: Containment, timeout_s: float) -> RecoveryStep:
    """Return the step that gives a command of the table."""
    parameters = {"why": command.why} if command.why else {}
    return RecoveryStep(_NAMES[command.kind], command.scope, parameters, timeout_s)


def recovery_actions_of(actions: Iterable[str]) -> tuple[RecoveryAction, ...]:
    """Return the specification's names of some actions, each once, in order."""
    named = (_SPECIFIED.get(each, RecoveryAction.AUTOMATIC_RECOVERY) for each in actions)
    return tuple(dict.fromkeys(named))


def register_actions(
    registry: Registry,
    give: Give,
    contacts: ContactBook,
    author: str,
    ask: Ask,
    live: Looks,
    settle: Callable[[int], None],
) -> None:
    """Register the actions of the table above.

    Args:
        registry: Where.
        give: Gives commands.
        contacts: Whom `hand_over` tells.
        author: Who gives the commands.
        ask: Asks supervisors.
        live: Looks at the live cascade.
        settle: Called with the epoch of a HALT as soon as it stands in the log: what was halted on
            this machine alone before is the same halt.
    """
    for name, kind in _KINDS.items():
        registry.actions[name] = _Command(name, kind, give, author, live, settle)
    for name, what in _REQUESTS.items():
        registry.actions[name] = _Request(what, ask)
    registry.actions["replay_gap"] = partial(_replay_gap, live.caught_up)
    registry.actions["hand_over"] = partial(_hand_over, contacts)
    registry.actions["wait_for_recovery"] = _wait


@dataclass(frozen=True, slots=True)
class _Command:
    """Gives a command to the workers."""

    name: str
    kind: ControlKind
    give: Give
    author: str
    live: Looks
    settle: Callable[[int], None]

    def __call__(self, step: RecoveryStep, event: EmergencyEvent) -> StepResult:
        if self.name == "release" and (found := self.live.released(step.system)).met:
            return StepResult(step, True, found.seen)  # at an earlier attempt, or by somebody else
        ill = set(event.affected_systems) & set(STAGES)
        request_id = str(step.parameters.get(REQUEST_ID, ""))
        first_s = min(_ILL_S, step.timeout) if ill and request_id else step.timeout
        result = self._give(step, event, request_id, first_s)
        detail = f"{self.kind} {result.command.scope}: {result}"
        if result.missing and set(result.missing) <= ill:
            # What is ill cannot answer. As long as it writes nothing, it does not go against it.
            seen = [self.live.quiet(each) for each in result.missing]
            detail = f"{detail}; {', '.join(each.seen for each in seen)}"
            if all(each.met for each in seen):
                return StepResult(step, True, detail, result.epoch)
        if result.missing and first_s < step.timeout:
            # The same command, under its id: only its answers are waited for.
            result = self._give(step, event, request_id, step.timeout - first_s, resumed=True)
            detail = f"{self.kind} {result.command.scope}: {result}"
        return StepResult(step, result.in_force, detail, result.epoch)

    def _give(
        self,
        step: RecoveryStep,
        event: EmergencyEvent,
        request_id: str,
        timeout_s: float,
        *,
        resumed: bool = False,
    ) -> CommandResult:
        return self.give(
            self.kind,
            _scope(self.name, step.system),
            author=step.parameters.get("author", self.author),
            reason=_reason(step, event),
            lifts_epoch=int(step.parameters.get("lifts_epoch", -1)),
            timeout_s=timeout_s,
            after=self.settle if self.kind is ControlKind.HALT else None,
            command_id=request_id,
            resumed=resumed or bool(step.parameters.get(RESUMED)),
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """Asks the supervisors of a stage's workers."""

    what: Request
    ask: Ask

    def __call__(self, step: RecoveryStep, event: EmergencyEvent) -> StepResult:
        stage = _stage(step.system)
        known = step.parameters.get(REQUEST_ID)
        request_id = str(known or f"{event.event_id}-{self.what}-{stage}")
        asked = self.ask(self.what, stage, request_id, step.timeout)
        return StepResult(step, asked.done, f"{self.what} {stage}: {asked.detail}")


def _replay_gap(
    caught_up: Callable[[str], Finding], step: RecoveryStep, event: EmergencyEvent
) -> StepResult:
    del event
    until_s = time.monotonic() + step.timeout
    found = first = caught_up(step.system)
    while not found.met and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
        found = caught_up(step.system)
    return StepResult(step, found.met, f"first {first.seen}, then {found.seen}")


def _hand_over(contacts: ContactBook, step: RecoveryStep, event: EmergencyEvent) -> StepResult:
    body = f"{event.description}\nPeople have to act: {_reason(step, event)}"
    told = contacts.tell(Message(f"{event.event_id}-hand-over", _title(event), body))
    return StepResult(step, bool(told), f"told {', '.join(told) or 'nobody: no contacts'}")


def _wait(step: RecoveryStep, event: EmergencyEvent) -> StepResult:
    del event
    return StepResult(step, True, "nothing is done")


def _scope(action: str, system: str) -> str:
    if action in ("halt", "reduce", "resume"):
        return EVERYTHING
    scope = scope_of(system)
    if scope is None:
        raise UsageError(f"Expected a system that can be fenced off, was {system!r}")
    return f"policy:{scope.name}" if action in _OF_POLICIES else str(scope)


def _stage(system: str) -> str:
    scope = scope_of(system)
    if scope is None or scope.name not in STAGES:
        raise UsageError(f"Expected one of {', '.join(STAGES)}, was {system!r}")
    return scope.name


def _reason(step: RecoveryStep, event: EmergencyEvent) -> str:
    why = step.parameters.get("why") or event.description
    return f"{_title(event)}: {why}"[:4000]


def _title(event: EmergencyEvent) -> str:
    return f"{event.emergency_level} {event.emergency_type} at {event.source_system}"
