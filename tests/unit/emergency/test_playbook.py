"""Plans consist of registered actions and checks, and take back no halt."""

from itertools import product

import pytest

from pipeline.control.scope import STAGES
from pipeline.emergency.playbook import Draft, draft_of
from pipeline.emergency.table import Measure, measures
from pipeline.packets.events import EmergencyLevel, EmergencyType, RecoveryAction

ACTIONS = {
    "isolate", "release", "fall_back", "halt", "reduce", "resume", "open_breaker", "reset_breaker",
    "restart", "reroute", "replay_gap", "wait_for_recovery", "hand_over",
}  # fmt: skip
CHECKS = {"heard", "clear", "caught_up", "released"}
SUBJECTS = ("cascade", "tactical", "policy:tactical", "worker:tactical", "source:market", "queue")
SYSTEMS: tuple[tuple[str, ...], ...] = ((), ("tactical",), ("gateway",), ("source:market",))
ALL = list(product(EmergencyType, EmergencyLevel, SYSTEMS, SUBJECTS))


def _draft(
    kind: str, level: str, systems: tuple[str, ...] = ("tactical",), subject: str = "tactical"
) -> Draft | None:
    return draft_of(EmergencyType(kind), EmergencyLevel(level), systems, subject)


def _names(draft: Draft | None) -> list[str]:
    assert draft is not None
    return [step.action for step in draft.steps]


def test_every_plan_has_only_known_actions_and_says_when_it_has_succeeded() -> None:
    """Of every type, level, system and subject."""
    for case in ALL:
        draft = draft_of(*case)
        if draft is None:
            continue
        steps = (*draft.steps, *draft.rollback)
        assert {each.action for each in steps} <= ACTIONS, case
        assert {each.seen for each in steps} - {""} <= CHECKS, case
        assert draft.success, case
        assert {each.check for each in draft.success} <= CHECKS, case


def test_no_plan_lets_orders_go_again() -> None:
    """A halt or a reduction is for people to lift."""
    taken_back = {step.action for case in ALL if (draft := draft_of(*case)) for step in draft.steps}
    assert "resume" not in taken_back


def test_a_plan_releases_what_was_isolated_and_nothing_else() -> None:
    """A RELEASE of what stands open would be refused, and end the plan."""
    for kind, level, systems, subject in ALL:
        draft = draft_of(kind, level, systems, subject)
        done = measures(kind, level)
        fenced = Measure.ISOLATE in done or Measure.ISOLATE_DATA in done
        if draft is not None and "release" in _names(draft):
            assert fenced, (kind, level)


@pytest.mark.parametrize(
    ("kind", "level", "expected"),
    [
        ("SYSTEM_FAILURE", "CRITICAL", ["restart", "release", "replay_gap"]),
        ("CASCADE_BREAKDOWN", "CRITICAL", ["restart", "replay_gap"]),
        ("PERFORMANCE_DEGRADATION", "CRITICAL", ["reroute"]),
        ("PERFORMANCE_DEGRADATION", "WARNING", ["wait_for_recovery"]),
        ("DATA_CORRUPTION", "CRITICAL", ["restart", "release"]),
        ("NETWORK_PARTITION", "WARNING", ["wait_for_recovery"]),
        ("COORDINATION_FAILURE", "WARNING", ["restart", "replay_gap"]),
        ("VALIDATION_FAILURE", "CRITICAL", ["fall_back", "release"]),
        ("VALIDATION_FAILURE", "WARNING", ["wait_for_recovery"]),
    ],
)
def test_what_is_done_about_a_stage(kind: str, level: str, expected: list[str]) -> None:
    """The plan of each type, where a stage is affected."""
    assert expected == _names(_draft(kind, level))


@pytest.mark.parametrize(
    ("level", "subject", "expected"),
    [
        ("CAUTION", "worker:tactical", ["wait_for_recovery"]),
        ("CRITICAL", "worker:tactical", ["fall_back", "restart", "release", "replay_gap"]),
        ("WARNING", "policy:tactical", ["reset_breaker"]),
    ],
)
def test_how_a_system_failed_decides(level: str, subject: str, expected: list[str]) -> None:
    """One that is back is watched, one that ends again and again gets its policy taken out."""
    assert expected == _names(_draft("SYSTEM_FAILURE", level, subject=subject))


def test_a_feed_is_let_back_in_once_it_is_sound() -> None:
    """First it must be seen sound, then it is released; else it stays fenced off."""
    draft = _draft("DATA_CORRUPTION", "CRITICAL", ("source:market",), "source:market")
    assert draft is not None
    assert ["wait_for_recovery", "release"] == _names(draft)
    assert "clear" == draft.steps[0].seen
    assert ["isolate source:market"] == [f"{each.action} {each.system}" for each in draft.rollback]


def test_a_breach_is_for_people() -> None:
    """No plan knows what a stranger has done."""
    assert _draft("SECURITY_BREACH", "CRITICAL") is None


def test_the_plans_together_use_each_of_the_specified_actions() -> None:
    """With what contains at once, and with people where no plan is, all eight are there."""
    planned = {
        action for case in ALL if (draft := draft_of(*case)) for action in draft.recovery_actions
    }
    at_once = {
        RecoveryAction.EMERGENCY_SHUTDOWN,
        RecoveryAction.ISOLATE_SYSTEM,
        RecoveryAction.CIRCUIT_BREAKER_OPEN,
        RecoveryAction.MANUAL_INTERVENTION,
    }
    assert set(RecoveryAction) == planned | at_once


def test_the_gateway_has_no_policy_to_fall_back_to() -> None:
    """It is restarted like any other, and no policy of it is named."""
    loops = _draft("SYSTEM_FAILURE", "CRITICAL", ("gateway",), "worker:gateway")
    assert ["restart", "release", "replay_gap"] == _names(loops)
    assert "gateway" in STAGES
