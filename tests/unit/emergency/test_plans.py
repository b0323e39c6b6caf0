"""Recovery plans: only what is known, and success only where it was seen."""

from collections.abc import Callable

import pytest

from pipeline.emergency.plans import (
    Criterion,
    Finding,
    PlanRunner,
    RecoveryPlan,
    RecoveryStep,
    Registry,
    StepResult,
)
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.events import EmergencyEvent
from tests.unit.emergency.factories import event


class _Bench:
    """A registry whose actions are noted, a cascade that is well from the nth look on."""

    def __init__(self, well_after: int = 0, attempts: int = 3) -> None:
        self.now_s = 0.0
        self.looks = 0
        self.well_after = well_after
        self.acted: list[str] = []
        self.registry = Registry()
        for name in ("isolate", "release", "broken", "absent"):
            self.registry.actions[name] = self._action(name)
        self.registry.checks["well"] = self._well
        self.runner = PlanRunner(
            self.registry, attempts=attempts, monotonic=lambda: self.now_s, sleep=self._sleep
        )

    def plan(
        self, *names: str, rollback: tuple[str, ...] = (), independent: bool = False
    ) -> RecoveryPlan:
        """Return a plan of these actions that has succeeded when all is well."""
        steps = [RecoveryStep(name, "tactical") for name in names]
        undo = [RecoveryStep(name, "tactical") for name in rollback]
        return self.registry.plan(
            event(),
            steps,
            [Criterion("well")],
            rollback=undo,
            timeout_s=9.0,
            independent=independent,
        )

    def _action(self, name: str) -> Callable[[RecoveryStep, EmergencyEvent], StepResult]:
        def act(step: RecoveryStep, _: EmergencyEvent) -> StepResult:
            self.acted.append(name)
            if name == "absent":
                raise BrokerUnavailable("Expected a broker, was none")
            return StepResult(step, name != "broken", name, epoch=len(self.acted))

        return act

    def _well(self, _: str) -> Finding:
        self.looks += 1
        return Finding(self.looks > self.well_after, f"look {self.looks}")

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(
    ("step", "criterion"), [("restart_the_sun", "well"), ("isolate", "looks_fine")]
)
def test_a_plan_has_only_known_actions_and_checks(step: str, criterion: str) -> None:
    """A step that nobody can carry out is refused when the plan is made, not when it runs."""
    with pytest.raises(UsageError, match="registered"):
        _Bench().registry.plan(event(), [RecoveryStep(step)], [Criterion(criterion)])
    with pytest.raises(UsageError, match="registered"):
        _Bench().registry.plan(
            event(), [], [Criterion("well")], rollback=[RecoveryStep("restart_the_sun")]
        )


def test_a_plan_says_when_it_has_succeeded() -> None:
    """Steps carried out are no success in themselves."""
    with pytest.raises(UsageError, match="success criteria"):
        _Bench().registry.plan(event(), [RecoveryStep("isolate")], [])


def test_success_is_what_was_seen() -> None:
    """The plan has succeeded once its criteria are met, and not before."""
    bench = _Bench(well_after=4)
    result = bench.runner.run(bench.plan("isolate"))
    assert (True, 1, 5) == (result.succeeded, result.attempts, bench.looks)
    assert result.findings["well *"] == Finding(True, "look 5")


@pytest.mark.parametrize("attempts", [1, 3])
def test_steps_done_without_success_are_tried_again_and_rolled_back(attempts: int) -> None:
    """A cascade that stays ill ends the plan after its attempts, and what was done is undone."""
    bench = _Bench(well_after=10**9, attempts=attempts)
    result = bench.runner.run(bench.plan("isolate", rollback=("release", "broken", "release")))
    assert (False, attempts, True) == (result.succeeded, result.attempts, result.rolled_back)
    assert ["isolate"] * attempts + ["release", "broken", "release"] == bench.acted
    assert 9.0 <= bench.now_s < 10.0


@pytest.mark.parametrize("failing", ["broken", "absent"])
def test_a_step_that_fails_ends_the_attempt(failing: str) -> None:
    """Later steps build on it; its failure stands in the result."""
    bench = _Bench()
    result = bench.runner.run(bench.plan(failing, "isolate"))
    assert [failing] * 3 == bench.acted
    assert (False, False) == (result.succeeded, result.steps[0].done)
    assert result.steps[0].detail in (failing, "Expected a broker, was none")


def test_independent_steps_are_all_carried_out() -> None:
    """Where one does not build on the other, each is done."""
    bench = _Bench()
    bench.runner.run(bench.plan("broken", "isolate", independent=True))
    assert ["broken", "isolate"] * 3 == bench.acted


def test_nothing_is_done_where_a_prerequisite_is_not_met() -> None:
    """It is looked for first, and nothing is rolled back either."""
    bench = _Bench(well_after=10**9)
    plan = bench.registry.plan(
        event(),
        [RecoveryStep("isolate")],
        [Criterion("well")],
        rollback=[RecoveryStep("release")],
        prerequisites=[Criterion("well")],
    )
    result = bench.runner.run(plan)
    assert (False, 0, []) == (result.succeeded, result.attempts, bench.acted)
