"""Real workers seen from beside: an owner, a standby, one that hangs; and what they log."""

import json
import os
import signal
import subprocess
import sys

import pytest

from pipeline.run.workers import child_environment
from pipeline.settings import Settings
from tests.kafka_workers import StartWorker, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def cascade(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the CLI."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        env=child_environment(settings, os.environ),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def health(settings: Settings, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Return exit code and workers of `cascade health`; none where there is no worker."""
    done = cascade(settings, "health", "--json", *arguments)
    return done.returncode, json.loads(done.stdout)["workers"] if done.stdout else []


def test_owner_and_standby_are_well_and_one_that_hangs_is_not(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """Of a log with one partition one worker has it; the other is as well as it."""
    assert (1, []) == health(run_settings)
    logging_objects = run_settings.model_copy(update={"log_format": "json"})
    workers = [start_worker("execution", logging_objects) for _ in range(2)]

    def standings() -> list[str]:
        code, found = health(run_settings, "execution")
        return sorted(each["standing"] for each in found) if code == 0 else []

    wait_until(lambda: standings() == ["owner", "standby"], "an owner and a standby", every_s=0.5)
    assert 0 == health(run_settings, "--live")[0]
    assert 1 == health(run_settings, "tactical")[0]

    assert 0 == cascade(run_settings, "log-level", "DEBUG", "execution").returncode
    for each in workers:
        each.wait_for("log_level_set level=DEBUG")
        lines = [json.loads(line) for line in each.log.splitlines() if line.startswith("{")]
        (said,) = (line for line in lines if line.get("event") == "log_level_set")
        assert ("DEBUG", each.process.pid) == (said["level"], said["process"])

    workers[0].signal(signal.SIGSTOP)
    code, found = health(run_settings, "execution", "--live")
    assert 1 == code
    assert [False, True] == sorted(bool(each["well"]) for each in found)
