"""Recovery plans: steps of registered actions, whose success is checked against the live cascade.

A plan can only be made of actions and checks that the registry of this process has, so there is no
step that nobody knows how to carry out, and no success that nobody looked for.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.packets.events import EmergencyEvent

__all__ = [
    "REQUEST_ID",
    "RESUMED",
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
        seen: Check that must be met, of the same system, for the step to be done; none where empty.
    """

    action: str
    system: str = "*"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0
    seen: str = ""


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
        key: Names the step among all of its emergency: plan, attempt and place; empty outside of
            plans.
    """

    step: RecoveryStep
    done: bool
    detail: str
    epoch: int = -1
    key: str = ""


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


REQUEST_ID = "request_id"
"""Parameter that a runner gives each step: what was done under an id is not done again."""

RESUMED = "resumed"
"""Parameter of a step that another process may have carried out under the same id."""

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
        plan_id: str = "",
    ) -> RecoveryPlan:
        """Return a plan; a fresh `plan_id` where none is given.

        Raises:
            UsageError: If it holds an action or a check that is not registered, or if nothing says
                when it has succeeded.
        """
        if not success:
            raise UsageError("Expected a plan with success criteria, was one without")
        for step in (*steps, *rollback):
            _known(step.action, self.actions, "action")
            if step.seen:
                _known(step.seen, self.checks, "check")
        for criterion in (*prerequisites, *success):
            _known(criterion.check, self.checks, "check")
        return RecoveryPlan(
            plan_id or self._new_id(), event, tuple(steps), tuple(rollback), tuple(prerequisites),
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
        self.attempts = attempts
        self.monotonic = monotonic
        self._sleep = sleep

    def run(
        self,
        plan: RecoveryPlan,
        *,
        before: Mapping[str, StepResult] | None = None,
        note: Callable[[StepResult], None] = lambda _: None,
        proceed: Callable[[], None] = lambda: None,
    ) -> PlanResult:
        """Carry a plan out.

        1. Look for the prerequisites; where one is not met, nothing is done.
        2. Carry the steps out. A step that fails ends the attempt, unless they are independent;
           steps are safe to repeat.
        3. Look for the success criteria until all are met, or the attempt's share of the time is
           over.
        4. After the last attempt: roll back.

        Args:
            plan: The plan.
            before: What another process has done of it, by step key, which is not done again; None
                where nobody can have begun it.
            note: Told of each step that was carried out.
            proceed: Called before each step; what it raises ends the plan there and then.
        """
        return _Run(self, plan, before, note, proceed).to_the_end()

    def carry_out(
        self, step: RecoveryStep, key: str, event: EmergencyEvent, *, resumed: bool
    ) -> StepResult:
        """Carry one step out, and look whether it is seen to be done, within its time-out."""
        until_s = self.monotonic() + step.timeout
        parameters = {**step.parameters, REQUEST_ID: key, RESUMED: resumed}
        given = replace(step, parameters=parameters)
        try:
            result = self._registry.actions[step.action](given, event)
        except PipelineError as error:
            result = StepResult(step, False, str(error))
        except Exception as error:
            _logger.exception("an action failed: %s %s", step.action, step.system)
            result = StepResult(step, False, repr(error))
        result = replace(result, step=step, key=key)
        if not result.done or not step.seen:
            return result
        (finding,) = self.wait_for([Criterion(step.seen, step.system)], until_s).values()
        detail = f"{result.detail}; {finding.seen}"
        return replace(result, done=finding.met, detail=detail)

    def wait_for(self, criteria: Sequence[Criterion], until_s: float) -> dict[str, Finding]:
        """Look for criteria until all are met, or the time has come; return what was seen last."""
        while True:
            findings = self.look(criteria)
            if all(each.met for each in findings.values()) or self.monotonic() >= until_s:
                return findings
            self._sleep(_LOOK_S)

    def look(self, criteria: Sequence[Criterion]) -> dict[str, Finding]:
        """Return what is seen of criteria now."""
        found = {}
        for each in criteria:
            try:
                found[str(each)] = self._registry.checks[each.check](each.system)
            except PipelineError as error:
                found[str(each)] = Finding(False, f"could not look: {error}")
        return found


class _Run:
    """One plan while it is carried out."""

    def __init__(
        self,
        runner: PlanRunner,
        plan: RecoveryPlan,
        before: Mapping[str, StepResult] | None,
        note: Callable[[StepResult], None],
        proceed: Callable[[], None],
    ) -> None:
        self.plan = plan
        self._runner = runner
        self._before = before or {}
        self._resumed = before is not None
        self._note = note
        self._proceed = proceed

    def to_the_end(self) -> PlanResult:
        runner, plan = self._runner, self.plan
        began_s = runner.monotonic()
        ends_s = began_s + plan.timeout_seconds
        findings = runner.look(plan.prerequisites)
        steps: list[StepResult] = []
        attempt = 0
        succeeded = False
        ready = all(finding.met for finding in findings.values())
        while ready and not succeeded and attempt < runner.attempts:
            if attempt and runner.monotonic() >= ends_s:
                break
            attempt += 1
            left_s = (ends_s - runner.monotonic()) / (runner.attempts - attempt + 1)
            done = self._attempt(attempt)
            steps += done
            if all(step.done for step in done):
                findings = runner.wait_for(plan.success_criteria, runner.monotonic() + left_s)
                succeeded = all(finding.met for finding in findings.values())
        undone = [] if succeeded or not attempt else self._roll_back()
        elapsed_s = runner.monotonic() - began_s
        return PlanResult(
            plan, succeeded, (*steps, *undone), findings, attempt, elapsed_s, bool(undone)
        )

    def _attempt(self, attempt: int) -> list[StepResult]:
        results: list[StepResult] = []
        for index, step in enumerate(self.plan.recovery_steps):
            results.append(self._step(step, f"{self.plan.plan_id}/{attempt}/{index}"))
            if not results[-1].done and not self.plan.independent:
                break
        return results

    def _roll_back(self) -> list[StepResult]:
        # Each step is tried: that one fails is no reason to leave the rest.
        return [
            self._step(step, f"{self.plan.plan_id}/back/{index}")
            for index, step in enumerate(self.plan.rollback_steps)
        ]

    def _step(self, step: RecoveryStep, key: str) -> StepResult:
        known = self._before.get(key)
        if known is not None:
            return known
        self._proceed()
        done = self._runner.carry_out(step, key, self.plan.emergency_event, resumed=self._resumed)
        self._note(done)
        return done


def _known(name: str, registered: Mapping[str, Any], what: str) -> None:
    if name not in registered:
        names = ", ".join(sorted(registered)) or "none"
        raise UsageError(f"Expected a registered {what} ({names}), was {name!r}")
