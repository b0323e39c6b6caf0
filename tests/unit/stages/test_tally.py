"""What workers say of themselves to Prometheus and in heartbeats."""

from types import SimpleNamespace
from typing import Any

from prometheus_client.core import CollectorRegistry

from pipeline.control.state import ControlView, TradingState
from pipeline.policies.breaker import Breaker
from pipeline.stages.tally import OPEN, RETRIES, TRIPS, StageFigures, Tally


def _figures(tally: Tally, breaker: Breaker) -> StageFigures:
    host: Any = SimpleNamespace(build="0123", owned={0: None, 3: None})
    view = ControlView(TradingState.REDUCING, 4, current=True)
    return StageFigures("risk", host, lambda: view, tally, breaker)


def _value(figures: StageFigures, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(figures)
    return registry.get_sample_value(name, {"stage": "risk", **labels})


def test_what_was_worked_off_is_told() -> None:
    """Counts add up over rounds, as the engine notes them."""
    tally = Tally()
    figures = _figures(tally, Breaker(1, 30.0))
    tally.note(10, 2, 1, 0.5)
    tally.note(5, 0, 0, 0.25)
    assert 2.0 == _value(figures, "cascade_stage_rounds_total")
    assert 15.0 == _value(figures, "cascade_stage_records_total")
    assert 2.0 == _value(figures, "cascade_stage_retries_total")
    assert 1.0 == _value(figures, "cascade_stage_dead_letters_total")
    assert 0.75 == _value(figures, "cascade_stage_busy_seconds_total")
    assert 2.0 == _value(figures, "cascade_stage_owned_partitions")
    assert 1.0 == _value(figures, "cascade_stage_trading_state", state="REDUCING")
    assert 0.0 == _value(figures, "cascade_stage_trading_state", state="ACTIVE")


def test_a_breaker_that_opens_is_told() -> None:
    """Its state and its trips move with it, in heartbeats too."""
    tally, breaker = Tally(), Breaker(1, 30.0)
    figures = _figures(tally, breaker)
    assert (0.0, 0.0) == (figures.vitals()[TRIPS], figures.vitals()[OPEN])
    breaker.failed()
    tally.note(1, 3, 0, 0.1)
    assert 1.0 == _value(figures, "cascade_stage_breaker_state", state="OPEN")
    assert 1.0 == _value(figures, "cascade_stage_breaker_trips_total")
    vitals = figures.vitals()
    assert (3.0, 1.0, 1.0) == (vitals[RETRIES], vitals[TRIPS], vitals[OPEN])
    assert vitals["memory_bytes"] > 0.0
