"""Each setting of the specification has a test that changes it and observes what changes.

That a component takes its settings at all is tested in `test_constructors`; here stands which test
observes what the value does. One that is renamed or removed is missed here.
"""

import ast
from pathlib import Path

import pytest

from pipeline.settings import SPECIFIED

TESTS = Path(__file__).resolve().parents[2]
OBSERVED = {
    "max_concurrent_flows": "test_cascade_manager.py::"
    "test_no_more_flows_than_allowed_are_in_flight",
    "cascade_timeout_ms": "unit/cascade/test_manager_injecting.py::"
    "test_the_deadline_is_as_far_off_as_the_timeout",
    "emergency_threshold": "unit/cascade/test_manager_health.py::test_the_threshold_decides",
    "coordination.heartbeat_interval": "unit/coordination/test_service.py::"
    "test_an_idle_process_sends_no_heartbeat_before_the_interval",
    "coordination.sync_timeout": "unit/cascade/test_coordination_engine.py::"
    "test_fast_is_content_with_a_majority_and_reliable_is_not",
    "coordination.max_concurrent_requests": "unit/cascade/test_coordination_engine.py::"
    "test_no_more_requests_than_allowed_fly_at_once",
    "performance.target_latency_ms": "unit/cascade/test_performance.py::"
    "test_the_target_decides_verdict_and_thresholds",
    "performance.sampling_interval": "unit/cascade/test_performance.py::"
    "test_the_sampling_interval_sets_the_pace_of_samples",
    "performance.report_interval": "unit/cascade/test_performance.py::"
    "test_reports_come_by_themselves",
    "performance.history_size": "unit/cascade/test_performance.py::"
    "test_history_size_bounds_samples_and_traces",
    "validation.interval": "unit/cascade/test_validation.py::test_a_longer_interval_validates_less",
    "validation.deep_interval": "unit/cascade/test_validation.py::test_it_validates_at_intervals",
    "validation.max_concurrent_validations": "unit/cascade/test_validation.py::"
    "test_no_more_rules_run_at_once",
    "emergency.response_timeout": "unit/emergency/test_response.py::"
    "test_nobody_answering_is_escalated",
    "emergency.recovery_attempts": "unit/emergency/test_plans.py::"
    "test_steps_done_without_success_are_tried_again_and_rolled_back",
    "emergency.emergency_contacts": "test_emergency_protocols.py::"
    "test_settings_and_arguments_have_their_effect",
    "stages.retries": "unit/settings/test_stage_limits.py::"
    "test_retries_are_as_many_as_the_stage_has",
    "stages.breaker_failures": "unit/settings/test_stage_limits.py::"
    "test_a_stage_s_own_breaker_opens_at_its_own_count",
    "stages.breaker_open_s": "unit/settings/test_stage_limits.py::"
    "test_a_stage_s_own_breaker_stays_open_for_its_own_time",
    "stages.budget_ms": "unit/settings/test_effects.py::test_a_stage_s_budget_ends_its_retries",
}


def test_no_setting_of_the_specification_is_left_out() -> None:
    """The table has each of them."""
    assert set() == {name.setting for name in SPECIFIED} - OBSERVED.keys()


@pytest.mark.parametrize("setting", OBSERVED)
def test_what_observes_a_setting_is_there(setting: str) -> None:
    """The test that the table names exists."""
    file, _, name = OBSERVED[setting].partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    functions = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert name in functions
