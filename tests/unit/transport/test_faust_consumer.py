"""How an app gets its rounds: one message, handed over while nobody has them."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from pipeline.settings import Settings
from pipeline.stages.app import LogApp, stage_app
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.transport.faust_consumer import RoundConsumer
from pipeline.transport.rounds import RoundQueue


@pytest.fixture
def app(tmp_path: Path) -> LogApp:
    """An app of a stage, not started: no broker is asked."""
    return stage_app("strategic", StrategicLogic(), Settings(broker="127.0.0.1:1", home=tmp_path))


async def test_rounds_are_handed_over_once_until_given_back(app: LogApp) -> None:
    """An agent has them through rebalances; one that failed leaves them to the next."""
    handed: list[Any] = []

    async def callback(message: Any) -> None:
        handed.append(message.value)

    app.host.rounds = RoundQueue(asyncio.get_running_loop(), 10)
    consumer: Any = RoundConsumer(
        app.transport, callback=callback, on_partitions_revoked=None, on_partitions_assigned=None
    )
    draining = asyncio.create_task(consumer._drain_messages(SimpleNamespace(should_stop=False)))

    async def turns() -> int:
        for _ in range(10):
            await asyncio.sleep(0)
        return len(handed)

    consumer._wanted.set()
    assert 0 == await turns(), "nothing is assigned yet"
    consumer._assigned = {TP("cascade.market", 0)}
    consumer._wanted.set()
    assert 1 == await turns()
    consumer._wanted.set()  # as a rebalance does
    assert 1 == await turns(), "an agent has them"
    consumer.give_back()
    assert 2 == await turns()
    assert [app.host.rounds] * 2 == handed
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
