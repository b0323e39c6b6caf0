import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.cli import main
from pipeline.clock import WallClock
from pipeline.control.latch import Latch
from pipeline.control.log import TOPIC, fold
from pipeline.control.reader import ControlReader
from pipeline.control.state import TradingState
from pipeline.control.writer import STATE_TOPIC, ControlWriter, new_command
from pipeline.errors import BrokerUnavailable, UsageError
from pipeline.packets.codec import decode_as, encode
from pipeline.packets.events import ControlCommand, ControlKind, ControlState
from pipeline.settings import Settings, load_settings
from pipeline.testing import ManualClock
from pipeline.topics import TopicFile, apply

_ACTIVE, _HALTED = TradingState.ACTIVE, TradingState.HALTED
_DEADLINE_S = 30.0


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    """Settings of a namespace that has the control topics."""
    file = TopicFile.load()
    topics = {name: file.topics[name] for name in (TOPIC, STATE_TOPIC)}
    apply(kafka_settings, file.model_copy(update={"topics": topics}))
    return kafka_settings


@pytest.fixture
def reader(settings: Settings) -> Iterator[ControlReader]:
    """A reader that has read to the end."""
    with ControlReader(settings) as reader:
        assert reader.wait_ready(_DEADLINE_S)
        yield reader


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


def _command(kind: ControlKind, lifts_epoch: int = -1, author: str = "operator") -> ControlCommand:
    return new_command(
        kind, author=author, reason="test", clock=WallClock(), lifts_epoch=lifts_epoch
    )


def _issue(settings: Settings, kind: ControlKind, lifts_epoch: int = -1) -> int:
    return ControlWriter(settings).issue(_command(kind, lifts_epoch))


def _view(settings: Settings) -> list[ControlState]:
    """Return all records of the compacted view, oldest first."""
    consumer = Consumer(settings.client(group_id="view", enable_auto_commit=False))
    place = TopicPartition(settings.topic(STATE_TOPIC), 0, 0)
    _, end = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign([place])
    found: list[ControlState] = []
    while len(found) < end:
        message = consumer.poll(_DEADLINE_S)
        assert message is not None
        assert message.error() is None
        found.append(decode_as(message.value(), ControlState))
    consumer.close()
    return found


def test_commands_reach_a_running_reader(settings: Settings, reader: ControlReader) -> None:
    """Bootstrap, halt and resume take effect, each with its offset as epoch."""
    assert (reader.view().trading_state, reader.view().current) == (_HALTED, True)
    assert _issue(settings, ControlKind.BOOTSTRAP) == 0
    _eventually(lambda: reader.view().trading_state is _ACTIVE)
    assert _issue(settings, ControlKind.HALT) == 1
    _eventually(lambda: reader.view().trading_state is _HALTED)
    assert reader.view().halt_epoch == 1
    assert _issue(settings, ControlKind.RESUME, 1) == 2
    _eventually(lambda: reader.view().trading_state is _ACTIVE)
    assert reader.view().epoch == 2


def test_a_reader_that_starts_later_sees_the_same(settings: Settings) -> None:
    """The whole history is read before a reader is ready."""
    for kind, lifts in ((ControlKind.BOOTSTRAP, -1), (ControlKind.HALT, -1)):
        _issue(settings, kind, lifts)
    with ControlReader(settings) as reader:
        assert reader.wait_ready(_DEADLINE_S)
        view = reader.view()
    assert (view.trading_state, view.epoch, view.halt_epoch) == (_HALTED, 1, 1)


def test_a_halt_survives_restart_and_loss_of_the_log(settings: Settings) -> None:
    """The latch of this machine holds where the log of another namespace's broker says ACTIVE."""
    _issue(settings, ControlKind.BOOTSTRAP)
    Latch.of(settings).record(_HALTED, 99, "before the log was lost")
    with ControlReader(settings) as reader:
        assert reader.wait_ready(_DEADLINE_S)
        assert reader.view().trading_state is _HALTED


def test_the_view_follows_the_history(settings: Settings) -> None:
    """Each command that counts is followed by the state that it made."""
    _issue(settings, ControlKind.BOOTSTRAP)
    _issue(settings, ControlKind.HALT)
    _issue(settings, ControlKind.RESUME, 1)
    states = [(state.trading_state, state.epoch, state.halt_epoch) for state in _view(settings)]
    assert states == [(_ACTIVE, 0, -1), (_HALTED, 1, 1), (_ACTIVE, 2, -1)]


def test_a_command_that_would_not_count_is_not_written(settings: Settings) -> None:
    """A second bootstrap, a resume of nothing and a stranger are refused before the log."""
    writer = ControlWriter(settings)
    writer.issue(_command(ControlKind.BOOTSTRAP))
    for command in (
        _command(ControlKind.BOOTSTRAP),
        _command(ControlKind.RESUME, 0),
        _command(ControlKind.RESUME, 0, author="stranger"),
    ):
        with pytest.raises(UsageError, match="does not count"):
            writer.issue(command)
    assert fold(settings).epoch == 0
    assert fold(settings).refused == {}


def test_a_command_that_comes_too_late_does_not_count(settings: Settings) -> None:
    """The broker's time of arrival decides, not what the command says of itself."""
    old = ManualClock(1_600_000_000_000_000)
    late = new_command(ControlKind.BOOTSTRAP, author="operator", reason="test", clock=old)
    with pytest.raises(
        UsageError, match="stands at epoch 0 and does not count: Expected it before"
    ):
        ControlWriter(settings).issue(late)
    assert fold(settings).trading_state is _HALTED


def test_a_record_that_is_no_command_halts(settings: Settings, reader: ControlReader) -> None:
    """Foreign bytes in the control log halt, and a resume that names them lifts it."""
    _issue(settings, ControlKind.BOOTSTRAP)
    _eventually(lambda: reader.view().trading_state is _ACTIVE)
    producer = Producer(settings.client())
    producer.produce(settings.topic(TOPIC), b"not a command", partition=0)
    assert producer.flush(_DEADLINE_S) == 0
    _eventually(lambda: reader.view().trading_state is _HALTED)
    _issue(settings, ControlKind.RESUME, 1)
    _eventually(lambda: reader.view().trading_state is _ACTIVE)


def test_only_the_control_partition_decides(settings: Settings) -> None:
    """Commands are read as they were written: kind, author, reason and expiry."""
    given = _command(ControlKind.BOOTSTRAP)
    ControlWriter(settings).issue(given)
    assert decode_as(encode(given), ControlCommand) == given
    assert fold(settings).describe() == ControlState(
        "*", _ACTIVE, 0, -1, given.command_id, "operator", "test", given.time
    )


def test_without_a_broker_nothing_trades(tmp_path: Path) -> None:
    """A reader without a broker is HALTED and never ready; a writer says what is missing."""
    settings = load_settings(broker="127.0.0.1:1", home=tmp_path, control_echo_timeout_s=0.2)
    with ControlReader(settings) as reader:
        assert not reader.wait_ready(0.5)
        assert (reader.view().trading_state, reader.view().current) == (_HALTED, False)
    with pytest.raises(BrokerUnavailable, match="broker runs"):
        ControlWriter(settings, timeout_s=1.0).issue(_command(ControlKind.HALT))


def test_without_the_topics_the_error_says_what_to_call(kafka_settings: Settings) -> None:
    """Nothing creates the control topics by the way."""
    with pytest.raises(BrokerUnavailable, match="cascade topics apply"):
        fold(kafka_settings)


class _Cli:
    def __init__(self, settings: Settings) -> None:
        self._env = {
            "CASCADE_BROKER": settings.broker,
            "CASCADE_NAMESPACE": settings.namespace,
            "CASCADE_HOME": str(settings.home),
        }

    def run(self, *arguments: str, **env: str) -> Result:
        return CliRunner().invoke(main, ["control", *arguments], env={**self._env, **env})

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json").output)
        return status


def test_the_command_line_bootstraps_halts_and_resumes(settings: Settings) -> None:
    """Each verb does what it says, and status tells what a resume must name."""
    cli = _Cli(settings)
    assert cli.status()["trading_state"] == "HALTED"
    assert cli.run("bootstrap", "--reason", "go").exit_code == 0
    assert cli.status()["trading_state"] == "ACTIVE"
    assert cli.run("halt", "--reason", "stop", "--author", "anybody").exit_code == 0
    status = cli.status()
    assert (status["trading_state"], status["halt_epoch"]) == ("HALTED", 1)
    assert status["latch"] == {
        "trading_state": "HALTED",
        "epoch": 1,
        "local": False,
        "halt_id": "",
        "author": "",
        "holds": True,
    }
    assert "--lifts 1" in cli.run("status").output
    assert cli.run("resume", "--reason", "go", "--lifts", "0").exit_code == 1
    assert cli.run("resume", "--reason", "go").exit_code == 2
    resumed = cli.run("resume", "--reason", "go", "--lifts", "1", "--json")
    told = json.loads(resumed.output)
    assert (told["kind"], told["epoch"], told["in_force"]) == ("RESUME", 2, True)
    assert cli.status()["trading_state"] == "ACTIVE"


def test_the_command_line_reduces_isolates_and_releases(settings: Settings) -> None:
    """Status shows what is fenced off, and a release of nothing fails."""
    cli = _Cli(settings)
    assert cli.run("bootstrap", "--reason", "go").exit_code == 0
    assert cli.run("reduce", "--reason", "rough", "--author", "anybody").exit_code == 0
    assert cli.run("isolate", "symbol:IBM", "--reason", "odd").exit_code == 0
    assert cli.run("breaker", "open", "tactical", "--reason", "odd").exit_code == 0
    status = cli.status()
    assert (status["trading_state"], status["reduce_epoch"]) == ("REDUCING", 1)
    assert [(each["scope"], each["kind"], each["epoch"]) for each in status["fences"]] == [
        ("symbol:IBM", "ISOLATE", 2),
        ("policy:tactical", "BREAKER_OPEN", 3),
    ]
    assert "symbol:IBM isolate since epoch 2 by operator: odd" in cli.run("status").output
    assert cli.run("release", "symbol:IBM", "--reason", "fine").exit_code == 0
    assert cli.run("release", "symbol:IBM", "--reason", "fine").exit_code == 1
    assert cli.run("breaker", "reset", "tactical", "--reason", "fine").exit_code == 0
    assert cli.run("resume", "--lifts", "1", "--reason", "calm").exit_code == 0
    assert (cli.status()["trading_state"], cli.status()["fences"]) == ("ACTIVE", [])


@pytest.mark.parametrize("scope", ["stage:tactics", "everything", "policy:gateway"])
def test_the_command_line_refuses_what_is_no_part(scope: str, settings: Settings) -> None:
    """A fence around nothing is a mistake in the command."""
    result = _Cli(settings).run("isolate", scope, "--reason", "odd")
    assert result.exit_code == 2
    assert "Expected" in result.stderr


def test_a_halt_without_a_broker_halts_this_machine(
    settings: Settings, reader: ControlReader
) -> None:
    """It fails and says so; whoever reaches the broker tells all, and then it is one of the log."""
    cli = _Cli(settings)
    assert cli.run("bootstrap", "--reason", "go").exit_code == 0
    _eventually(lambda: reader.view().trading_state is _ACTIVE)
    result = cli.run("halt", "--reason", "dark", CASCADE_BROKER="127.0.0.1:1")
    assert result.exit_code == 1
    assert "Halted on this machine alone" in result.stderr
    _eventually(lambda: reader.view().trading_state is _HALTED)
    _eventually(lambda: not cli.status()["latch"]["local"])
    assert cli.status()["halt_epoch"] == 1
    assert cli.status()["reason"] == "halted by operator: dark"
    assert cli.run("resume", "--reason", "light", "--lifts", "1").exit_code == 0
    _eventually(lambda: reader.view().trading_state is _ACTIVE)


def test_a_local_halt_is_lifted_by_its_id(settings: Settings) -> None:
    """Where no worker told the log of it; by somebody who may resume, and has seen it."""
    cli = _Cli(settings)
    assert cli.run("bootstrap", "--reason", "go").exit_code == 0
    halted = cli.run("halt", "--local", "--reason", "dark", "--json")
    halt_id = json.loads(halted.stdout)["halt_id"]
    assert cli.status()["trading_state"] == "HALTED"
    assert f"resume --local {halt_id}" in cli.run("status").output
    for name, author in (("other", "operator"), (halt_id, "stranger")):
        done = cli.run("resume", "--local", name, "--author", author, "--reason", "light")
        assert done.exit_code == 1
    assert cli.run("resume", "--local", halt_id, "--reason", "light").exit_code == 0
    assert cli.status()["trading_state"] == "ACTIVE"
