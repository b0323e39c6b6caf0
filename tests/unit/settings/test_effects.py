"""Settings that change what the pipeline does, each observed where it acts."""

import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.gateway.application import gateway_app, paper_file
from pipeline.packets.models import MarketData
from pipeline.policies.breaker import BreakerState
from pipeline.settings import Settings, load_settings
from pipeline.stages.app import stage_app
from pipeline.stages.contract import Input
from pipeline.stages.risk_logic import RiskLogic
from pipeline.stages.strategic_logic import StrategicLogic
from tests.unit.stages.engine_factories import Bench, FakeLogic, market_data

HOUR_MS = 3_600_000


async def _failing(settings: Settings, *values: MarketData) -> Bench:
    """Work records off with a policy that fails at each; return the bench."""
    bench = Bench(FakeLogic(lambda _: True), settings)
    await bench.work_off(*(values or (market_data(),)))
    return bench


async def test_backoff_base_ms_is_the_first_pause() -> None:
    """Pauses double from the base, less up to half of it by jitter; the sum is the least wait."""
    settings = load_settings(
        cascade_timeout_ms=HOUR_MS, backoff_base_ms=20, stages={"strategic": {"retries": 2}}
    )
    began_s = time.monotonic()
    await _failing(settings)
    assert time.monotonic() - began_s >= 0.5 * (0.020 + 0.040)


@pytest.mark.parametrize(
    ("open_s", "state"), [(3600.0, BreakerState.OPEN), (1e-9, BreakerState.HALF_OPEN)]
)
async def test_breaker_open_s_is_how_long_a_breaker_stays_open(
    open_s: float, state: BreakerState
) -> None:
    """After that time, and not before, a breaker lets a probe through."""
    settings = load_settings(cascade_timeout_ms=HOUR_MS, breaker_failures=1, breaker_open_s=open_s)
    bench = await _failing(settings)
    assert state is bench.engine.breaker.state


@pytest.mark.parametrize(("budget_ms", "asked"), [(10, 1), (60, 3)])
async def test_a_stage_s_budget_ends_its_retries(budget_ms: int, asked: int) -> None:
    """Once a stage has spent its share of the timeout it does not try again.

    The shares of 100 ms: the other three stages have 10 ms each, and each attempt takes 20 ms.
    """
    others = {name: {"budget_ms": 10} for name in ("tactical", "risk", "execution")}
    strategic = {"budget_ms": budget_ms, "retries": 9, "breaker_failures": 100}
    total_ms = budget_ms + 30
    settings = load_settings(
        backoff_base_ms=0,
        cascade_timeout_ms=total_ms + 1,
        transport_reserve_ms=1,
        stages={"strategic": strategic, **others},
    )
    bench: Bench

    def slow(_: Input) -> bool:
        bench.host.clock.advance(ms=20)
        return True

    bench = Bench(FakeLogic(slow), settings)
    await bench.work_off(market_data(deadline=bench.host.clock.now_us() + HOUR_MS * 1000))
    assert asked == len(bench.logic.asked)


def test_account_and_initial_equity_open_the_book() -> None:
    """The account that may trade starts with the cash of the settings."""
    state = RiskLogic.of(load_settings(account="desk", initial_equity=5_000.0)).initial()
    assert {"desk": 5_000.0} == {name: each.cash for name, each in state.accounts.items()}


def test_home_and_namespace_say_where_the_paper_broker_keeps_its_orders(tmp_path: Path) -> None:
    """Two namespaces, or two homes, never share a venue."""
    at = paper_file(load_settings(home=tmp_path, namespace="a"))
    assert tmp_path / "venue" / "a.sqlite" == at
    assert at != paper_file(load_settings(home=tmp_path, namespace="b"))


@pytest.mark.parametrize("paper", ["partial=2", "sulks=0.1"])
def test_paper_reaches_the_paper_broker(paper: str, tmp_path: Path) -> None:
    """How the paper broker misbehaves is read when the gateway is made, and checked there."""
    with pytest.raises(PipelineError, match=paper.partition("=")[0]):
        gateway_app(settings=load_settings(home=tmp_path, paper=paper))


def test_workers_take_session_and_heartbeat_from_the_settings(tmp_path: Path) -> None:
    """Faust's own watch over the group has the limits of the settings."""
    limits: dict[str, Any] = {"session_timeout_ms": 9_000, "heartbeat_interval_ms": 2_500}
    app = stage_app("strategic", StrategicLogic(), load_settings(home=tmp_path, **limits))
    assert (9.0, 2.5) == (app.conf.broker_session_timeout, app.conf.broker_heartbeat_interval)
