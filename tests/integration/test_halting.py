"""Halts of real workers: by signal, by trips that are reset by name, by everything at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.bench.halting import Halting, halt
from pipeline.bench.isolating import Isolated, isolate
from pipeline.bench.lab import Check, lab
from pipeline.bench.plan import QUICK
from pipeline.cli import main
from pipeline.clock import WallClock
from pipeline.control.latch import Latch
from pipeline.control.log import fold
from pipeline.control.state import TradingState
from pipeline.control.writer import ControlWriter, new_command
from pipeline.gateway.application import paper_file
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.gateway.venue import VenueOrder
from pipeline.packets.events import ControlKind
from pipeline.packets.vocabulary import OrderType, Side
from pipeline.settings import Settings, load_settings
from tests.kafka_workers import StartWorker, wait_until

_TIMED = ("ms,", "over before", "backlog at")
"""Checks that depend on how busy the machine is; the bench judges them, not the tests."""


class _Control:
    """The command, as the workers' operator calls it."""

    def __init__(self, settings: Settings) -> None:
        self._env = {
            "CASCADE_BROKER": settings.broker or "",
            "CASCADE_NAMESPACE": settings.namespace,
            "CASCADE_HOME": str(settings.home),
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["control", *arguments], env=self._env)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.run("status", "--json").output)
        return status


@pytest.fixture
def control(run_settings: Settings) -> _Control:
    """Trading is allowed."""
    control = _Control(run_settings)
    assert control.run("bootstrap", "--reason", "go", "--wait", "0").exit_code == 0
    return control


def test_a_signal_halts_a_worker_and_it_tells_all(
    run_settings: Settings, start_worker: StartWorker, control: _Control
) -> None:
    """SIGUSR2 halts the machine; the halt comes to the control log and is lifted by its epoch."""
    worker = start_worker("risk", run_settings)
    worker.wait_for("took_over")
    worker.signal(signal.SIGUSR2)
    worker.wait_for("halted on this machine by SIGUSR2")
    latch = Latch.of(run_settings)
    assert latch.read().trading_state is TradingState.HALTED
    wait_until(lambda: not latch.read().local, "the halt to be published")
    status = control.status()
    assert (status["trading_state"], status["halt_epoch"]) == ("HALTED", 1)
    assert status["reason"] == f"halted by SIGUSR2 to process {worker.process.pid}: signal"
    assert worker.process.poll() is None
    lifted = control.run("resume", "--reason", "go", "--lifts", "1", "--wait", "--json")
    (answer,) = json.loads(lifted.stdout)["acknowledgements"]
    assert (answer["stage"], answer["trading_state"]) == ("risk", "ACTIVE")


def test_halting_this_machine_needs_no_broker(
    run_settings: Settings, start_worker: StartWorker, control: _Control
) -> None:
    """`halt --local` hears from each worker process; --author and id are needed to lift it."""
    start_worker("risk", run_settings).wait_for("took_over")
    without = {**os.environ, "CASCADE_BROKER": "127.0.0.1:1"}
    environment = {**without, **{k: v for k, v in control._env.items() if k != "CASCADE_BROKER"}}
    command = ["cascade", "control", "halt", "--local", "--reason", "dark", "--json"]
    program = str(Path(sys.executable).parent / command[0])
    done = subprocess.run(
        [program, *command[1:]], env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert said["in_force"]
    assert [each["stages"] for each in said["workers"]] == [["risk"]]
    assert {each["trading_state"] for each in said["workers"]} == {"HALTED"}
    wait_until(lambda: fold(run_settings).halts.get(said["halt_id"]) == 1, "the halt in the log")


def test_a_trip_is_reset_by_name(run_settings: Settings, control: _Control) -> None:
    """Only somebody who may resume resets it, by its name; a resume does not."""
    trip = new_command(
        ControlKind.TRIP, author="risk", reason="20 orders", clock=WallClock(),
        scope="throttle:IBM",
    )  # fmt: skip
    ControlWriter(run_settings).issue(trip)
    status = control.status()
    assert status["trading_state"] == "HALTED"
    assert [(each["scope"], each["author"]) for each in status["trips"]] == [
        ("throttle:IBM", "risk")
    ]
    assert "cascade control reset throttle:IBM" in control.run("status").output
    assert control.run("resume", "--lifts", "1", "--reason", "go").exit_code == 1
    for what, author in (("throttle", "risk"), ("throttle:AAPL", "operator"), ("x", "operator")):
        assert control.run("reset", what, "--author", author, "--reason", "ok").exit_code == 1
    done = control.run("reset", "throttle", "--author", "operator", "--reason", "seen", "--json")
    assert (done.exit_code, json.loads(done.stdout)["scope"]) == (0, "throttle:IBM")
    assert (control.status()["trading_state"], control.status()["trips"]) == ("ACTIVE", [])


def test_a_gateway_that_finds_a_stray_order_halts_all(
    run_settings: Settings, start_worker: StartWorker, control: _Control
) -> None:
    """An order works at the venue that nobody announced: the TRIP stands in the control log."""
    slow = PaperBehaviour.parse("slow_ms=3600000")
    with PaperVenue(paper_file(run_settings), slow, sleep=lambda _: None) as venue:
        venue.submit(
            VenueOrder(
                "stray-0", "stray", run_settings.account, "IBM", Side.BUY, 1.0,
                OrderType.MARKET, 100.0, 100.0,
            )
        )  # fmt: skip
        assert [each.client_order_id for each in venue.open_orders()] == ["stray-0"]
    gateway = start_worker("pipeline.gateway", run_settings)
    gateway.wait_for("took_over")
    wait_until(lambda: control.status()["trips"], "the gateway to say so")
    (trip,) = control.status()["trips"]
    assert (trip["scope"], trip["author"]) == ("reconciliation:main", "gateway")
    assert "stray-0" in trip["reason"]
    assert control.status()["trading_state"] == "HALTED"


def _untimed(checks: list[Check]) -> list[Check]:
    return [each for each in checks if not any(word in each.name for word in _TIMED)]


def test_a_halt_holds_whatever_is_killed(tmp_path: Path) -> None:
    """Under load, with broker and workers killed, and without a broker: as `scripts/bench halt`."""
    settings = load_settings(broker=None, home=tmp_path)
    found = Halting()
    with lab(settings, QUICK, symbols=5, partitions=1, say=print) as bench:
        checks = halt(bench, 2, 0.5, found)
    assert [each.name for each in _untimed(checks) if not each.passed] == []
    assert len(_untimed(checks)) == 9


def test_an_isolated_stage_holds_up_nobody_else(kafka: str, tmp_path: Path) -> None:
    """Nothing lost, nothing twice, nothing stale: as `scripts/bench isolate`, but shorter."""
    settings = load_settings(broker=kafka, home=tmp_path)
    found = Isolated()
    with lab(settings, QUICK, symbols=5, partitions=1, say=print) as bench:
        checks = isolate(bench, "paired", 50.0, 3.0, found)
    assert [each.name for each in _untimed(checks) if not each.passed] == []
    assert found.outcomes["expired"] >= found.held
