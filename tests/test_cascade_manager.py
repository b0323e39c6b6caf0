"""The SuperpositionCascadeManager on a real Kafka, with real workers."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pipeline.cascade import (
    CascadeState,
    OutcomeKind,
    SuperpositionCascadeManager,
    SuperpositionType,
)
from pipeline.events import EventBus
from pipeline.settings import Settings
from tests.kafka_workers import run_settings, start_worker, wait_until

__all__ = ["run_settings", "start_worker"]  # fixtures

STAGES = ("strategic", "tactical", "risk", "execution")


@pytest.fixture
def manager(run_settings: Settings) -> Iterator[SuperpositionCascadeManager]:
    """A manager of the test's own namespace."""
    with EventBus(settings=run_settings) as bus:
        made = SuperpositionCascadeManager(event_bus=bus)
        yield made
        made.shutdown(timeout_s=0.0)


def bar(number: int) -> dict[str, float]:
    """Return bar `number` of a price that wanders."""
    price = 100.0 + (number * 7 % 13) * 0.3 + number * 0.01
    return {
        "open": price, "high": price + 0.5, "low": price - 0.5, "close": price + 0.1,
        "volume": 1000.0,
    }  # fmt: skip


def inject(manager: SuperpositionCascadeManager, number: int, **more: Any) -> str:
    """Inject bar `number`."""
    return manager.inject_superposition(
        packet_type=SuperpositionType.CONTEXT_UPDATE,
        data=bar(number),
        source_system="market_data",
        priority=1,
        **more,
    )


def test_a_whole_cascade_runs_in_one_process(manager: SuperpositionCascadeManager) -> None:
    """Four embedded systems work a flow off; each callback is called, each output told once."""
    asked: list[Any] = []
    emitted: list[Any] = []

    def upwards(packet: Any) -> Mapping[str, float]:
        asked.append(packet)
        return {"BUY": 0.8, "HOLD": 0.1, "SELL": 0.1}

    manager.register_marl_system("strategic", "Strategic MARL", upwards, emitted.append)
    for name in STAGES[1:]:
        manager.register_marl_system(name, f"{name} system")
    wait_until(lambda: manager.get_cascade_status().state is CascadeState.READY, "READY")

    packet_id = inject(manager, 0)
    outcome = manager.wait_for(packet_id, 60.0)
    wait_until(lambda: emitted, "the emitted packet")

    assert (packet_id, OutcomeKind.HELD, "tactical") == (
        outcome.packet_id, outcome.kind, outcome.stage,
    )  # fmt: skip
    assert [outcome.flow_id] == [each.envelope.flow_id for each in asked]
    assert [outcome.flow_id] == [each.envelope.flow_id for each in emitted]
    assert () == manager.shutdown()
    assert 1 == len(asked) == len(emitted)
    assert CascadeState.SHUTDOWN is manager.get_cascade_status().state
