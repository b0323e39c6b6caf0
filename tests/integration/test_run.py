"""`cascade run` against a real Kafka: real workers, owned logs, restarts, a clean end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.run import OwnershipWatch, child_environment
from pipeline.settings import Settings
from pipeline.topics import TopicFile, apply

_LIMIT_S = 90.0


class Command:
    """A `cascade` command in a process of its own, its output in a file."""

    def __init__(self, settings: Settings, folder: Path, *arguments: str) -> None:
        self.output = folder / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment(settings, os.environ),
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has printed `text` so often."""
        until(
            lambda: self.text.count(text) >= times or self.process.poll() is not None,
            f"{text!r} in\n{self.text}",
        )
        assert self.text.count(text) >= times, self.text

    def processes(self) -> list[psutil.Process]:
        """Return all processes below it."""
        return psutil.Process(self.process.pid).children(recursive=True)


def until(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds."""
    deadline_s = time.monotonic() + _LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.1)


@pytest.fixture
def command(kafka_settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start commands whose processes are all gone after the test."""
    apply(kafka_settings, TopicFile.load())
    begun: list[Command] = []

    def begin(*arguments: str) -> Command:
        begun.append(Command(kafka_settings, tmp_path, *arguments))
        return begun[-1]

    yield begin
    for each in begun:
        if each.process.poll() is None:
            left = [*each.processes(), psutil.Process(each.process.pid)]
            for process in left:
                process.kill()
        each.process.wait()


def test_runs_restarts_and_stops_workers(
    command: Callable[..., Command], kafka_settings: Settings
) -> None:
    """Workers own their logs, a killed one comes back, SIGTERM ends all and leaves nothing."""
    with OwnershipWatch(kafka_settings, ["strategic", "gateway"]) as watch:
        run = command("run", "strategic", "gateway")
        run.wait_for("all stages own their logs")
        until(lambda: not (watch.poll(0.1) or watch.missing), "markers of both stages in Kafka")

    pid = int(re.findall(r"strategic: started, process (\d+)", run.text)[0])
    os.kill(pid, signal.SIGKILL)
    run.wait_for("strategic: ended with SIGKILL, starts again in 0.2 s")
    run.wait_for("all stages own their logs", times=2)

    left = run.processes()
    run.process.send_signal(signal.SIGTERM)
    assert 0 == run.process.wait(_LIMIT_S)
    assert "all workers ended, 1 restarts" in run.text
    assert [] == [process for process in left if process.is_running()]
    logs = sorted(path.name for path in (kafka_settings.home / "logs").rglob("*.log"))
    assert ["gateway.log", "strategic.log"] == logs


def test_the_four_stages_share_a_process_and_die_with_the_run(
    command: Callable[..., Command],
) -> None:
    """With --single one process owns all four logs; `kill -9` of the run leaves no worker.

    Gateway, emergency worker, monitor and auditor have a process each.
    """
    run = command("run", "--single")
    run.wait_for("all stages own their logs")
    for stage in ("strategic", "tactical", "risk", "execution", "gateway"):
        assert f"{stage}: owns partition 0" in run.text
    workers = run.processes()
    assert 5 == len(workers)
    for name in ("emergency", "monitor", "auditor"):
        assert f"{name}: started" in run.text
    run.process.kill()
    run.process.wait()
    until(lambda: not any(worker.is_running() for worker in workers), "the end of all workers")


def test_refuses_to_start_without_topics(kafka_settings: Settings, tmp_path: Path) -> None:
    """Without topics nothing is started, and the message says how to make them."""
    run = Command(kafka_settings, tmp_path, "run", "strategic")
    assert 2 == run.process.wait(_LIMIT_S)
    assert "cascade topics apply" in run.text
    assert not (kafka_settings.home / "logs").exists()
