"""A broker of the test's own that falls silent, which the shared one must not."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import broker
from pipeline.clock import WallClock
from pipeline.control.log import TOPIC
from pipeline.control.reader import ControlReader
from pipeline.control.state import TradingState
from pipeline.control.writer import STATE_TOPIC, ControlWriter, new_command
from pipeline.packets.events import ControlKind
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile, apply

_DEADLINE_S = 60.0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[broker.Broker]:
    """A broker that only this test uses."""
    settings = load_settings(broker=None, home=tmp_path / "broker")
    found = broker.up(settings, notice=print)
    try:
        yield found
    finally:
        _freeze(found, frozen=False)
        broker.down(settings)


@pytest.fixture
def settings(own_broker: broker.Broker, tmp_path: Path) -> Settings:
    """Settings of that broker, bootstrapped."""
    settings = load_settings(broker=own_broker.bootstrap, home=tmp_path / "home")
    file = TopicFile.load()
    topics = {name: file.topics[name] for name in (TOPIC, STATE_TOPIC)}
    apply(settings, file.model_copy(update={"topics": topics}), timeout_s=_DEADLINE_S)
    bootstrap = new_command(
        ControlKind.BOOTSTRAP, author="operator", reason="test", clock=WallClock()
    )
    ControlWriter(settings, timeout_s=_DEADLINE_S).issue(bootstrap)
    return settings


def _freeze(found: broker.Broker, *, frozen: bool) -> None:
    """Stop the broker in its tracks, or let it go on: its connections stay open, and silent."""
    if found.pid is not None:
        os.kill(found.pid, signal.SIGSTOP if frozen else signal.SIGCONT)
    elif found.container is not None:
        verb = "pause" if frozen else "unpause"
        subprocess.run(["docker", verb, found.container], check=frozen, capture_output=True)


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


def test_a_broker_that_falls_silent_halts_until_it_answers(
    own_broker: broker.Broker, settings: Settings
) -> None:
    """Silence halts, though no connection breaks; an answer ends it; nothing is restarted."""
    with ControlReader(settings) as reader:
        _eventually(lambda: reader.view().trading_state is TradingState.ACTIVE)
        _freeze(own_broker, frozen=True)
        _eventually(lambda: reader.view().trading_state is TradingState.HALTED)
        view = reader.view()
        assert (view.current, view.epoch, view.reason) == (False, 0, "no sign of the broker")
        _freeze(own_broker, frozen=False)
        _eventually(lambda: reader.view().trading_state is TradingState.ACTIVE)
        assert reader.view().current
