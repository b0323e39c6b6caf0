"""Recovery plans: steps of registered actions, whose success is checked against the live cascade.

A plan can only be made of actions and checks that the registry of this process has, so there is no
step that nobody knows how to carry out, and no success that nobody looked for.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.packets.events import EmergencyEvent

__all__ = [
    "Action",
    "Check",
    "Criterion",
    "Finding",
    "PlanResult",
    "PlanRunner",
    "RecoveryPlan",
    "RecoveryStep",
    "Registry",
    "StepResult",
]

_logger = logging.getLogger(__name__)
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class RecoveryStep:
    """One step of a plan.

    Attributes:
        action: Name of a registered action.
        system: What it is for; see `pipeline.emergency.table`.
        parameters: More that the action needs.
        timeout: How long it may take, seconds.
    """

    action: str
    system: str = "*"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Criterion:
    """Something that must be seen on the live cascade: a registered check, of a system."""

    check: str
    system: str = "*"

    def __str__(self) -> str:
        return f"{self.check} {self.system}"


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What is done about an emergency, and how its success is told; made by `Registry.plan`.

    Attributes:
        plan_id: Its id.
        emergency_event: The emergency.
        recovery_steps: What is done, in order.
        rollback_steps: What is done, in order, where it does not succeed.
        prerequisites: What must be seen before the first step.
        success_criteria: What must be seen for it to have succeeded; at least one.
        timeout_seconds: How long steps and success may take in all.
        priority: 1 normal, 2 high, 3 emergency.
        independent: Whether all steps are carried out, even after one that failed.
    """

    plan_id: str
    emergency_event: EmergencyEvent
    recovery_steps: tuple[RecoveryStep, ...]
    rollback_steps: tuple[RecoveryStep, ...]
    prerequisites: tuple[Criterion, ...]
    success_criteria: tuple[Criterion, ...]
    timeout_seconds: float
    priority: int
    independent: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a step.

    Attributes:
        step: The step.
        done: Whether it was carried out.
        detail: What happened, for people.
        epoch: Epoch of its command; -1 where it gave none.
    """

    step: RecoveryStep
    done: bool
    detail: str
    epoch: int = -1


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has seen."""

    met: bool
    seen: str


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What came of a plan.

    Attributes:
        plan: The plan.
        succeeded: Whether all its success criteria were seen in time.
        steps: Results of its steps, those of the rollback last.
        findings: What was seen of each criterion, at last.
        attempts: How often it was tried.
        elapsed_s: From its start to its end, seconds.
        rolled_back: Whether its rollback was carried out.
    """

    plan: RecoveryPlan
    succeeded: bool
    steps: tuple[StepResult, ...]
    findings: Mapping[str, Finding]
    attempts: int
    elapsed_s: float
    rolled_back: bool


Action = Callable[[RecoveryStep, EmergencyEvent], StepResult]
"""Carries a step out; may take its time-out, and raises PipelineErrors."""

Check = Callable[[str], Finding]
"""Looks at the live cascade for a system."""


class Registry:
    """The actions and checks that this process can carry out.

    Args:
        new_id: Returns an id that no other plan has.
    """

    def __init__(self, new_id: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._new_id = new_id
        self.actions: dict[str, Action] = {}
        self.checks: dict[str, Check] = {}

    def plan(
        self,
        event: EmergencyEvent,
        steps: Sequence[RecoveryStep],
        success: Sequence[Criterion],
        *,
        rollback: Sequence[RecoveryStep] = (),
        prerequisites: Sequence[Criterion] = (),
        timeout_s: float = 30.0,
        priority: int = 3,
        independent: bool = False,
    ) -> RecoveryPlan:
        """Return a plan.

        Raises:
            UsageError: If it holds an action or a check that is not registered, or if nothing says
                when it has succeeded.
        """
        if not success:
            raise UsageError("Expected a plan with success criteria, was one without")
        for step in (*steps, *rollback):
            _known(step.action, self.actions, "action")
        for criterion in (*prerequisites, *success):
            _known(criterion.check, self.checks, "check")
        return RecoveryPlan(
            self._new_id(), event, tuple(steps), tuple(rollback), tuple(prerequisites),
            tuple(success), timeout_s, priority, independent,
        )  # fmt: skip


class PlanRunner:
    """Carries plans out.

    Args:
        registry: Actions and checks.
        attempts: Most attempts at the steps of one plan.
        monotonic: Seconds that only run forward.
        sleep: Waits some seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        attempts: int = 3,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._registry = registry
        self._attempts = attempts
        self._monotonic = monotonic
        self._sleep = sleep

    def run(self, plan: RecoveryPlan) -> PlanResult:
        """Carry a plan out.

        1. Look for the prerequisites; where one is not met, nothing is done.
        2. Carry the steps out. A step that fails ends the attempt, unless they are independent;
           steps are safe to repeat.
        3. Look for the success criteria until all are met, or the attempt's share of the time is
           over.
        4. After the last attempt: roll back.
        """
        began_s = self._monotonic()
        ends_s = began_s + plan.timeout_seconds
        findings = self._look(plan.prerequisites)
        steps: list[StepResult] = []
        attempt = 0
        succeeded = False
        ready = all(finding.met for finding in findings.values())
        while ready and not succeeded and attempt < self._attempts:
            if attempt and self._monotonic() >= ends_s:
                break
            attempt += 1
            left_s = (ends_s - self._monotonic()) / (self._attempts - attempt + 1)
            done = self._carry_out(plan)
            steps += done
            if all(step.done for step in done):
                findings = self._await(plan.success_criteria, self._monotonic() + left_s)
                succeeded = all(finding.met for finding in findings.values())
        undone = [] if succeeded or not attempt else self._roll_back(plan)
        elapsed_s = self._monotonic() - began_s
        return PlanResult(
            plan, succeeded, (*steps, *undone), findings, attempt, elapsed_s, bool(undone)
        )

    def _roll_back(self, plan: RecoveryPlan) -> list[StepResult]:
        # Each step is tried: that one fails is no reason to leave the rest.
        return [self._step(step, plan.emergency_event) for step in plan.rollback_steps]

    def _carry_out(self, plan: RecoveryPlan) -> list[StepResult]:
        results: list[StepResult] = []
        for step in plan.recovery_steps:
            results.append(self._step(step, plan.emergency_event))
            if not results[-1].done and not plan.independent:
                break
        return results

    def _step(self, step: RecoveryStep, event: EmergencyEvent) -> StepResult:
        try:
            return self._registry.actions[step.action](step, event)
        except PipelineError as error:
            return StepResult(step, False, str(error))
        except Exception as error:
            _logger.exception("an action failed: %s %s", step.action, step.system)
            return StepResult(step, False, repr(error))

    def _await(self, criteria: Sequence[Criterion], until_s: float) -> dict[str, Finding]:
        while True:
            findings = self._look(criteria)
            if all(each.met for each in findings.values()) or self._monotonic() >= until_s:
                return findings
            self._sleep(_LOOK_S)

    def _look(self, criteria: Sequence[Criterion]) -> dict[str, Finding]:
        found = {}
        for each in criteria:
            try:
                found[str(each)] = self._registry.checks[each.check](each.system)
            except PipelineError as error:
                found[str(each)] = Finding(False, f"could not look: {error}")
        return found


def _known(name: str, registered: Mapping[str, Any], what: str) -> None:
    if name not in registered:
        names = ", ".join(sorted(registered)) or "none"
        raise UsageError(f"Expected a registered {what} ({names}), was {name!r}")
