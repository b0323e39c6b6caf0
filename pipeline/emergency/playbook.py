"""How each emergency is recovered from: steps of registered actions, and what must be seen then.

| type | plan |
|---|---|
| SYSTEM_FAILURE | a silent system is restarted, let back in, and works off what waited; a worker that its supervisor has started again is only watched; one that ends again and again gets its policy taken out first; a failing policy is asked again |
| CASCADE_BREAKDOWN | the system that works nothing off is restarted |
| PERFORMANCE_DEGRADATION | the slowest system's work goes to a standby; at WARNING it is only watched |
| SECURITY_BREACH | none: people |
| DATA_CORRUPTION | the source is let back in once its records are packets again; a system is restarted |
| NETWORK_PARTITION | none of ours to mend: watched until all are heard of again |
| RESOURCE_EXHAUSTION | a worker with too much memory is restarted; else watched |
| COORDINATION_FAILURE | a stage that does not answer is restarted; others are watched |
| VALIDATION_FAILURE | symbols and sources are let back in once their packets keep the rules; a stage falls back to holding every packet |

A halt or a reduction is never taken back by a plan, nor is a policy put back in: that is for people,
who are told when a plan has succeeded and something of the kind stands, and when it has failed.
"""  # noqa: E501  # a table

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pipeline.control.scope import POLICIES, STAGES
from pipeline.emergency.actions import recovery_actions_of
from pipeline.emergency.plans import Criterion, RecoveryPlan, RecoveryStep, Registry
from pipeline.emergency.table import Measure, measures
from pipeline.packets.events import (
    EmergencyEvent,
    EmergencyLevel,
    EmergencyType,
    RecoveryAction,
)

__all__ = ["Draft", "draft_of", "plan_of"]

_RESTART_S = 20.0
_REROUTE_S = 25.0
_GAP_S = 20.0
_WAIT_S = 20.0
_SERIOUS = frozenset({EmergencyLevel.CRITICAL, EmergencyLevel.EMERGENCY})


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that is not yet one of an emergency.

    Attributes:
        steps: What is done.
        success: What must be seen then.
        rollback: What is done where it does not succeed.
    """

    steps: tuple[RecoveryStep, ...]
    success: tuple[Criterion, ...]
    rollback: tuple[RecoveryStep, ...] = ()

    @property
    def recovery_actions(self) -> tuple[RecoveryAction, ...]:
        """The specification's names of its steps."""
        return recovery_actions_of(step.action for step in self.steps)


@dataclass(frozen=True, slots=True)
class _Case:
    """What there is to recover from."""

    kind: EmergencyType
    level: EmergencyLevel
    systems: tuple[str, ...]
    subject: str

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(each for each in self.systems if each in STAGES)

    @property
    def isolated(self) -> bool:
        return Measure.ISOLATE in measures(self.kind, self.level)

    @property
    def serious(self) -> bool:
        return self.level in _SERIOUS

    @property
    def of_worker(self) -> bool:
        return self.subject.startswith("worker:")

    @property
    def clear(self) -> Criterion:
        return Criterion("clear", f"{self.kind}/{self.subject}")


def draft_of(
    kind: EmergencyType, level: EmergencyLevel, systems: tuple[str, ...], subject: str
) -> Draft | None:
    """Return how an emergency is recovered from; None where only people can.

    Args:
        kind: Its type.
        level: Its level.
        systems: Affected systems.
        subject: What its sign was about; see `pipeline.emergency.detectors`.
    """
    return _BOOK[kind](_Case(kind, level, systems, subject))


def plan_of(
    event: EmergencyEvent, subject: str, registry: Registry, timeout_s: float
) -> RecoveryPlan | None:
    """Return the plan of an emergency; the same for whoever asks. None where only people can.

    Args:
        event: The emergency.
        subject: What its sign was about.
        registry: Actions and checks.
        timeout_s: For steps and success in all, seconds.
    """
    level, systems = event.emergency_level, event.affected_systems
    draft = draft_of(event.emergency_type, level, systems, subject)
    if draft is None:
        return None
    return registry.plan(
        event, draft.steps, draft.success, rollback=draft.rollback,
        timeout_s=timeout_s, plan_id=f"{event.event_id}/recovery",
    )  # fmt: skip


def _people(case: _Case) -> Draft | None:
    del case
    return None


def _watched(case: _Case) -> Draft:
    return Draft((_wait(case.clear.system, "clear"),), (case.clear,))


def _system_failure(case: _Case) -> Draft | None:
    stages = case.stages
    if case.subject.startswith("policy:"):
        steps = tuple(RecoveryStep("reset_breaker", each) for each in stages)
        outs = tuple(RecoveryStep("fall_back", each) for each in stages)
        return Draft(steps, (case.clear,), outs)
    if not stages:
        return None
    if case.of_worker and not case.serious:
        return Draft(tuple(_wait(each, "heard") for each in stages), _back(stages))
    outs = _fall_back(stages) if case.of_worker else ()
    let_in = _release(stages, isolated=case.isolated)
    steps = (*outs, *_restart(stages), *let_in, *_gap(stages))
    return Draft(steps, _back(stages), _fence(stages, isolated=case.isolated))


def _restarted(case: _Case) -> Draft:
    """Restart the stages that are named; watch where none is."""
    if not case.stages:
        return _watched(case)
    return Draft((*_restart(case.stages), *_gap(case.stages)), (*_back(case.stages), case.clear))


def _resource_exhaustion(case: _Case) -> Draft:
    return _restarted(case) if case.of_worker else _watched(case)


def _performance_degradation(case: _Case) -> Draft:
    if not case.stages or not case.serious:
        return _watched(case)
    steps = tuple(
        RecoveryStep("reroute", each, timeout=_REROUTE_S, seen="heard") for each in case.stages
    )
    return Draft(steps, (*_back(case.stages), case.clear))


def _network_partition(case: _Case) -> Draft:
    if not case.stages:
        return _watched(case)
    return Draft(tuple(_wait(each, "heard") for each in case.stages), _back(case.stages))


def _data_corruption(case: _Case) -> Draft:
    stages, isolated = case.stages, case.isolated
    if not stages:
        return _data(case)
    steps = (*_restart(stages), *_release(stages, isolated=isolated))
    return Draft(steps, (*_back(stages), case.clear), _fence(stages, isolated=isolated))


def _validation_failure(case: _Case) -> Draft:
    stages = case.stages
    if not stages:
        return _data(case)
    if not case.isolated:  # its breaker is open: it decides nothing
        return _watched(case)
    steps = (*_fall_back(stages), *_release(stages, isolated=True))
    return Draft(steps, (case.clear, *_back(stages)), _fence(stages, isolated=True))


def _data(case: _Case) -> Draft:
    """Let symbols and sources back in once the sign is gone."""
    done = measures(case.kind, case.level)
    fenced = Measure.ISOLATE in done or Measure.ISOLATE_DATA in done
    released = tuple(Criterion("released", each) for each in case.systems) if fenced else ()
    steps = (_wait(case.clear.system, "clear"), *_release(case.systems, isolated=fenced))
    return Draft(steps, (case.clear, *released), _fence(case.systems, isolated=fenced))


_BOOK: Mapping[EmergencyType, Callable[[_Case], Draft | None]] = {
    EmergencyType.SYSTEM_FAILURE: _system_failure,
    EmergencyType.CASCADE_BREAKDOWN: _restarted,
    EmergencyType.PERFORMANCE_DEGRADATION: _performance_degradation,
    EmergencyType.SECURITY_BREACH: _people,
    EmergencyType.DATA_CORRUPTION: _data_corruption,
    EmergencyType.NETWORK_PARTITION: _network_partition,
    EmergencyType.RESOURCE_EXHAUSTION: _resource_exhaustion,
    EmergencyType.COORDINATION_FAILURE: _restarted,
    EmergencyType.VALIDATION_FAILURE: _validation_failure,
}


def _fall_back(stages: Iterable[str]) -> tuple[RecoveryStep, ...]:
    return tuple(RecoveryStep("fall_back", each) for each in stages if each in POLICIES)


def _restart(stages: Iterable[str]) -> tuple[RecoveryStep, ...]:
    return tuple(RecoveryStep("restart", each, timeout=_RESTART_S, seen="heard") for each in stages)


def _release(systems: Iterable[str], *, isolated: bool) -> tuple[RecoveryStep, ...]:
    return tuple(RecoveryStep("release", each) for each in systems) if isolated else ()


def _fence(systems: Iterable[str], *, isolated: bool) -> tuple[RecoveryStep, ...]:
    return tuple(RecoveryStep("isolate", each) for each in systems) if isolated else ()


def _gap(stages: Iterable[str]) -> tuple[RecoveryStep, ...]:
    return tuple(RecoveryStep("replay_gap", each, timeout=_GAP_S) for each in stages)


def _wait(system: str, seen: str) -> RecoveryStep:
    return RecoveryStep("wait_for_recovery", system, timeout=_WAIT_S, seen=seen)


def _back(stages: Iterable[str]) -> tuple[Criterion, ...]:
    return tuple(
        Criterion(check, each) for each in stages for check in ("heard", "caught_up", "released")
    )
