"""`cascade demo` against a real Kafka: figures, a kill in mid-flow, Ctrl-C, lock-step."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.run import child_environment
from pipeline.settings import Settings

_LIMIT_S = 110.0
_SLOW_MS = 60_000  # a slow machine must not let packets expire


@pytest.fixture
def environment(kafka_settings: Settings) -> dict[str, str]:
    """Environment of a demo on the broker of the test session."""
    slow = kafka_settings.model_copy(update={"cascade_timeout_ms": _SLOW_MS})
    return child_environment(slow, os.environ)


def demo(environment: dict[str, str], folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a demo; return its exit code and figures."""
    figures = folder / "figures.json"
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "demo", "--json", str(figures), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert figures.exists(), ran.stdout + ran.stderr
    return ran.returncode, json.loads(figures.read_text())


def test_market_data_becomes_filled_orders(environment: dict[str, str], tmp_path: Path) -> None:
    """Every record is accounted for, poison is dead-lettered, plans are filled, once each."""
    report = tmp_path / "report.html"
    options = ("--seconds", "4", "--rate", "100", "--faults", "poison=0.02,duplicates=0.02")

    code, figures = demo(environment, tmp_path, *options, "--report", str(report))

    assert (0, []) == (code, figures["faults"])
    published = figures["published"]
    assert 400 == figures["packets_in"] == sum(figures["outcomes"].values())
    assert published["poison"] > 0
    assert published["poison"] + published["duplicate"] == figures["outcomes"]["dead_lettered"]
    assert (0, 0) == (figures["unaccounted"], figures["duplicate_orders"])
    assert figures["order_plans"] == figures["plans_filled"] > 0
    assert figures["latency_ms"]["count"] >= figures["order_plans"]
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    assert 64 == len(figures["decisions_sha256"])
    assert 0 == figures["restarts"]
    assert "no_data" == figures["targets"]["recovery_seconds"]["verdict"]
    assert "<svg" in report.read_text()


def test_a_kill_in_mid_flow_loses_and_doubles_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Tactical is killed with -9 after two seconds: all flows end, and it comes back."""
    options = ("--seconds", "4", "--rate", "100", "--warm-up", "2", "--kill", "tactical@2")

    code, figures = demo(environment, tmp_path, *options)

    assert (0, []) == (code, figures["faults"])
    assert 400 == figures["packets_in"] == sum(figures["outcomes"].values())
    assert (0, 0, 1) == (
        figures["unaccounted"], figures["duplicate_orders"], figures["restarts"]
    )  # fmt: skip
    assert "record" == figures["kills"][0]["sign"]
    assert figures["recovery_seconds"] > 0
    assert -signal.SIGKILL in figures["worker_exit_codes"]["tactical"]


def test_ctrl_c_leaves_no_process_behind(environment: dict[str, str], tmp_path: Path) -> None:
    """In mid-flow all processes end in order, and the exit code says that it was interrupted."""
    output = tmp_path / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipeline.cli", "demo"),
                *("--seconds", "60", "--warm-up", "1", "--apart"),
            ],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    children: list[psutil.Process] = []
    try:
        deadline_s = time.monotonic() + _LIMIT_S
        while " sent " not in output.read_text() and process.poll() is None:
            assert time.monotonic() < deadline_s, output.read_text()
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(30.0), output.read_text()
        assert 6 == len(children)  # five workers and the publisher
        assert [] == [child for child in children if child.is_running()]
    finally:
        for each in children:
            if each.is_running():
                each.kill()
        if process.poll() is None:
            process.kill()
        process.wait()


def test_lock_step_decides_as_without_kafka(environment: dict[str, str], tmp_path: Path) -> None:
    """Bars sent one at a time are decided as the same bars are in process, in larger rounds."""
    code, found = demo(environment, tmp_path, "--lock-step", "400", "--single", "--round-cut", "50")
    assert (0, "pass", 400) == (code, found["verdict"], found["bars"])
    assert found["decisions_sha256"] == found["reference_sha256"]
    assert found["order_plans"] > 0
