"""Workers of one stage with different settings: told at once, halted past the window."""

import json
import os
import subprocess
import sys

import pytest

from pipeline.control.log import fold
from pipeline.control.state import TradingState
from pipeline.packets.codec import decode
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.run.workers import child_environment
from pipeline.settings import Settings
from tests.kafka_workers import StartWorker, markers, read_log, read_topic, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_SCOPE = "versions:tactical"
_WINDOW_S = 3.0


def cascade(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the CLI."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env=child_environment(settings, os.environ),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def alerts(settings: Settings) -> list[Alert]:
    """Return the alerts that speak of tactical's workers."""
    found = [
        decode(bytes(each.value() or b""))
        for messages in read_topic(settings, "cascade.alerts").values()
        for each in messages
        if each.key() == _SCOPE.encode()
    ]
    return [each for each in found if isinstance(each, Alert)]


def versions(settings: Settings) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return exit code and output of `cascade versions`."""
    done = cascade(settings, "versions", "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_two_settings_of_a_stage_are_alerted_and_halt_past_the_window(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """Until somebody resets it by name, and from then on for these two no more."""
    settings = run_settings.model_copy(update={"upgrade_window_s": _WINDOW_S})
    bootstrap = ("--author", "operator", "--reason", "test")
    assert cascade(settings, "control", "bootstrap", *bootstrap).returncode == 0
    start_worker("execution", settings)
    start_worker("tactical", settings)
    wait_until(
        lambda: markers(read_log(settings, "cascade.execution"))[0], "execution's log to be owned"
    )
    # Worker and command start at their own pace, so the command is asked until it sees them.
    wait_until(lambda: len(versions(settings)[1]["workers"]) == 2, "two workers", every_s=0.5)
    assert 0 == versions(settings)[0]
    assert fold(settings).trading_state is TradingState.ACTIVE

    other = start_worker("tactical", settings.model_copy(update={"breaker_failures": 6}))
    wait_until(lambda: alerts(settings), "an alert")
    assert PerformanceAlert.WARNING is alerts(settings)[0].level
    assert "2 settings at once" in alerts(settings)[0].message
    wait_until(lambda: _SCOPE in fold(settings).trips.trips.standing, "a trip")
    assert fold(settings).trading_state is TradingState.HALTED
    code, said = versions(settings)
    assert (1, ["settings"]) == (code, [each["kind"] for each in said["differences"]])

    other.stop()
    wait_until(lambda: alerts(settings)[-1].level is PerformanceAlert.INFO, "its end to be told")
    assert fold(settings).trading_state is TradingState.HALTED
    assert cascade(settings, "control", "reset", _SCOPE, *bootstrap).returncode == 0
    assert fold(settings).trading_state is TradingState.ACTIVE
