"""Limits of a stage, and what they do to its engine."""

from typing import Any

import pytest

from pipeline.policies.breaker import BreakerState
from pipeline.settings import Settings, load_settings
from tests.unit.stages.engine_factories import Bench, FakeLogic, market_data

HOUR_MS = 3_600_000


def _settings(**limits: Any) -> Settings:
    return load_settings(
        cascade_timeout_ms=HOUR_MS, backoff_base_ms=0, stages={"strategic": limits}
    )


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_retries_are_as_many_as_the_stage_has(retries: int) -> None:
    """A failing input is asked about once, and once more for each retry of this stage."""
    logic = FakeLogic(lambda _: True)
    bench = Bench(logic, _settings(retries=retries, breaker_failures=100))
    await bench.work_off(market_data())
    assert 1 + retries == len(logic.asked)


async def test_a_stage_s_own_breaker_opens_at_its_own_count() -> None:
    """The stage's count of failures goes before the common one, and only for that stage."""
    bench = Bench(FakeLogic(lambda _: True), _settings(retries=0, breaker_failures=1))
    await bench.work_off(market_data())
    assert BreakerState.OPEN is bench.engine.breaker.state

    common = Bench(FakeLogic(lambda _: True), _settings(retries=0))
    await common.work_off(market_data())
    assert BreakerState.CLOSED is common.engine.breaker.state


async def test_a_stage_s_own_breaker_stays_open_for_its_own_time() -> None:
    """The stage's time goes before the common one: after it the breaker probes."""
    at_once = Bench(
        FakeLogic(lambda _: True), _settings(retries=0, breaker_failures=1, breaker_open_s=1e-9)
    )
    await at_once.work_off(market_data())
    assert BreakerState.HALF_OPEN is at_once.engine.breaker.state
